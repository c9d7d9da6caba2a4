"""Everything that a CUDA device is wanted for, in one go: `python -m benchmarks.gpu --output DIR`.

1. images/s of the student and both teacher resolutions, eager and as one graph, against a framework's loop;
2. the share of the input pipeline; 3. the projected hours of the suite `paper`, logits live and stored;
4. the tests marked `gpu`; 5. with the minutes that are left, the real pair of networks on real CIFAR-100 from scratch.

Without a device it runs on the CPU with small networks, so that the script itself is tested: `--device cpu --small`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import ratios
from benchmarks.measure import header, interleaved
from crossres import files
from crossres.suites.spec import Budget
from crossres.suites.suite import load_suite
from crossres.tools import plan
from crossres.training.device import use_device

SMALL = {"student": "crossres/tiny_student", "teacher": "crossres/tiny_teacher", "batch_size": 32}
FULL = {"student": "torchvision/efficientnet_v2_s", "teacher": "torchvision/efficientnet_v2_l", "batch_size": 128}
EVIDENCE = ("teacher_32", "kd_32", "dkd_beta8", "dkd_beta2")


def throughput(setting: ratios.Setting) -> dict[str, Any]:
    """Return images/s of training steps, eager and captured, and the share of the stream in them."""
    found = {}
    for name, size_px in ((setting.student, 32), (setting.teacher, 32), (setting.teacher, 64)):
        chosen = setting._replace(student=name)
        batch = ratios._batch(chosen, size_px)
        logits = torch.randn(setting.batch_size, ratios.CLASSES, device=setting.device)
        handed = (batch, logits)
        eager, captured = chosen.step(None), chosen.step(None, capture=True)
        stream = ratios.endless(chosen.stream())
        medians = interleaved(
            {
                "eager": lambda eager=eager, handed=handed: eager(*handed),
                "one graph": lambda captured=captured, handed=handed: captured(*handed),
                "stream": lambda stream=stream: next(stream),
            },
            setting.device,
            setting.rounds,
            f"{name} at {size_px} px",
        )
        speeds = {key: setting.batch_size / value for key, value in medians.items()}
        share = medians["stream"] / (medians["stream"] + medians["one graph"])
        captured_it = captured.not_captured is None and setting.device.type == "cuda"
        found[f"{name}@{size_px}"] = {"images_per_s": speeds, "stream_share": share, "captured": captured_it}
    return found


def projected_hours(points: list[dict[str, Any]], device: str) -> dict[str, float]:
    """Return the hours of the suite `paper` by the points just measured."""
    measured = [(plan.Work(point["flops"], point["launches"]), point["seconds"]) for point in points]
    machine, suite = plan.fit_machine(device, "this run", measured), load_suite(files.suite_file("paper"))
    specs = [suite.resolve(run, seed) for run, seed in suite.jobs()]
    return {mode: plan.make_plan(specs, mode, machine, cuda=True).hours for mode in ("live", "auto")}  # type: ignore[arg-type]


def evidence(data: Path, output: Path, device: str, minutes: float, epochs: int, small: bool) -> list[str]:
    """Train teacher and students from scratch while there is time; return the runs whose records were written."""
    suite = load_suite(files.suite_file("demo" if small else "paper"))
    budget = Budget(epochs=epochs, pretrained=False, **({"train_images": 256, "test_images": 100} if small else {}))
    started, done = time.monotonic(), []
    for run in EVIDENCE:
        if time.monotonic() - started > 60 * minutes:
            break
        spec = suite.resolve(run, suite.seeds[0], budget)
        folder = output / "runs" / run / f"seed{spec.seed}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "spec.json").write_text(json.dumps(spec.model_dump(mode="json")))
        words = ["--spec", str(folder / "spec.json"), "--data", str(data), "--device", device]
        weights = output / "runs" / str(spec.teacher) / f"seed{spec.teacher_seed}" / "weights.safetensors"
        teacher = ["--teacher", str(weights)] if spec.teacher else []
        record = output / "records" / run / f"seed{spec.seed}.json"
        base = [sys.executable, "-m", "crossres"]
        if subprocess.run([*base, "train", *words, *teacher], check=False).returncode:
            continue
        if subprocess.run([*base, "evaluate", *words, "--output", str(record)], check=False).returncode == 0:
            done.append(run)
    return done


def main() -> None:
    """Run everything, saving after each part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="small networks: to try the script")
    parser.add_argument("--rounds", type=int, default=20, metavar="N")
    parser.add_argument("--data", type=Path, metavar="DIR", help="prepared data sets; trains nothing when not given")
    parser.add_argument("--minutes", type=float, default=5.0, metavar="N", help="no run of the evidence starts later")
    parser.add_argument("--epochs", type=int, default=30, metavar="N", help="epochs of the evidence")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    args = parser.parse_args()
    device = use_device(args.device, threads=1)
    sizes = SMALL if args.small else FULL
    precision = "fp16" if device.type == "cuda" else "fp32"
    setting = ratios.Setting(device, precision, **sizes, rounds=args.rounds, workers=0 if args.small else 8)  # type: ignore[arg-type]
    document = header(device)
    steps = {
        "throughput": lambda: throughput(setting),
        "pipeline": lambda: ratios.pipeline(setting),
        "step": lambda: ratios.step(setting),
        "students_32": lambda: ratios.students(setting, 32),
        "points": lambda: ratios.points(setting),
        "projected_hours": lambda: projected_hours(document["points"], document["device"]),
        "tests": lambda: subprocess.run([sys.executable, "-m", "pytest", "-m", "gpu", "-q"], check=False).returncode,
        "evidence": lambda: evidence(args.data, args.output, args.device, args.minutes, args.epochs, args.small),
    }
    args.output.mkdir(parents=True, exist_ok=True)
    for name, part in steps.items():
        if name == "evidence" and args.data is None:
            continue
        document[name] = part()  # type: ignore[operator]
        (args.output / "gpu.json").write_text(json.dumps(document, indent=2) + "\n")
        print(f"{name}: {document[name]}", flush=True)


if __name__ == "__main__":
    main()
