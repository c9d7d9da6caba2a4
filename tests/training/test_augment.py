"""The augmentation stream against torchvision's PIL pipeline, its distributions, and its purity."""

from __future__ import annotations

import pickle
from collections import Counter
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch.nn import functional
from torchvision import transforms
from torchvision.transforms import functional as vision

from crossres.suites.datasets import CIFAR100_NORMALISATION
from crossres.suites.spec import Augmentation
from crossres.training.augment import MixedBatch, Stream, draw_mixing, mix, normalise, resize, stream, upsample
from crossres.training.augment.draws import Draws, draw_epoch
from crossres.training.augment.kernels import augment, erase
from crossres.training.augment.policy import sub_policies
from tests.conftest import find_cifar100

STRONG = Augmentation(auto_augment="cifar10", erase_prob=0.25)
BASIC = Augmentation()
POLICY = transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10)
pytestmark = pytest.mark.usefixtures("one_thread")
UNLIKELY = 1e-4
"""Level at which a difference of distributions is called one; the draws are fixed, so nothing here is flaky."""


def _smooth(count: int) -> torch.Tensor:
    """Generate smooth, slightly noisy images of varied brightness, uint8 [count, 3, 32, 32]."""
    seeded = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 6, 6, generator=seeded)
    fine = functional.interpolate(coarse, size=32, mode="bicubic", align_corners=False)
    fine = fine + 0.05 * torch.randn(fine.shape, generator=seeded)
    return (fine * 1.2 * torch.rand(count, 1, 1, 1, generator=seeded)).clamp(0, 1).mul(255).to(torch.uint8)


@pytest.fixture(scope="module")
def natural() -> torch.Tensor:
    """Return CIFAR-100's training images where they are at hand, else generated ones; uint8 [M, 3, 32, 32]."""
    folder = find_cifar100()
    print(f"images: {'CIFAR-100, training set' if folder else 'generated, smooth'}")
    if folder is None:
        return _smooth(20_000)
    document = pickle.loads((folder / "train").read_bytes(), encoding="latin1")
    return torch.from_numpy(document["data"].reshape(-1, 3, 32, 32))


