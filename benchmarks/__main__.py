"""`python -m benchmarks` measures; `python -m benchmarks report` turns what was saved into the page of this folder."""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import page
from crossres.files import BENCHMARKS
from crossres.training.device import use_device

PARTS = ("pipeline", "step", "lite", "students_32", "students_64", "workers", "points", "seeds", "startup", "memory")
CUDA_PARTS = ("throughput", "pipeline", "step", "lite", "students_32", "students_64", "points", "hours", "sharing")
"""What is measured on a GPU where nothing is asked for; parts that no GPU takes part in are left out."""
NAMES = tuple(dict.fromkeys((*PARTS, *CUDA_PARTS)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure ratios side by side.")
    parser.add_argument("parts", nargs="*", choices=[[], *NAMES, "report"], metavar="PART", help=", ".join(NAMES))
    parser.add_argument("--device", default="auto", choices=("auto", "cuda", "cpu"))
    parser.add_argument("--precision", default=None, choices=("fp32", "fp16", "bf16"), help="fp16 on CUDA by default")
    parser.add_argument("--student", default="torchvision/efficientnet_v2_s", metavar="NAME")
    parser.add_argument("--teacher", default="torchvision/efficientnet_v2_l", metavar="NAME")
    parser.add_argument("--batch-size", type=int, default=128, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each candidate is timed")
    parser.add_argument("--workers", type=int, default=None, metavar="N", help="of the frameworks' DataLoader")
    parser.add_argument("--output", type=Path, default=None, metavar="FILE", help="default: results/<device>.json here")
    return parser


def measure(args: argparse.Namespace) -> Path:
    """Measure the parts asked for, and save them beside what the file already has."""
    from benchmarks import ratios
    from benchmarks.measure import header

    device = use_device(args.device, threads=1)
    on_cuda = device.type == "cuda"
    precision = args.precision or ("fp16" if on_cuda else "fp32")
    workers = args.workers if args.workers is not None else (8 if on_cuda else 0)
    setting = ratios.Setting(
        device, precision, args.student, args.teacher, args.batch_size, max(args.rounds, 1), workers
    )
    said = header(device)
    slug = re.sub(r"[^a-z0-9]+", "-", said["device"].lower()).strip("-")
    output = args.output or BENCHMARKS / f"{slug}.json"
    document: dict[str, Any] = json.loads(output.read_text()) if output.is_file() else {}
    for part in args.parts or (CUDA_PARTS if on_cuda else PARTS):
        with tempfile.TemporaryDirectory() as folder:
            found = _measured(part, setting, Path(folder), document)
        setup = {key: value for key, value in setting._asdict().items() if key != "device"}
        document.update({**said, part: found, "settings": {**document.get("settings", {}), part: setup}})
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(document, indent=2) + "\n")
    return output


def _measured(part: str, setting: Any, folder: Path, document: dict[str, Any]) -> Any:
    from benchmarks import gpu, ratios

    if part == "seeds":
        return ratios.seeds(document["points"])
    if part == "hours":
        return gpu.hours(document["points"], document["device"])
    if part.startswith("students"):
        return ratios.students(setting, int(part.removeprefix("students_")))
    if part == "startup":
        return ratios.startup(folder, setting.rounds)
    if part == "memory":
        return ratios.memory(folder)
    return getattr(gpu if part in ("throughput", "sharing") else ratios, part)(setting)


def main() -> None:
    """Measure, or write the page."""
    args = _parser().parse_args()
    if "report" not in args.parts:
        print(page.table(json.loads(measure(args).read_text())))
    else:
        page.write()


if __name__ == "__main__":
    main()
