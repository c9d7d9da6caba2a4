"""The ratios: input pipeline, training step, students of one teacher, memory and start-up."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks import frameworks
from benchmarks.measure import child_seconds, interleaved, peak_memory_mib
from crossres import files
from crossres.suites.datasets import CIFAR100_NORMALISATION
from crossres.suites.methods import Targets
from crossres.suites.methods.kd import KD
from crossres.suites.passes import TeacherLogits
from crossres.suites.spec import Augmentation, Model, Optimisation
from crossres.suites.suite import load_suite
from crossres.tools import plan
from crossres.training import shapes
from crossres.training.augment import MixedBatch, Stream, upsample
from crossres.training.fast_conv import accelerate
from crossres.training.models import build
from crossres.training.step import Step

STRONG = Augmentation(auto_augment="cifar10", erase_prob=0.25)
CLASSES = 100
OBJECTIVE = KD(label_smoothing=0.1)


class Setting(NamedTuple):
    """What is measured, and where."""

    device: torch.device
    precision: str
    student: str
    teacher: str
    batch_size: int
    rounds: int
    workers: int
    """Workers of the frameworks' DataLoader; 0 keeps its work in this process, where processor time is counted."""

    def network(self, name: str, fast: bool = False) -> nn.Module:
        """Build a network as its library has it, or with the convolutions of this project."""
        network = build(Model(name=name), CLASSES, seed=0)
        if fast:
            accelerate(network, self.device)
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def stream(self, augmentation: Augmentation = STRONG) -> Stream:
        images, labels = (part.to(self.device) for part in generated())
        return Stream(augmentation, images, labels, 1, self.batch_size, CIFAR100_NORMALISATION)

    def step(self, teacher: Callable[[Tensor], Tensor] | None, capture: bool = False) -> Step:
        optimisation = Optimisation(epochs=200)
        made = Step(
            self.network(self.student, fast=True), OBJECTIVE, optimisation, 10**6, self.precision, teacher, capture
        )
        made.begin(1, 1e-3)
        return made

    def live_teacher(self, teacher_px: int) -> Callable[[Tensor], Tensor]:
        network = self.network(self.teacher, fast=True).eval().requires_grad_(False)

        @torch.no_grad()
        def teacher(images: Tensor) -> Tensor:
            return network(upsample(images, teacher_px).contiguous(memory_format=torch.channels_last))

        return teacher

    def framework(self, teacher_px: int, workers: int) -> frameworks.PlainLoop:
        dataset = frameworks.Images(*generated(), frameworks.pil_transform(), as_pil=True)
        batches = frameworks.loader(dataset, self.batch_size, workers)
        student, teacher = (
            self.network(name).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            for name in (self.student, self.teacher)
        )
        teacher.requires_grad_(False)
        return frameworks.PlainLoop(student, teacher, batches, teacher_px, self.precision)


def generated() -> tuple[Tensor, Tensor]:
    """Return 2,048 generated images and labels; what is on them does not matter here."""
    images, labels = shapes.generate(2048, stream=7)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)


def endless(stream: Stream) -> Iterator[MixedBatch]:
    """Yield the batches of one epoch after another."""
    return itertools.chain.from_iterable(stream.epoch(epoch) for epoch in itertools.count(1))


# ------------------------------------------------------------------------------------------------------ input pipeline


def pipeline(setting: Setting) -> dict[str, Any]:
    """Compare the strong recipe without mixing, 2,048 images at 32 px, with torchvision's own two pipelines."""
    stream = setting.stream(STRONG.model_copy(update={"mix_prob": 0.0}))
    epochs = itertools.count(1)
    images, labels = generated()

    def per_image(transform: Any, as_pil: bool) -> Callable[[], object]:
        dataset = frameworks.Images(images, labels, transform, as_pil)
        return lambda: torch.stack([dataset[index][0] for index in range(len(dataset))])

    def whole_batches() -> None:
        for _ in stream.epoch(next(epochs)):
            pass

    medians = interleaved(
        {
            "torchvision, PIL": per_image(frameworks.pil_transform(), as_pil=True),
            "torchvision, v2": per_image(frameworks.tensor_transform(), as_pil=False),
            "crossres": whole_batches,
        },
        setting.device,
        setting.rounds,
        "pipeline",
    )
    each = {name: 1e6 * value / len(images) for name, value in medians.items()}
    return {"us_per_image": each, "ratio": each["torchvision, PIL"] / each["crossres"]}