def _odd_images() -> torch.Tensor:
    """Images on which table look-ups and divisions go wrong first."""
    seeded = torch.Generator().manual_seed(1)
    constant = [torch.full((3, 32, 32), value, dtype=torch.uint8) for value in (0, 1, 7, 128, 254, 255)]
    noise = list(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=seeded))
    two_valued = [
        torch.randint(0, 2, (3, 32, 32), dtype=torch.uint8, generator=seeded) * value for value in (1, 3, 255)
    ]
    one_pixel = torch.full((3, 32, 32), 90, dtype=torch.uint8)
    one_pixel[:, 16, 16] = 200
    narrow = torch.randint(100, 104, (3, 32, 32), dtype=torch.uint8, generator=seeded)
    one_colour = torch.zeros(3, 32, 32, dtype=torch.uint8)
    one_colour[0] = 255
    ramp = (torch.arange(1024) // 4).to(torch.uint8).view(1, 32, 32).repeat(3, 1, 1)
    return torch.stack([*constant, *noise, *two_valued, one_pixel, narrow, one_colour, ramp])


def _pil(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def _by_torchvision(images: torch.Tensor, draws: Draws, padding: int) -> torch.Tensor:
    """Crop, flip and AutoAugment one image after another with torchvision and PIL, given the draws."""
    size = images.shape[-1]
    results = []
    with mock.patch.object(transforms.AutoAugment, "get_params") as get_params:
        for number, image in enumerate(images):
            top, left = draws.crop[number].tolist()
            pil = vision.crop(vision.pad(_pil(image), padding), top, left, size, size)
            pil = vision.hflip(pil) if draws.flip[number] else pil
            chance, positive = torch.from_numpy(draws.chance[number]), torch.from_numpy(draws.positive[number])
            get_params.return_value = (int(draws.policy[number]), chance, positive.long())
            results.append(vision.pil_to_tensor(POLICY(pil)))
    return torch.stack(results)


def _differing(images: torch.Tensor, draws: Draws, padding: int) -> list[tuple[int, object]]:
    ours = augment(images, draws, padding)
    differs = (ours != _by_torchvision(images, draws, padding)).flatten(1).any(1)
    return [(row, POLICY.policies[draws.policy[row]]) for row in differs.nonzero().flatten().tolist()]


# ----------------------------------------------------------------------------------------- equality with torchvision


def test_augment_is_bit_identical_to_the_pil_pipeline(natural):
    odd = _odd_images().repeat(60, 1, 1, 1)
    images = torch.cat([odd, natural[: 20_000 - len(odd)]])
    draws = draw_epoch(STRONG, len(images), 32, seed=1, epoch=1)
    applied = draws.chance <= sub_policies(32, images.device).prob[draws.policy]
    names = Counter(POLICY.policies[draws.policy[row]][slot][0] for row, slot in np.argwhere(applied))
    assert set(names) == {name for pair in POLICY.policies for name, _, _ in pair}
    assert _differing(images, draws, 4) == []
    print(f"{len(images)} images equal; operations applied: {dict(names)}")


def test_every_operation_with_either_sign_on_every_odd_image(natural):
    images = torch.cat([_odd_images(), natural[:10]])
    never = 2.0
    for policy, slot, positive in np.ndindex(len(POLICY.policies), 2, 2):
        chance = np.full((len(images), 2), never)
        chance[:, slot] = 0.0
        draws = Draws(
            crop=np.full((len(images), 2), 4),
            flip=np.zeros(len(images), bool),
            policy=np.full(len(images), policy),
            chance=chance,
            positive=np.full((len(images), 2), bool(positive)),
            erase=np.zeros((len(images), 4), np.int64),
        )
        assert _differing(images, draws, 4) == []


@pytest.mark.parametrize(("size", "padding"), [(64, 8), (48, 0)])
def test_augment_is_bit_identical_at_other_sizes(natural, size, padding):
    images = resize(torch.cat([_odd_images(), natural[:380]]), size)
    draws = draw_epoch(STRONG.model_copy(update={"crop_padding_px": padding}), len(images), size, seed=2, epoch=3)
    assert _differing(images, draws, padding) == []


def test_normalise_and_erase_equal_torchvision(natural):
    images = torch.cat([_odd_images(), natural[:1000]])
    boxes = draw_epoch(STRONG.model_copy(update={"erase_prob": 1.0}), len(images), 32, seed=1, epoch=1).erase
    to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*CIFAR100_NORMALISATION)])
    expected = []
    for image, (top, bottom, left, right) in zip(images, boxes.tolist(), strict=True):
        expected.append(vision.erase(to_tensor(_pil(image)), top, left, bottom - top, right - left, torch.zeros(1)))
    assert torch.equal(erase(normalise(images, CIFAR100_NORMALISATION), boxes), torch.stack(expected))


@pytest.mark.parametrize("size", [16, 24, 48, 64, 96])
def test_resize_equals_pil(natural, size):
    images = torch.cat([_odd_images(), natural[:300]])
    by_pil = [vision.pil_to_tensor(_pil(image).resize((size, size), Image.Resampling.BILINEAR)) for image in images]
    largest = (resize(images, size).int() - torch.stack(by_pil).int()).abs().max().item()
    exact = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    print(f"{size} px: largest difference {largest}")
    assert largest <= (0 if exact else 1)
    assert resize(images, 32) is images


def test_upsample_is_bilinear_without_aligned_corners():
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = functional.interpolate(images, size=(64, 64), mode="bilinear", align_corners=False)
    assert torch.equal(upsample(images, 64), expected)
    assert upsample(images, 32) is images


# ------------------------------------------------------------------------------------------------------ distributions


