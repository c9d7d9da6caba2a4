"""The training objectives against NumPy references written from the papers' formulas, and the laws they must obey."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

import crossres
from crossres.base import CrossresError, Strict
from crossres.suites.methods import METHODS, Law, Method, Objective, Targets
from crossres.suites.methods.base import cross_entropy
from crossres.suites.methods.dist import DIST, pearson
from crossres.suites.methods.dkd import DKD, decoupled_divergences
from crossres.suites.methods.kd import KD, kd_divergence
from crossres.suites.methods.kd_standardised import StandardisedKD, standardise

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402

examples = settings(derandomize=True, deadline=None, max_examples=25)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# ---- Batches and objectives ------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    student: torch.Tensor
    teacher: torch.Tensor
    targets: Targets


SHARES = ("unmixed", "scalar", "per image")
LAM_GRID = (0.0, 0.125, 0.25, 0.5, 0.625, 0.75, 1.0)
"""Shares for which `1 − lam` is exact, so that a swap of the labels is one too."""


def batch(seed: int, shares: str = "per image", n: int = 9, c: int = 11, dtype: torch.dtype = torch.float64) -> Batch:
    """Random logits with some labels equal and, per image, shares that include 0, 1/2 and 1."""
    rng = np.random.default_rng(seed)
    student, teacher = (torch.tensor(3 * rng.standard_normal((n, c)) + rng.normal(), dtype=dtype) for _ in range(2))
    a, b = (torch.from_numpy(rng.integers(0, c, n)) for _ in range(2))
    b[-1] = a[-1]
    if shares == "unmixed":
        return Batch(student, teacher, Targets(a, a, torch.tensor(1.0)))
    lam = rng.choice(LAM_GRID) if shares == "scalar" else np.resize(rng.permutation(LAM_GRID), n)
    return Batch(student, teacher, Targets(a, b, torch.tensor(lam, dtype=torch.float32)))


def variants(method: type[Method]) -> Iterator[Method]:
    """A method with its defaults, and with every float set to a value of its own, for each combination of choices."""
    fields = {name: field for name, field in method.model_fields.items() if name != "method"}
    choices = {name: get_args(f.annotation) for name, f in fields.items() if get_origin(f.annotation) is Literal}
    tuned = {name: 0.5 + 0.37 * i for i, (name, field) in enumerate(fields.items()) if field.annotation is float}
    tuned["label_smoothing"] = 0.1
    for chosen in itertools.product(*choices.values()):
        options: dict[str, Any] = dict(zip(choices, chosen, strict=True))
        yield method(**options)
        yield method(**options, **tuned)


def name_of(objective: Method) -> str:
    changed = objective.model_dump(exclude_defaults=True)
    choices = [value for value in changed.values() if isinstance(value, str)]
    return "-".join([objective.method, *choices, *["tuned"] * ("label_smoothing" in changed)])


OBJECTIVES = [pytest.param(objective, id=name_of(objective)) for method in METHODS for objective in variants(method)]
DEFAULTS = [pytest.param(method(), id=method().method) for method in METHODS]


def terms_of(objective: Method, data: Batch, epoch: int = 1) -> dict[str, torch.Tensor]:
    return objective.losses(data.student, data.teacher if objective.needs_teacher else None, data.targets, epoch)


def values_of(objective: Method, data: Batch, epoch: int = 1) -> dict[str, float]:
    return {name: term.item() for name, term in terms_of(objective, data, epoch).items()}


def gradient_of(objective: Method, data: Batch) -> torch.Tensor:
    student = data.student.clone().requires_grad_()
    terms_of(objective, data._replace(student=student))["total"].backward()
    assert student.grad is not None
    return student.grad


def close(expected: Any, rel: float = 1e-9, abs: float = 1e-9) -> Any:
    return pytest.approx(expected, rel=rel, abs=abs)


# ---- References: NumPy, float64, one image at a time -----------------------------------------------------------------


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float(np.sum(p * np.log(p / q)))


def softened(data: Batch, temperature: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Teacher's and student's probabilities, image by image."""
    for t, s in zip(data.teacher.double().numpy(), data.student.double().numpy(), strict=True):
        yield softmax(t / temperature), softmax(s / temperature)