# ---------------------------------------------------------------------------------------------------------------- step


def step(setting: Setting) -> dict[str, Any]:
    """Compare the student's training step with stored logits, and the optimiser's alone."""
    return {**steps(setting, 32), "optimiser_ratio": optimiser_ratio(setting)}


def lite(setting: Setting) -> dict[str, Any]:
    """Compare the same step of the network of suite `lite`, at the resolutions of its runs."""
    network = setting._replace(student="timm/tf_efficientnet_lite0")
    return {str(size_px): steps(network, size_px) for size_px in (32, 64)}


def steps(setting: Setting, size_px: int) -> dict[str, Any]:
    """Compare a training step with stored logits, as here and with each of its parts taken back."""
    batch = _batch(setting, size_px)
    logits = torch.randn(setting.batch_size, CLASSES, device=setting.device)
    candidates: dict[str, Callable[[], object]] = {}
    plain = PlainStep(setting, channels_last=False, fused=False)
    partly = PlainStep(setting, channels_last=True, fused=False)
    candidates["contiguous, AdamW"] = lambda: plain(batch, logits)
    candidates["channels last, AdamW"] = lambda: partly(batch, logits)
    eager = setting.step(None)
    candidates["crossres"] = lambda: eager(batch, logits)
    if setting.device.type == "cuda":
        captured = setting.step(None, capture=True)
        candidates["crossres, one graph"] = lambda: captured(batch, logits)
    medians = interleaved(candidates, setting.device, setting.rounds, f"{setting.student} at {size_px} px")
    return {
        "images_per_s": {name: setting.batch_size / value for name, value in medians.items()},
        "ratio": medians["contiguous, AdamW"] / min(medians[name] for name in medians if name.startswith("crossres")),
    }


class PlainStep:
    """The student's step without the teacher, with parts of what makes it quick left out."""

    def __init__(self, setting: Setting, channels_last: bool, fused: bool) -> None:
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = setting.network(setting.student).to(memory_format=self.format)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=1e-3, weight_decay=0.05, fused=fused)

    def __call__(self, batch: MixedBatch, logits: Tensor) -> None:
        student_logits = self.network(batch.images.contiguous(memory_format=self.format))
        total = OBJECTIVE.losses(student_logits, logits, batch.targets, 1)["total"]
        self.optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        total.item()


def optimiser_ratio(setting: Setting) -> float:
    """Return how much quicker the fused AdamW steps than the default one."""
    made = {}
    for name, fused in (("default", False), ("fused", True)):
        network = setting.network(setting.student)
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, 1e-3)
        made[name] = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05, fused=fused).step
    medians = interleaved(made, setting.device, setting.rounds, "optimiser")
    return medians["default"] / medians["fused"]


# ------------------------------------------------------------------------------------------------------------ students


def students(setting: Setting, teacher_px: int) -> dict[str, Any]:
    """Compare a student's step, data to optimiser, with a framework's loop; alone, and four to one stored pass."""
    teacher, framework = setting.live_teacher(teacher_px), setting.framework(teacher_px, setting.workers)
    live, stored, stream = setting.step(teacher, True), setting.step(None, True), endless(setting.stream())
    logits = torch.randn(setting.batch_size, CLASSES, device=setting.device)
    medians = interleaved(
        {
            "framework": framework.step,
            "live": lambda: live(next(stream)),
            "stored": lambda: stored(next(stream), logits),
            "pass": lambda: teacher(next(stream).images),
        },
        setting.device,
        setting.rounds,
        f"students of a {teacher_px} px teacher",
    )
    return {
        "s_per_step": medians,
        "one_student": medians["framework"] / medians["live"],
        "four_students": 4 * medians["framework"] / (medians["pass"] + 4 * medians["stored"]),
        "by_students": by_students(medians),
        "loss_difference": loss_difference(),
    }