@pytest.fixture
def torch_seed():
    with torch.random.fork_rng():
        torch.manual_seed(7)
        yield


def _same_distribution(ours, theirs) -> float:
    """P-value of a chi-square test of two samples, in at most 20 bins of about equal counts."""
    pooled = np.concatenate([ours, theirs])
    edges = np.unique(np.quantile(pooled, np.linspace(0, 1, 21)))
    edges[-1] += 1
    table = [np.histogram(sample, edges)[0] for sample in (ours, theirs)]
    return stats.chi2_contingency(table).pvalue


def test_crop_and_flip_are_uniform():
    draws = draw_epoch(BASIC, 50_000, 32, seed=3, epoch=1)
    positions = np.bincount(draws.crop[:, 0] * 9 + draws.crop[:, 1], minlength=81)
    assert len(positions) == 81
    assert stats.chisquare(positions).pvalue > UNLIKELY
    assert stats.binomtest(int(draws.flip.sum()), 50_000, BASIC.flip_prob).pvalue > UNLIKELY


def test_policy_frequencies_agree_with_torchvision(torch_seed):
    draws = draw_epoch(STRONG, 50_000, 32, seed=3, epoch=1)
    theirs = [transforms.AutoAugment.get_params(len(POLICY.policies)) for _ in range(10_000)]
    policies = [np.bincount(sample, minlength=25) for sample in (draws.policy, [policy for policy, _, _ in theirs])]
    assert stats.chi2_contingency(policies).pvalue > UNLIKELY
    assert stats.chisquare(policies[0]).pvalue > UNLIKELY
    probability = np.array([[op[1] for op in pair] for pair in POLICY.policies])
    for slot in (0, 1):
        assert stats.ks_2samp(draws.chance[:, slot], [float(chance[slot]) for _, chance, _ in theirs]).pvalue > UNLIKELY
        assert stats.binomtest(int(draws.positive[:, slot].sum()), 50_000).pvalue > UNLIKELY
        applied = int((draws.chance[:, slot] <= probability[draws.policy, slot]).sum())
        assert stats.binomtest(applied, 50_000, probability[:, slot].mean()).pvalue > UNLIKELY
    signs = [draws.positive[:, 0] * 2 + draws.positive[:, 1], draws.flip * 2 + draws.positive[:, 0]]
    assert all(stats.chisquare(np.bincount(pair, minlength=4)).pvalue > UNLIKELY for pair in signs)


def test_erased_boxes_agree_with_torchvision(torch_seed):
    def boxes(scale):
        settings = STRONG.model_copy(update={"erase_prob": 1.0, "erase_scale": scale})
        top, bottom, left, right = draw_epoch(settings, 20_000, 32, seed=3, epoch=1).erase.T
        return {
            "top": top,
            "left": left,
            "height": bottom - top,
            "width": right - left,
            "aspect": (bottom - top) / (right - left),
        }

    blank = torch.zeros(3, 32, 32)
    drawn = [transforms.RandomErasing.get_params(blank, (0.02, 0.2), (0.3, 3.3), [0.0])[:4] for _ in range(10_000)]
    top, left, height, width = np.array(drawn).T
    theirs = {"top": top, "left": left, "height": height, "width": width, "aspect": height / width}
    for name, ours in boxes((0.02, 0.2)).items():
        assert _same_distribution(ours, theirs[name]) > UNLIKELY, name
    assert _same_distribution(boxes((0.02, 0.33))["height"], theirs["height"]) < 1e-12
    erased = draw_epoch(STRONG, 50_000, 32, seed=3, epoch=1).erase
    assert stats.binomtest(int((erased[:, 0] < erased[:, 1]).sum()), 50_000, 0.25).pvalue > UNLIKELY