def labels(data: Batch) -> Iterator[tuple[int, int, float]]:
    a, b, lam = (part.numpy() for part in data.targets)
    for i, j, share in zip(a, b, np.broadcast_to(lam, a.shape), strict=True):
        yield int(i), int(j), float(share)


def reference_ce(objective: Method, data: Batch, epoch: int = 1) -> dict[str, float]:
    eps = objective.label_smoothing
    each = []
    for logits, (a, b, lam) in zip(data.student.double().numpy(), labels(data), strict=True):
        truth = np.zeros(len(logits))
        truth[a] += lam
        truth[b] += 1 - lam
        truth = (1 - eps) * truth + eps / len(logits)
        each.append(-np.sum(truth * np.log(softmax(logits))))
    ce = float(np.mean(each))
    return {"ce": ce, "total": ce}


def reference_kd(objective: KD, data: Batch, epoch: int = 1) -> dict[str, float]:
    """Hinton et al. (2015): the cross entropy with the softened teacher, less the teacher's entropy, times T²."""
    temperature = objective.temperature
    kd = temperature**2 * np.mean([kl(p, q) for p, q in softened(data, temperature)])
    ce = reference_ce(objective, data)["ce"]
    return {"ce": ce, "kd": kd, "total": objective.ce_weight * ce + objective.kd_weight * kd}


def reference_kd_standardised(objective: StandardisedKD, data: Batch, epoch: int = 1) -> dict[str, float]:
    """Sun et al. (2024): the Z-score of each image's logits takes their place in the divergence, and only there."""

    def z_score(logits: torch.Tensor) -> torch.Tensor:
        rows = logits.double().numpy()
        return torch.from_numpy(np.stack([(row - row.mean()) / row.std(ddof=1) for row in rows]))

    scored = data._replace(student=z_score(data.student), teacher=z_score(data.teacher))
    kd = reference_kd(objective, scored)["kd"]
    ce = reference_ce(objective, data)["ce"]
    return {"ce": ce, "kd": kd, "total": objective.ce_weight * ce + objective.kd_weight * kd}


def decoupled(p: np.ndarray, q: np.ndarray, chosen: set[int]) -> np.ndarray:
    """Zhao et al. (2022): TCKD of the chosen classes against the rest, NCKD of the renormalised rest."""
    ours, others = sorted(chosen), [k for k in range(len(p)) if k not in chosen]
    grouped_p, grouped_q = (np.append(x[ours], x[others].sum()) for x in (p, q))
    return np.array([kl(grouped_p, grouped_q), kl(p[others] / p[others].sum(), q[others] / q[others].sum())])


def reference_dkd(objective: DKD, data: Batch, epoch: int = 1) -> dict[str, float]:
    each = []
    for (p, q), (a, b, lam) in zip(softened(data, objective.temperature), labels(data), strict=True):
        match objective.mixed_target:
            case "interpolate":
                each.append(lam * decoupled(p, q, {a}) + (1 - lam) * decoupled(p, q, {b}))
            case "joint":
                each.append(decoupled(p, q, {label for label, share in ((a, lam), (b, 1 - lam)) if share > 0}))
            case "dominant":
                largest = max(lam, 1 - lam)
                each.append(decoupled(p, q, {min(k for k, share in ((a, lam), (b, 1 - lam)) if share == largest)}))
    tckd, nckd = objective.temperature**2 * np.mean(each, axis=0)
    ce = reference_ce(objective, data)["ce"]
    ramp = min(epoch / objective.warmup_epochs, 1) if objective.warmup_epochs else 1
    distilled = objective.tckd_weight * tckd + objective.nckd_weight * nckd
    return {"ce": ce, "tckd": tckd, "nckd": nckd, "total": objective.ce_weight * ce + ramp * distilled}


def reference_dist(objective: DIST, data: Batch, epoch: int = 1) -> dict[str, float]:
    """Huang et al. (2022): one minus Pearson's correlation, over rows (inter) and over columns (intra)."""
    p, q = (np.stack(side) for side in zip(*softened(data, objective.temperature), strict=True))

    def distance(rows: np.ndarray, others: np.ndarray) -> float:
        correlations = [np.corrcoef(x, y)[0, 1] for x, y in zip(rows, others, strict=True)]
        return objective.temperature**2 * float(np.mean([1 - r for r in correlations]))

    inter, intra, ce = distance(p, q), distance(p.T, q.T), reference_ce(objective, data)["ce"]
    total = objective.ce_weight * ce + objective.inter_weight * inter + objective.intra_weight * intra
    return {"ce": ce, "inter": inter, "intra": intra, "total": total}


