"""Verbs of the suites."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import Parameter

from crossres.base import CrossresError
from crossres.files import write_json
from crossres.options import Output
from crossres.suites.spec import Spec


def spec(*, resolved: Annotated[str, Parameter(metavar="JSON")], output: Output) -> None:
    """Write the resolved spec of one run and seed.

    Args:
        resolved: The spec, as the workflow resolved it.
    """
    try:
        document = json.loads(resolved)
    except (json.JSONDecodeError, RecursionError) as error:
        raise CrossresError(f"--resolved: not valid JSON ({error})") from None
    write_json(output, Spec.parse(document, "--resolved").model_dump(mode="json"))
