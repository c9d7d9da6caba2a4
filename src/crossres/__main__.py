"""Run `crossres VERB`; an error is one line on standard error and an exit status."""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
from collections.abc import Sequence

from cyclopts import CycloptsError

from crossres.base import CrossresError
from crossres.cli import build_app, usage_error
from crossres.gpus import cuda_failure

RESUMABLE = ("train", "logits")
FULL = (errno.ENOSPC, errno.EDQUOT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The exit status: 0, 1 for an error, 2 for a wrong verb or option, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    verb = words[0] if words else ""
    try:
        build_app(load=verb in ("", "--help", "-h"))(words, exit_on_error=False, print_error=False)
        sys.stdout.flush()  # a closed pipe raises here, where it is handled
    except CycloptsError as error:
        return _fail(usage_error(error), 2)
    except CrossresError as error:
        return _fail(error)
    except BrokenPipeError:  # such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it ends
        return 128 + signal.SIGPIPE
    except OSError as error:
        # Every output has a name, so what is full without one is the folder of temporary files.
        place = error.filename or (error.errno in FULL and tempfile.gettempdir())
        return _fail(f"{place}: {error.strerror}" if place else error)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "crossres":
            raise
        return _fail(f"{verb} needs {error.name}, which .venv has: make setup")
    except RuntimeError as error:
        if (line := cuda_failure(error)) is None:
            raise
        return _fail(line)
    except KeyboardInterrupt:
        resumes = "; run the same command again to go on from the last epoch" if verb in RESUMABLE else ""
        return _fail(f"interrupted{resumes}", 130)
    return 0


def _fail(what: object, status: int = 1) -> int:
    print(f"crossres: {what}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