REFERENCES: dict[str, Any] = {
    "ce": reference_ce,
    "kd": reference_kd,
    "kd_standardised": reference_kd_standardised,
    "dkd": reference_dkd,
    "dist": reference_dist,
}


REFERENCED = [parameter for parameter in OBJECTIVES if parameter.values[0].method in REFERENCES]


# ---- Agreement -------------------------------------------------------------------------------------------------------


def assert_agreement(terms: dict[str, torch.Tensor], expected: dict[str, float], tolerance: float) -> None:
    """Compare to a relative tolerance: that of each term, but for TCKD, parts of which cancel, that of the total."""
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        scale = expected["total"] if name == "tckd" else expected[name]
        assert term.item() == close(expected[name], rel=0, abs=tolerance * scale), name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize("objective", REFERENCED)
def test_agrees_with_the_reference(objective: Method, shares: str, dtype: torch.dtype) -> None:
    for seed in range(3):
        data = batch(seed, shares, dtype=dtype)
        terms = terms_of(objective, data, epoch=seed)
        expected = REFERENCES[objective.method](objective, data, epoch=seed)
        assert {term.dtype for term in terms.values()} == {dtype if dtype == torch.float64 else torch.float32}
        assert {term.shape for term in terms.values()} == {torch.Size()}
        assert_agreement(terms, expected, tolerance=1e-11 if dtype == torch.float64 else 1e-6)
    many = batch(7, shares, n=16, c=200, dtype=dtype)
    assert_agreement(terms_of(objective, many), REFERENCES[objective.method](objective, many), tolerance=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_is_that_of_torch(smoothing: float) -> None:
    student, _, (a, b, lam) = batch(0)
    student = student.float()
    hard = cross_entropy(student, Targets(a, a, torch.tensor(1.0)), smoothing)
    torch.testing.assert_close(hard, F.cross_entropy(student, a, label_smoothing=smoothing))

    mixed = cross_entropy(student, Targets(a, b, lam), smoothing)
    each = [F.cross_entropy(student, label, label_smoothing=smoothing, reduction="none") for label in (a, b)]
    torch.testing.assert_close(mixed, (lam * each[0] + (1 - lam) * each[1]).mean())


# ---- Laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels_given", [1, 2])
@examples
@given(seed=st.integers(0, 2**20), temperature=st.sampled_from([0.5, 1.0, 4.0]))
def test_the_decoupled_terms_compose_the_divergence(labels_given: int, seed: int, temperature: float) -> None:
    student, teacher, (a, b, _) = batch(seed)
    classes = (a, b)[:labels_given]
    tckd, nckd = decoupled_divergences(student, teacher, classes, temperature)
    target = torch.stack([F.one_hot(label, student.shape[1]) for label in classes]).amax(0).bool()
    p_target = (teacher / temperature).softmax(1).mul(target).sum(1)
    whole = kd_divergence(student, teacher, temperature)
    torch.testing.assert_close((tckd + (1 - p_target) * nckd).mean(), whole, rtol=1e-9, atol=1e-9)
    assert min(tckd.min(), nckd.min(), whole) >= -1e-12


@pytest.mark.parametrize("height", [-1e4, 1e4])
def test_the_other_classes_are_compared_alike_whatever_the_logit_of_the_target(height: float) -> None:
    student, teacher, (a, _, _) = batch(10)
    _, expected = decoupled_divergences(student, teacher, (a,), 4.0)
    moved = (logits.scatter_add(1, a[:, None], torch.full_like(logits, height)) for logits in (student, teacher))
    _, nckd = decoupled_divergences(*moved, (a,), 4.0)
    torch.testing.assert_close(nckd, expected, rtol=1e-9, atol=1e-9)


def test_nothing_is_left_to_the_other_classes_when_there_are_none() -> None:
    student, teacher, (a, _, lam) = batch(0, c=2)
    data = Batch(student.requires_grad_(), teacher, Targets(a, 1 - a, lam))
    for mixed_target in ("interpolate", "joint", "dominant"):
        terms = terms_of(DKD(mixed_target=mixed_target), data)
        assert terms["nckd"].item() == close(0)
        assert terms["tckd"].isfinite()
        assert gradient_of(DKD(mixed_target=mixed_target), data._replace(student=student.detach())).isfinite().all()
    both = decoupled_divergences(student, teacher, (a, 1 - a), 4.0)[0].mean()
    torch.testing.assert_close(both, kd_divergence(student, teacher, 4.0))


Values = dict[str, float]


def distilled(objective: Method, data: Batch) -> Values:
    """The terms that the laws are about."""
    return {name: value for name, value in values_of(objective, data).items() if name not in ("ce", "total")}


def shifted(objective: Method, data: Batch, seed: int) -> tuple[Values, Values]:
    side, scale = ("student", "teacher")[seed % 2], (1.0, 50.0)[seed // 2 % 2]
    shifts = scale * torch.randn(len(data.student), 1, generator=torch.Generator().manual_seed(seed)).double()
    moved = data._replace(**{side: getattr(data, side) + shifts})
    return distilled(objective, moved), distilled(objective, data)


def equal(objective: Method, data: Batch, seed: int) -> tuple[Values, Values]:
    found = distilled(objective, data._replace(teacher=data.student + seed - 5))
    return found, dict.fromkeys(found, 0.0)


def rescaled(objective: Method, data: Batch, seed: int) -> tuple[Values, Values]:
    by = 0.5 + seed
    temperature = {"temperature": by * objective.temperature} if hasattr(objective, "temperature") else {}
    scaled = data._replace(student=by * data.student, teacher=by * data.teacher)
    expected = {name: by**2 * value for name, value in distilled(objective, data).items()}
    return distilled(objective.model_copy(update=temperature), scaled), expected


def student_rescaled(objective: Method, data: Batch, seed: int) -> tuple[Values, Values]:
    return distilled(objective, data._replace(student=(2 + seed) * data.student)), distilled(objective, data)


def relabelled(objective: Method, data: Batch, seed: int) -> tuple[Values, Values]:
    return distilled(objective, data._replace(targets=batch(seed + 1000).targets)), distilled(objective, data)


def alone(objective: Method, data: Batch, seed: int) -> tuple[Values, Values]:
    a, b, lam = data.targets
    parts = [slice(i, i + 1) for i in range(len(a))]
    each = [Batch(data.student[i], data.teacher[i], Targets(a[i], b[i], lam[i])) for i in parts]
    values = [distilled(objective, image) for image in each]
    return {name: float(np.mean([v[name] for v in values])) for name in values[0]}, distilled(objective, data)


LAWS = {
    Law.SHIFT: shifted,
    Law.EQUALITY: equal,
    Law.TEMPERATURE: rescaled,
    Law.STUDENT_SCALE: student_rescaled,
    Law.LABELS: relabelled,
    Law.IMAGES: alone,
}


@pytest.mark.parametrize("law", Law, ids=lambda law: law.name.lower())
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_exactly_the_declared_laws_hold(objective: Method, law: Law) -> None:
    pairs = [LAWS[law](objective, batch(seed), seed) for seed in range(20)]
    if law in objective.laws:
        for found, expected in pairs:
            assert found == close(expected), f"{law!r} does not hold for {type(objective).__name__}: {law}"
    else:
        holds = all(found == close(expected) for found, expected in pairs)
        assert not holds, f"{law!r} holds for {type(objective).__name__}; declare it: {law}"


@pytest.mark.parametrize("objective", OBJECTIVES)
@examples
@given(seed=st.integers(0, 2**20), shares=st.sampled_from(SHARES), scalar=st.sampled_from(LAM_GRID))
def test_two_labels_are_a_mixture(objective: Method, seed: int, shares: str, scalar: float) -> None:
    """Their order does not matter, a scalar share is that of every image, and a share of one means one label."""
    data = batch(seed, shares)
    a, b, lam = data.targets

    def values(*targets: torch.Tensor) -> Values:
        return values_of(objective, data._replace(targets=Targets(*targets)))

    assert values(b, a, 1 - lam) == close(values(a, b, lam))
    assert values(a, b, torch.full((len(a),), scalar)) == close(values(a, b, torch.tensor(scalar)))
    assert values(a, b, torch.ones(len(a))) == close(values(a, a, torch.tensor(1.0)))


def test_standardised_logits_have_mean_zero_and_unit_deviation() -> None:
    standard = standardise(batch(5).student)
    torch.testing.assert_close(standard.mean(1), torch.zeros(len(standard)).double())
    torch.testing.assert_close(standard.std(1), torch.ones(len(standard)).double())


# ---- Numbers at the edge ---------------------------------------------------------------------------------------------

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def extremes(n: int, c: int) -> dict[str, torch.Tensor]:
    """Logits of ±1e4: random signs, one class far above the others, one far below."""
    spike = -torch.ones(n, c).scatter(1, (torch.arange(n) % c)[:, None], 1.0)
    signs = torch.randint(0, 2, (n, c), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    return {"signs": 1e4 * signs, "spike": 1e4 * spike, "hole": -1e4 * spike, "elsewhere": 1e4 * spike.roll(1, 1)}


def assert_finite(objective: Method, data: Batch) -> None:
    for name, value in values_of(objective, data).items():
        assert math.isfinite(value), name
    assert gradient_of(objective, data).isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_huge_logits_give_finite_losses_and_gradients(objective: Method, dtype: torch.dtype) -> None:
    ordinary = batch(0, n=6, c=5, dtype=dtype)
    sides = [logits.to(dtype) for logits in extremes(6, 5).values()]
    for student, teacher in itertools.product([*sides, ordinary.student], [*sides, ordinary.teacher]):
        assert_finite(objective, ordinary._replace(student=student, teacher=teacher))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_constant_logits_give_finite_losses_and_gradients(objective: Method, dtype: torch.dtype) -> None:
    for c, value in itertools.product([10, 100], [0.0, 0.1, -3.3, 1e4]):
        ordinary = batch(0, c=c, dtype=dtype)
        constant = torch.full_like(ordinary.student, value)
        for student, teacher in [(constant, ordinary.teacher), (ordinary.student, constant), (constant, constant)]:
            assert_finite(objective, ordinary._replace(student=student, teacher=teacher))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_batch_of_one_image_many_times_gives_finite_losses_and_gradients(objective: Method) -> None:
    for n in (1, 8):
        data = batch(0, "scalar", dtype=torch.float32)
        student, teacher, (a, b, lam) = data
        repeated = Targets(a[:1].repeat(n), b[:1].repeat(n), lam)
        assert_finite(objective, Batch(student[:1].repeat(n, 1), teacher[:1].repeat(n, 1), repeated))


@pytest.mark.parametrize("value", [0.0, 0.1, -3.3, 1e4])
@pytest.mark.parametrize("c", [10, 100])
def test_constant_input_standardises_to_zero_and_correlates_with_nothing(c: int, value: float) -> None:
    constant = torch.full((4, c), value, requires_grad=True)
    other = torch.randn(4, c, generator=torch.Generator().manual_seed(0))
    standard, correlation = standardise(constant), pearson(constant, other, dim=1)
    (standard.square().sum() + (standard * other).sum() + correlation.sum()).backward()
    assert constant.grad is not None
    for is_zero in (standard.mean(1), standard.softmax(1) - 1 / c, constant.grad):
        torch.testing.assert_close(is_zero, torch.zeros_like(is_zero), atol=1e-6, rtol=0)
    torch.testing.assert_close(correlation, torch.zeros(4), atol=1e-5, rtol=0)


# ---- Gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_are_those_of_finite_differences(objective: Method, shares: str) -> None:
    data = batch(2, shares, n=4, c=5)
    student = data.student.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tuple(terms_of(objective, data._replace(student=x)).values()), student)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_float32_gradients_are_those_of_float64(objective: Method) -> None:
    data = batch(4, dtype=torch.float32)
    exact = gradient_of(objective, data._replace(student=data.student.double(), teacher=data.teacher.double()))
    torch.testing.assert_close(gradient_of(objective, data).double(), exact, rtol=1e-4, atol=1e-6)


# ---- Options ---------------------------------------------------------------------------------------------------------


def test_the_decoupled_terms_ramp_up_over_the_warmup_epochs() -> None:
    data, objective = batch(6), DKD(warmup_epochs=4)
    full = values_of(DKD(), data)
    for epoch, ramp in [(1, 0.25), (2, 0.5), (4, 1.0), (5, 1.0), (100, 1.0)]:
        terms = values_of(objective, data, epoch)
        assert {**terms, "total": None} == {**full, "total": None}, "the terms themselves are not ramped"
        assert terms["total"] - terms["ce"] == close(ramp * (full["total"] - full["ce"]))
    for epoch in (0, 1, 100):
        assert values_of(DKD(), data, epoch) == full


@pytest.mark.parametrize("objective", DEFAULTS)
def test_the_total_is_linear_in_a_weight_per_term_and_the_terms_know_none(objective: Method) -> None:
    data = batch(8)
    terms = values_of(objective, data)
    weights = [name for name in type(objective).model_fields if name.endswith("_weight")]
    assert set(terms) == {"ce", "total"} | {name.removesuffix("_weight") for name in weights}
    nothing = objective.model_copy(update=dict.fromkeys(weights, 0.0))
    assert not weights or values_of(nothing, data)["total"] == 0
    for name in weights:
        for weight in (1.0, 2.5):
            only = values_of(nothing.model_copy(update={name: weight}), data)
            assert only["total"] == close(weight * terms[name.removesuffix("_weight")])
            assert {**only, "total": None} == {**terms, "total": None}


@pytest.mark.parametrize("objective", DEFAULTS)
def test_label_smoothing_enters_the_cross_entropy_only(objective: Method) -> None:
    data = batch(9)
    plain, smooth = (values_of(objective.model_copy(update={"label_smoothing": x}), data) for x in (0.0, 0.2))
    changed = {name for name in plain if plain[name] != smooth[name]}
    assert changed == {"ce", "total"}
    difference = getattr(objective, "ce_weight", 1.0) * (smooth["ce"] - plain["ce"])
    assert smooth["total"] - plain["total"] == close(difference)


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_teacher_is_an_error_where_one_is_needed(method: type[Method]) -> None:
    student, _, targets = batch(0)
    expectation = pytest.raises(ValueError, match="needs teacher") if method.needs_teacher else contextlib.nullcontext()
    with expectation:
        method().losses(student, None, targets, 1)


# ---- Documents -------------------------------------------------------------------------------------------------------


class Document(Strict):
    objective: Objective


@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_read_by_its_name_which_is_that_of_its_file(method: type[Method]) -> None:
    for objective in variants(method):
        assert TypeAdapter(Objective).validate_python(objective.model_dump()) == objective
        assert type(Document.parse({"objective": objective.model_dump()}, "spec").objective) is method
        assert method.__module__.endswith(f".{objective.method}")


@pytest.mark.parametrize("method", METHODS)
def test_each_method_says_what_the_report_needs(method: type[Method]) -> None:
    assert all(field.description for field in method.model_fields.values())
    assert all(field.title for name, field in method.model_fields.items() if name != "method")
    cited = re.findall(r"@\w+\{(\S+),", Path("paper/references.bib").read_text())
    assert not method.citation or method.citation in cited, f"{method.citation} is not in paper/references.bib"
    paragraph = method.in_report("the runs")
    assert "(the runs)" in paragraph
    assert bool(method.formula) == ("[equation]" in method.paragraph) == (method.formula + "\n\\end" in paragraph)
    assert not re.search(r"\[(title|cite|runs|equation)\]", paragraph)


@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_key_is_an_error_that_names_the_nearest(method: type[Method]) -> None:
    with pytest.raises(ValidationError, match="label_smothing"):
        TypeAdapter(Objective).validate_python({"method": method().method, "label_smothing": 0.1})
    with pytest.raises(CrossresError, match=r"label_smothing: unknown key; did you mean 'label_smoothing'\?"):
        Document.parse({"objective": {"method": method().method, "label_smothing": 0.1}}, "spec")


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "hinton"},
        {"method": "kd", "temperature": 0},
        {"method": "kd", "temperature": math.inf},
        {"method": "kd", "kd_weight": -1},
        {"method": "ce", "label_smoothing": 1.5},
        {"method": "dkd", "warmup_epochs": -1},
        {"method": "dkd", "mixed_target": "both"},
        {"method": "dist", "inter_weight": math.nan},
        {},
    ],
    ids=str,
)
def test_a_value_out_of_range_is_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(CrossresError, match="^spec: objective"):
        Document.parse({"objective": wrong}, "spec")


def test_objectives_are_checked_without_torch() -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from crossres.suites.methods import METHODS, Objective\n"
        "from pydantic import TypeAdapter\n"
        "for method in METHODS: print(TypeAdapter(Objective).validate_python({'method': method().method}).method)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(crossres.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [method().method for method in METHODS]