def test_a_box_that_never_fits_erases_nothing():
    hopeless = STRONG.model_copy(update={"erase_prob": 1.0, "erase_scale": (1.0, 1.0), "erase_ratio": (1.0, 1.0)})
    assert not draw_epoch(hopeless, 100, 32, seed=0, epoch=1).erase.any()
    tight = STRONG.model_copy(update={"erase_prob": 1.0, "erase_scale": (0.8, 1.2)})
    top, bottom, left, right = draw_epoch(tight, 5_000, 32, seed=0, epoch=1).erase.T
    assert ((top == 0) & (bottom == 0)).any()
    assert (bottom - top < 32).all() and (right - left < 32).all()
    assert (top >= 0).all() and (bottom <= 32).all() and (left >= 0).all() and (right <= 32).all()


def test_mixing_agrees_with_the_betas_and_with_torchvision(torch_seed):
    mixings = [draw_mixing(BASIC, 4, 32, seed=5, epoch=1, step=step) for step in range(8_000)]
    lams = {method: [m.lam for m in mixings if m.method == method] for method in ("cutmix", "mixup", "none")}
    assert not lams["none"]
    assert stats.binomtest(len(lams["cutmix"]), len(mixings), BASIC.cutmix_share).pvalue > UNLIKELY
    assert stats.kstest(lams["mixup"], stats.beta(0.8, 0.8).cdf).pvalue > UNLIKELY
    assert stats.kstest(lams["mixup"], stats.beta(1.0, 1.0).cdf).pvalue < UNLIKELY
    cutmix = transforms.v2.CutMix(alpha=1.0, num_classes=2)
    theirs = [cutmix.make_params([torch.zeros(4, 3, 32, 32)]) for _ in range(4_000)]
    boxes = np.array([m.box for m in mixings if m.method == "cutmix"])
    assert _same_distribution(np.array(lams["cutmix"]), np.array([p["lam_adjusted"] for p in theirs])) > UNLIKELY
    for column, edge in enumerate((1, 3, 0, 2)):  # ours: top, bottom, left, right; theirs: left, top, right, bottom
        assert _same_distribution(boxes[:, column], np.array([p["box"][edge] for p in theirs])) > UNLIKELY
    partly = BASIC.model_copy(update={"mix_prob": 0.3})
    mixed = sum(draw_mixing(partly, 4, 32, 5, 1, step).method != "none" for step in range(4_000))
    assert stats.binomtest(mixed, 4_000, 0.3).pvalue > UNLIKELY


# --------------------------------------------------------------------------------------------------------- the stream


COUNT = 300
LABELS = torch.arange(COUNT)


@pytest.fixture
def images(natural) -> torch.Tensor:
    return natural[:COUNT].clone()


def _stream(images, augmentation=STRONG, seed=42, batch_size=32) -> Stream:
    return Stream(augmentation, images, torch.arange(len(images)), seed, batch_size, CIFAR100_NORMALISATION)