def workers(setting: Setting) -> dict[str, Any]:
    """Compare such a step by the clock, since the work of a DataLoader's workers is not this process's time.

    What the workers load while another candidate is timed is a gift to theirs.
    """
    live, stream = setting.step(setting.live_teacher(32), True), endless(setting.stream())
    candidates: dict[str, Callable[[], object]] = {
        "framework": setting.framework(32, 0).step,
        "framework, 2 workers": setting.framework(32, 2).step,
        "live": lambda: live(next(stream)),
    }
    several = {name: functools.partial(_repeated, call, STEPS) for name, call in candidates.items()}
    medians = interleaved(several, setting.device, setting.rounds, "workers of the DataLoader", clock=True)
    return {
        "s_per_step": {name: value / STEPS for name, value in medians.items()},
        "ratio": medians["framework, 2 workers"] / medians["live"],
    }


STEPS = 10
"""Steps that are timed together, of which two workers can have prepared four batches before."""


def _repeated(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


def by_students(medians: dict[str, float]) -> dict[str, list[float]]:
    """Return the cost of 1 to 8 students of one stream, in framework steps of one student."""
    counts, unit = range(1, 9), medians["framework"]
    return {
        "students": list(counts),
        "framework": [float(count) for count in counts],
        "live": [count * medians["live"] / unit for count in counts],
        "stored": [(medians["pass"] + count * medians["stored"]) / unit for count in counts],
    }


def loss_difference() -> float:
    """Return the relative difference between the two loops' losses for the same logits and labels."""
    draw = torch.Generator().manual_seed(1)
    student_logits, teacher_logits = (torch.randn(64, CLASSES, generator=draw) * 3 for _ in range(2))
    a, b = (torch.randint(CLASSES, (64,), generator=draw) for _ in range(2))
    theirs = frameworks.kd_loss(student_logits, teacher_logits, a, b, 0.3)
    ours = OBJECTIVE.losses(student_logits, teacher_logits, Targets(a, b, torch.tensor(0.3)), 1)["total"]
    return abs(float(ours - theirs)) / float(theirs)


# --------------------------------------------------------------------------------------------- the plan's own evidence


def points(setting: Setting) -> list[dict[str, Any]]:
    """Measure the work that the plan's costs are fitted to: training steps and forward passes of four networks."""
    sizes = {"torchvision": setting.batch_size, "crossres": 32}
    names = {setting.student, setting.teacher, "crossres/tiny_student", "crossres/tiny_teacher"}
    measured = []
    for name, size_px, trains in itertools.product(sorted(names), (32, 64), (True, False)):
        batch_size = sizes.get(name.partition("/")[0], setting.batch_size)
        if trains and name == setting.teacher and setting.device.type == "cpu" and name.startswith("torchvision"):
            continue  # minutes a step on a CPU
        small = setting._replace(batch_size=batch_size, student=name)
        call = _training(small, size_px) if trains else _forward(small, name, size_px)
        (value,) = interleaved({name: call}, setting.device, setting.rounds, f"{name} at {size_px} px").values()
        network, passes = plan.count_network(Model(name=name), CLASSES, size_px), plan.TRAINING if trains else 1
        work = {"flops": passes * batch_size * network.flops, "launches": passes * network.launches}
        measured.append({"network": name, "resolution_px": size_px, "trains": trains, **work, "seconds": value})
    return measured


def _batch(setting: Setting, size_px: int) -> MixedBatch:
    batch = setting.stream().batch(1, 0)
    return batch._replace(images=upsample(batch.images, size_px))


def _training(setting: Setting, size_px: int) -> Callable[[], object]:
    taken, batch = setting.step(None, capture=True), _batch(setting, size_px)
    logits = torch.randn(setting.batch_size, CLASSES, device=setting.device)
    return lambda: taken(batch, logits)


def _forward(setting: Setting, name: str, size_px: int) -> Callable[[], object]:
    network, images = setting.network(name, fast=True).eval(), _batch(setting, size_px).images

    @torch.no_grad()
    def forward() -> Tensor:
        return network(images.contiguous(memory_format=torch.channels_last))

    return forward


def seeds(measured: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Return what the suite `paper` costs with 1 to 5 seeds of its students, as multiples of one seed with live logits.

    Its teachers are trained once. The students' seeds see batches of their own, or all the same (`stream_seed`).
    """
    points = [(plan.Work(point["flops"], point["launches"]), point["seconds"]) for point in measured]
    machine, suite = plan.fit_machine("this device", "these points", points), load_suite(files.suite_file("paper"))
    teachers = [suite.resolve(run, 42) for run in suite.runs if suite.runs[run].teacher is None]
    students = [suite.resolve(run, 42) for run in suite.runs if suite.runs[run].teacher is not None]

    def hours(count: int, mode: TeacherLogits, stream_seed: int | None) -> float:
        changes = [{"seed": seed, "stream_seed": stream_seed} for seed in range(count)]
        specs = teachers + [spec.model_copy(update=change) for spec in students for change in changes]
        return plan.make_plan(specs, mode, machine, cuda=False).hours

    unit, counts = hours(1, "live", None), range(1, 6)
    return {
        "seeds": list(counts),
        "live": [hours(count, "live", None) / unit for count in counts],
        "stored": [hours(count, "auto", None) / unit for count in counts],
        "stored, same batches": [hours(count, "auto", 0) / unit for count in counts],
    }


# -------------------------------------------------------------------------------------------------- memory and start-up


VERBS = {
    "--help": ["--help"],
    "spec": ["spec", "--help"],
    "summary": ["summary", "--records", "{records}", "--output", "{folder}/summary.csv"],
    "table": ["table", "results_summary", "--summary", "{folder}/all.csv", "--output-dir", "{folder}"],
    "figure": [
        *("figure", "fig3_accuracy_all", "--summary", "{folder}/all.csv"),
        *("--records", "{records}", "--output-dir", "{folder}"),
    ],
    "plan": ["plan", "--suite", "demo", "--device", "cpu"],
}


def startup(folder: Path, rounds: int) -> dict[str, float]:
    """Return the processor seconds of the verbs on next to nothing, medians."""
    records = [str(path) for path in sorted(files.SHIPPED.glob("published/*/*.json"))]
    base = [sys.executable, "-m", "crossres"]
    child_seconds([*base, "summary", "--records", *records, "--output", f"{folder}/all.csv"])
    found = {}
    for verb, words in VERBS.items():
        parts = [records if word == "{records}" else [word.format(folder=folder)] for word in words]
        spelt = [word for part in parts for word in part]
        found[verb] = sorted(child_seconds([*base, *spelt]) for _ in range(rounds))[rounds // 2]
    code = "import crossres.training.loop, crossres.training.models"
    found["train (imports)"] = sorted(child_seconds([sys.executable, "-c", code]) for _ in range(rounds))[rounds // 2]
    return found


def memory(folder: Path) -> dict[str, float]:
    """Return the peak resident set of the demonstration's largest jobs, MiB, each for one epoch."""
    from crossres.files import write_json
    from crossres.suites.spec import Budget
    from crossres.training.acquire import prepare

    prepare("shapes", folder, None)
    suite, found = load_suite(files.suite_file("demo")), {}
    for run in ("teacher_32", "teacher_64", "kd_64_to_32"):
        spec = suite.resolve(run, 1, Budget(epochs=1))
        path = folder / run / "spec.json"
        write_json(path, spec.model_dump(mode="json"))
        words = [sys.executable, "-m", "crossres", "train", "--spec", str(path), "--data", str(folder)]
        teacher = ["--teacher", str(folder / spec.teacher / "weights.safetensors")] if spec.teacher else []
        found[run] = peak_memory_mib([*words, "--device", "cpu", *teacher])
    return found