def _equal(one: MixedBatch, other: MixedBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_batch_is_a_pure_function(images, monkeypatch):
    monkeypatch.setattr(stream, "BLOCK_IMAGES", 96)
    before = images.clone()
    first = _stream(images)
    batches = {(epoch, step): batch for epoch in (1, 2) for step, batch in enumerate(first.epoch(epoch))}
    assert len(batches) == 2 * first.steps_per_epoch == 18
    torch.manual_seed(0)
    np.random.seed(0)
    shuffled = _stream(images)
    for key in sorted(batches, key=lambda key: key[::-1]):
        assert _equal(shuffled.batch(*key), batches[key])
    resumed = _stream(images)
    assert _equal(resumed.batch(2, 5), batches[2, 5])
    monkeypatch.setattr(stream, "BLOCK_IMAGES", 1)
    assert _equal(_stream(images).batch(np.int64(2), np.int64(8)), batches[2, 8])
    assert torch.equal(images, before)


def test_no_global_random_state_is_touched(images):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    _stream(images).batch(1, 0)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


def test_a_batch_owns_its_memory(images):
    running = _stream(images, STRONG.model_copy(update={"mix_prob": 0.0}))
    batch = running.batch(1, 0)
    kept = batch.images.clone()
    batch.images.zero_()
    assert torch.equal(running.batch(1, 0).images, kept)


def _by_sample(running: Stream, epoch: int) -> dict[int, torch.Tensor]:
    return {
        int(a): image for batch in running.epoch(epoch) for image, a in zip(batch.images, batch.target_a, strict=True)
    }


def test_a_samples_augmentation_depends_on_seed_epoch_and_index_alone(images):
    unmixed = STRONG.model_copy(update={"mix_prob": 0.0})
    reference = _by_sample(_stream(images, unmixed), 3)
    for batch_size in (7, 50, 300):
        other = _by_sample(_stream(images, unmixed, batch_size=batch_size), 3)
        shared = reference.keys() & other.keys()
        assert len(shared) > 250 and all(torch.equal(reference[index], other[index]) for index in shared)
    for changed in (_by_sample(_stream(images, unmixed, seed=43), 3), _by_sample(_stream(images, unmixed), 4)):
        shared = reference.keys() & changed.keys()
        assert sum(torch.equal(reference[index], changed[index]) for index in shared) < 0.1 * len(shared)
    alike = _by_sample(_stream(images[:1].repeat(COUNT, 1, 1, 1), unmixed), 3)
    assert len({image.numpy().tobytes() for image in alike.values()}) > 250


def test_draws_do_not_depend_on_how_many_images_there_are():
    few, many = (draw_epoch(STRONG, count, 32, seed=1, epoch=1) for count in (50, 500))
    assert all(np.array_equal(a, b) for a, b in zip(few, many.rows(slice(0, 50)), strict=True))


def test_an_epoch_is_a_permutation_less_the_remainder(images):
    running = _stream(images)
    orders = [torch.cat([batch.target_a for batch in running.epoch(epoch)]).tolist() for epoch in (1, 2)]
    assert running.steps_per_epoch == 9
    assert all(len(order) == len(set(order)) == 288 for order in orders)
    assert orders[0] != orders[1] and set(orders[0]) != set(orders[1])


def test_the_stream_composes_the_parts(images):
    running = _stream(images)
    draws = draw_epoch(STRONG, COUNT, 32, 42, 1)
    for step in range(6):
        rows = running.batch(1, step).target_a.numpy()
        plain = normalise(_by_torchvision(images[rows], draws.rows(rows), 4), CIFAR100_NORMALISATION)
        mixing = draw_mixing(STRONG, 32, 32, 42, 1, step)
        expected = mix(erase(plain, draws.erase[rows]), torch.from_numpy(rows), mixing)
        assert _equal(running.batch(1, step), expected)


def test_basic_without_anything_is_the_normalised_image(images):
    nothing = Augmentation(crop_padding_px=0, flip_prob=0.0, mix_prob=0.0)
    batch = _stream(images, nothing).batch(1, 0)
    assert torch.equal(batch.images, normalise(images[batch.target_a], CIFAR100_NORMALISATION))
    assert torch.equal(batch.target_b, batch.target_a)
    assert batch.lam.shape == () and batch.lam.dtype == torch.float32 and batch.lam == 1
    assert batch.targets == (batch.target_a, batch.target_b, batch.lam)


def _unmixed_and_mixed(images, **settings):
    plain = _stream(images, STRONG.model_copy(update={"mix_prob": 0.0}))
    mixed = _stream(images, STRONG.model_copy(update=settings))
    for step in range(plain.steps_per_epoch):
        yield plain.batch(1, step), mixed.batch(1, step), mixed.augmentation, step


def test_cutmix_is_pixel_exact(images):
    kept_shares = []
    for plain, mixed, settings, step in _unmixed_and_mixed(images, cutmix_share=1.0):
        mixing = draw_mixing(settings, 32, 32, 42, 1, step)
        top, bottom, left, right = mixing.box
        assert 0 <= top <= bottom <= 32 and 0 <= left <= right <= 32
        expected = plain.images.clone()
        for row, partner in enumerate(mixing.partner):
            expected[row, :, top:bottom, left:right] = plain.images[partner, :, top:bottom, left:right]
        assert torch.equal(mixed.images, expected)
        assert mixed.lam == torch.tensor(1 - (bottom - top) * (right - left) / 1024)
        assert torch.equal(mixed.target_a, plain.target_a)
        assert torch.equal(mixed.target_b, plain.target_a[torch.from_numpy(mixing.partner)])
        kept_shares.append(mixed.lam.item())
    assert len(set(kept_shares)) > 5


def test_mixup_is_the_convex_combination(images):
    for plain, mixed, settings, step in _unmixed_and_mixed(images, cutmix_share=0.0):
        mixing = draw_mixing(settings, 32, 32, 42, 1, step)
        partner = torch.from_numpy(mixing.partner)
        assert torch.equal(mixed.images, mixed.lam * plain.images + (1 - mixed.lam) * plain.images[partner])
        assert mixed.lam.item() == mixing.lam and 0 <= mixing.lam <= 1
        assert torch.equal(mixed.target_b, plain.target_a[partner])
        assert sorted(mixing.partner) == list(range(32))


def test_a_teachers_own_images_get_the_students_draws_at_their_scale(images):
    """Of an image of which each pixel is made four, the student's batch with each pixel made four."""
    settings = Augmentation(erase_prob=0.5)
    labels, larger = torch.arange(len(images)), images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    student = Stream(settings, images, labels, 42, 32, CIFAR100_NORMALISATION)
    teacher = Stream(settings, larger, labels, 42, 32, CIFAR100_NORMALISATION, drawn_px=32)
    for epoch in (1, 2):
        for one, other in zip(student.epoch(epoch), teacher.epoch(epoch), strict=True):
            assert torch.equal(other.images, one.images.repeat_interleave(2, 2).repeat_interleave(2, 3))
            assert all(map(torch.equal, one.targets, other.targets))


def test_mix_leaves_its_input_alone():
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    for step in range(8):
        mix(images, torch.arange(8), draw_mixing(BASIC, 8, 32, 0, 1, step))
    assert torch.equal(images, before)


def test_mistakes_are_named(images):
    with pytest.raises(ValueError, match="uint8"):
        _stream(images.float())
    with pytest.raises(ValueError, match="labels"):
        Stream(STRONG, images, torch.arange(3), 0, 32, CIFAR100_NORMALISATION)
    with pytest.raises(ValueError, match="batch_size 301"):
        _stream(images, batch_size=301)
    for epoch, step in ((0, 0), (1, 9), (1, -1)):
        with pytest.raises(IndexError, match="no batch"):
            _stream(images).batch(epoch, step)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_equals_cpu(natural):
    images = torch.cat([_odd_images().repeat(10, 1, 1, 1), natural[:3000]])
    draws = draw_epoch(STRONG, len(images), 32, seed=1, epoch=1)
    assert torch.equal(augment(images.cuda(), draws, 4).cpu(), augment(images, draws, 4))
    assert torch.equal(
        normalise(images.cuda(), CIFAR100_NORMALISATION).cpu(), normalise(images, CIFAR100_NORMALISATION)
    )
    assert torch.equal(resize(images[:200].cuda(), 64).cpu(), resize(images[:200], 64))
    labels = torch.arange(len(images))
    on_cpu = Stream(STRONG, images, labels, 42, 128, CIFAR100_NORMALISATION)
    on_cuda = Stream(STRONG, images.cuda(), labels.cuda(), 42, 128, CIFAR100_NORMALISATION)
    for expected, batch in zip(on_cpu.epoch(1), on_cuda.epoch(1), strict=True):
        assert all(torch.equal(theirs.cpu(), ours) for theirs, ours in zip(batch, expected, strict=True))
