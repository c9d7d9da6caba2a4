"""Data sets: the generated one, adopting CIFAR-100, verification, subsets and views."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
import urllib.error
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from crossres import files
from crossres.base import CrossresError
from crossres.suites.spec import DATASETS, Dataset, View
from crossres.suites.suite import load_suite
from crossres.training import acquire, cifar, data, shapes
from crossres.training.acquire import prepare
from crossres.training.augment import Stream
from crossres.training.data import Images, load
from tests import cifar10

CPU = torch.device("cpu")
SHAPES_PIXELS = {
    "train": "0f2ed10fc181e3a194e2d839f89c76c783ac4f62a3cff867b1d39593b5f8ae59",
    "test": "6fbbe802bb8bff48c259b710d198e906e4a2375ce361486b4639f8d25d8f1a44",
}
"""SHA-256 of the generated pixels and labels: the same on every processor."""


def loaded(root: Path, dataset: Dataset, view: View | None = None) -> Images:
    return load(dataset, view or View(), root, CPU)


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --------------------------------------------------------------------------------------------------- generated set


def test_generated_set_is_the_same_every_time_and_everywhere(shapes_root: Path) -> None:
    content = shapes.files()
    assert content == {
        name: (shapes_root / "shapes" / "cifar-100-python" / name).read_bytes() for name in acquire.CIFAR100.files
    }
    for name, expected in SHAPES_PIXELS.items():
        document = pickle.loads(content[name])
        pixels_and_labels = document["data"].tobytes() + bytes(document["fine_labels"])
        assert hashlib.sha256(pixels_and_labels).hexdigest() == expected


def test_generated_set_owes_nothing_to_the_global_generator() -> None:
    images, _ = shapes.generate(40, stream=0)
    np.random.seed(7)
    before = np.random.random()
    np.random.seed(7)
    assert np.array_equal(images, shapes.generate(40, stream=0)[0])
    assert np.random.random() == before


def test_generated_splits_differ() -> None:
    assert not np.array_equal(shapes.generate(40, stream=0)[0], shapes.generate(40, stream=1)[0])


def test_generated_set_is_balanced_and_as_large_as_its_facts(shapes_root: Path) -> None:
    facts = DATASETS["shapes"]
    assert (facts.classes, facts.train_images, facts.test_images) == (
        len(shapes.CLASSES),
        shapes.TRAIN_IMAGES,
        shapes.TEST_IMAGES,
    )
    images = loaded(shapes_root, Dataset(name="shapes"))
    for split, count in ((images.train, facts.train_images), (images.test, facts.test_images)):
        assert split.images.shape == (count, 3, 32, 32)
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert split.labels.bincount(minlength=facts.classes).tolist() == [count // facts.classes] * facts.classes


def test_generated_files_load_as_torchvision_loads_cifar100(shapes_root: Path) -> None:
    folder = shapes_root / "shapes" / "cifar-100-python"
    with open(folder / "train", "rb") as file:
        entry = pickle.load(file, encoding="latin1")
    with open(folder / "meta", "rb") as file:
        assert pickle.load(file, encoding="latin1")["fine_label_names"] == list(shapes.CLASSES)
    images = loaded(shapes_root, Dataset(name="shapes")).train
    by_torchvision = np.vstack([entry["data"]]).reshape(-1, 3, 32, 32)
    assert np.array_equal(by_torchvision, images.images.numpy())
    assert entry["fine_labels"] == images.labels.tolist()


def test_preparing_again_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {name: pickle.dumps({"name": name}) for name in acquire.CIFAR100.files}
    monkeypatch.setattr(shapes, "files", lambda: content)
    manifest = prepare("shapes", tmp_path, None).read_bytes()
    assert prepare("shapes", tmp_path, None).read_bytes() == manifest


# ----------------------------------------------------------------------------------------------- adopting CIFAR-100


def fake_split(count: int, seed: int) -> bytes:
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.arange(count) % 100).tolist()
    pixels = draw.integers(0, 256, (count, 3072), dtype=np.uint8)
    return pickle.dumps({"data": pixels, "fine_labels": labels, "filenames": ["x.png"] * count}, protocol=4)


FAKE = {
    "train": fake_split(500, 0),
    "test": fake_split(200, 1),
    "meta": pickle.dumps({"fine_label_names": ["x"] * 100}),
}


def pass_for(monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, bytes], **changed: str) -> None:
    """Let other files pass for the official ones of a data set."""
    md5 = {file: hashlib.md5(content).hexdigest() for file, content in files.items()}
    monkeypatch.setitem(cifar.OFFICIAL, name, cifar.OFFICIAL[name]._replace(md5=md5, **changed))


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three small files pass for the official ones."""
    pass_for(monkeypatch, "cifar100", FAKE)


def write_folder(folder: Path, **changed: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {**FAKE, **changed}.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(path: Path, *names: str, mode: Any = "w:gz") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name in names or tuple(FAKE):
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(FAKE[name])
            archive.addfile(member, io.BytesIO(FAKE[name]))
    return path


def source_of(kind: str, folder: Path) -> Path:
    if kind == "folder":
        return write_folder(folder)
    if kind == "parent folder":
        return write_folder(folder / "cifar-100-python").parent
    return write_archive(folder / f"cifar.{kind}", mode="w:gz" if kind == "tar.gz" else "w")


@pytest.mark.usefixtures("official")
@pytest.mark.parametrize("kind", ["folder", "parent folder", "tar.gz", "tar"])
def test_cifar100_is_adopted(kind: str, tmp_path: Path) -> None:
    source = source_of(kind, tmp_path / "source")
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    root = tmp_path / "data"
    assert prepare("cifar100", root, str(source)) == root / "cifar100" / "manifest.json"
    folder = root / "cifar100" / "cifar-100-python"
    assert {name: (folder / name).read_bytes() for name in files_in(folder)} == FAKE
    assert {path: path.read_bytes() for path in before} == before
    images = loaded(root, Dataset(name="cifar100"))
    assert (len(images.train.labels), len(images.validation.labels), len(images.test.labels)) == (500, 0, 200)


@pytest.mark.usefixtures("official")
def test_good_files_are_kept_and_need_no_source(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "cifar100" / "cifar-100-python")
    for name in FAKE:
        os.utime(folder / name, (1, 1))
    prepare("cifar100", tmp_path, None)
    assert {(folder / name).stat().st_mtime for name in FAKE} == {1.0}


@pytest.mark.usefixtures("official")
def test_only_what_is_missing_is_copied(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "cifar100" / "cifar-100-python", test=b"wrong")
    os.utime(folder / "train", (1, 1))
    source = tmp_path / "source"
    source.mkdir()
    (source / "test").write_bytes(FAKE["test"])
    prepare("cifar100", tmp_path, str(source))
    assert (folder / "test").read_bytes() == FAKE["test"]
    assert (folder / "train").stat().st_mtime == 1.0


@pytest.mark.usefixtures("official")
def test_a_wrong_file_is_kept_aside_and_named(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", test=FAKE["test"][:-1])
    folder = write_folder(tmp_path / "cifar100" / "cifar-100-python", test=b"wrong", meta=b"wrong")
    message = r"'test' is not CIFAR-100's \(wrong or cut short, by its MD5\); kept as .*test\.rejected"
    with pytest.raises(CrossresError, match=message):
        prepare("cifar100", tmp_path, str(source))
    assert (folder / "test.rejected").read_bytes() == FAKE["test"][:-1]
    assert (folder / "train").read_bytes() == FAKE["train"]
    assert not list(folder.glob("*.part"))
    assert not (tmp_path / "cifar100" / "manifest.json").exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])


def flip_bits(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
    path.write_bytes(content)


def no_archive(path: Path) -> None:
    path.write_bytes(b"<html>404</html>")


@pytest.mark.usefixtures("official")
@pytest.mark.parametrize("damage", [cut, flip_bits, no_archive])
def test_a_damaged_archive_is_refused_and_left(damage: Any, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "cifar.tar.gz")
    damage(archive)
    before = archive.read_bytes()
    with pytest.raises(
        CrossresError, match=r"cifar\.tar\.gz: '\w+' (could not be copied|is not CIFAR-100's)"
    ) as caught:
        prepare("cifar100", tmp_path / "data", str(archive))
    assert "\n" not in str(caught.value)
    assert archive.read_bytes() == before
    assert not list((tmp_path / "data").rglob("*.part"))


@pytest.mark.usefixtures("official")
def test_an_archive_without_a_file_is_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "cifar.tar.gz", "train", "meta")
    with pytest.raises(CrossresError, match="'test' could not be copied from it"):
        prepare("cifar100", tmp_path / "data", str(archive))


@pytest.mark.usefixtures("official")
def test_missing_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(CrossresError, match="nowhere: no such folder or archive; `cifar100` in the config"):
        prepare("cifar100", tmp_path, str(tmp_path / "nowhere"))
    with pytest.raises(CrossresError, match="has no file 'train', nor cifar-100-python/train"):
        prepare("cifar100", tmp_path, str(tmp_path))


class Answer(io.BytesIO):
    """What a server answers."""

    headers = Message()


def test_a_download_that_fails_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: Any, **options: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refused)
    with pytest.raises(CrossresError, match=r"no route to host.*`cifar100: FOLDER or ARCHIVE` in the config"):
        prepare("cifar100", tmp_path, None)


@pytest.mark.usefixtures("official")
def test_a_download_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = write_archive(tmp_path / "served.tar.gz").read_bytes()
    pass_for(monkeypatch, "cifar100", FAKE, archive_md5=hashlib.md5(content).hexdigest())
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **options: Answer(content[:-1]))
    with pytest.raises(
        CrossresError, match=r"wrong or cut short, by its MD5; kept as .*cifar-100-python\.tar\.rejected"
    ):
        prepare("cifar100", tmp_path, None)
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **options: Answer(content))
    prepare("cifar100", tmp_path, None)
    assert len(loaded(tmp_path, Dataset(name="cifar100")).train.labels) == 500


def test_real_cifar100(cifar100_folder: Path, tmp_path: Path) -> None:
    prepare("cifar100", tmp_path, str(cifar100_folder))
    images = loaded(tmp_path, Dataset(name="cifar100", validation_images=5_000))
    facts = DATASETS["cifar100"]
    assert len(images.train.labels) + len(images.validation.labels) == facts.train_images
    assert images.train.labels.bincount().tolist() == [450] * 100
    assert images.validation.labels.bincount().tolist() == [50] * 100
    assert images.test.labels.bincount().tolist() == [100] * 100
    with open(cifar100_folder / "test", "rb") as file:
        entry = pickle.load(file, encoding="latin1")
    assert np.array_equal(images.test.images.flatten(1).numpy(), entry["data"])
    assert images.test.labels.tolist() == entry["fine_labels"]


# ----------------------------------------------------------------------------------------------------- verification


@pytest.fixture
def small_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: None) -> Path:
    """Return a data root with the three small files."""
    root = tmp_path / "root"
    prepare("cifar100", root, str(write_folder(tmp_path / "source")))
    return root


def test_a_changed_or_missing_file_is_refused(small_root: Path) -> None:
    path = small_root / "cifar100" / "cifar-100-python" / "test"
    path.write_bytes(FAKE["test"] + b".")
    with pytest.raises(CrossresError, match=r"test: differs from its manifest; delete .*cifar100 and run the rule"):
        loaded(small_root, Dataset(name="cifar100"))
    path.unlink()
    with pytest.raises(CrossresError, match=r"test: no such file; delete"):
        loaded(small_root, Dataset(name="cifar100"))
    with pytest.raises(CrossresError, match=r"manifest\.json: no such file"):
        loaded(small_root / "other", Dataset(name="cifar100"))


def test_the_digest_tells_data_sets_apart(small_root: Path, shapes_root: Path) -> None:
    one = loaded(small_root, Dataset(name="cifar100")).digest
    assert one == loaded(small_root, Dataset(name="cifar100", train_images=100)).digest
    assert one != loaded(shapes_root, Dataset(name="shapes")).digest


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch unpickled",)


@pytest.mark.parametrize("smuggled", [Evil(), np.save, torch.zeros(1)])
def test_nothing_but_arrays_is_unpickled(smuggled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = {**FAKE, "train": pickle.dumps({"data": smuggled, "fine_labels": []})}
    monkeypatch.setattr(shapes, "files", lambda: content)
    prepare("shapes", tmp_path, None)
    with pytest.raises(CrossresError, match=r"the data file wants [\w.]+, which no data set of this format does"):
        loaded(tmp_path, Dataset(name="shapes"))
    assert not (tmp_path / "unpickled").exists()


# ------------------------------------------------------------------------------------------------ subsets and views


def positions(part: torch.Tensor, whole: torch.Tensor) -> list[int]:
    """Return where each image of a part stands in the whole."""
    place = {image.numpy().tobytes(): number for number, image in enumerate(whole)}
    return [place[image.numpy().tobytes()] for image in part]


def first_of_each_class(labels: list[int], count: int) -> list[int]:
    """Choose one image after another of the class that has the fewest so far; the plain way."""
    waiting: dict[int, list[int]] = {}
    for number, label in enumerate(labels):
        waiting.setdefault(label, []).append(number)
    chosen: list[int] = []
    while len(chosen) < count:
        round_ = [waiting[label].pop(0) for label in sorted(waiting) if waiting[label]]
        chosen += round_[: count - len(chosen)]
    return sorted(chosen)


@pytest.mark.parametrize("count", [1, 20, 130, 3_990, 4_000])
def test_a_subset_is_balanced_and_in_file_order(count: int, shapes_root: Path) -> None:
    whole = loaded(shapes_root, Dataset(name="shapes")).train
    part = loaded(shapes_root, Dataset(name="shapes", train_images=count)).train
    places = positions(part.images, whole.images)
    assert places == first_of_each_class(whole.labels.tolist(), count)
    assert torch.equal(part.labels, whole.labels[places])
    per_class = part.labels.bincount(minlength=20)
    assert per_class.max() - per_class.min() <= 1


def test_validation_images_are_stratified_and_held_out(shapes_root: Path) -> None:
    whole = loaded(shapes_root, Dataset(name="shapes", train_images=1_000)).train
    images = loaded(shapes_root, Dataset(name="shapes", train_images=1_000, test_images=100, validation_images=200))
    train, held_out = positions(images.train.images, whole.images), positions(images.validation.images, whole.images)
    assert sorted(train + held_out) == list(range(1_000))
    assert train == sorted(train)
    assert images.validation.labels.bincount(minlength=20).tolist() == [10] * 20
    assert images.train.labels.bincount(minlength=20).tolist() == [40] * 20
    assert torch.equal(images.validation.labels, whole.labels[held_out])
    assert torch.equal(images.train.labels, whole.labels[train])
    assert len(images.test.labels) == 100


@pytest.mark.parametrize("size", ["train_images", "test_images", "validation_images"])
def test_more_images_than_there_are_is_refused(size: str, shapes_root: Path) -> None:
    with pytest.raises(CrossresError, match=r"4001 images asked for, the data set has (4000|1000)"):
        loaded(shapes_root, Dataset.model_validate({"name": "shapes", size: 4_001}))


def test_a_resized_view_is_pils_resize_of_every_split(shapes_root: Path) -> None:
    dataset = Dataset(name="shapes", train_images=60, test_images=40, validation_images=20)
    native = loaded(shapes_root, dataset)
    resized = loaded(shapes_root, dataset, View(resolution_px=64, kind="resized"))
    for before, after in zip(native[:3], resized[:3], strict=True):
        assert after.images.shape == (len(before.images), 3, 64, 64)
        assert torch.equal(after.labels, before.labels)
        image = Image.fromarray(before.images[0].permute(1, 2, 0).numpy())
        expected = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR))
        assert np.array_equal(after.images[0].permute(1, 2, 0).numpy(), expected)
    assert native.digest == resized.digest


def test_an_empty_validation_split_has_any_view(shapes_root: Path) -> None:
    dataset = Dataset(name="shapes", train_images=40, test_images=20)
    assert len(loaded(shapes_root, dataset, View(resolution_px=64, kind="resized")).validation.labels) == 0


def test_a_native_view_of_another_size_is_refused(shapes_root: Path) -> None:
    with pytest.raises(CrossresError, match=r"resolution_px 64: the images are 32 px; use kind: resized"):
        loaded(shapes_root, Dataset(name="shapes"), View(resolution_px=64))


# ---------------------------------------------------------------------------------------------------------- CIFAR-10


@pytest.fixture
def small_cifar10(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Small files of the same format, which pass for the official ones."""
    files = cifar10.files()
    pass_for(monkeypatch, "cifar10", files)
    return files


def test_the_official_digests_are_those_that_torchvision_checks() -> None:
    from torchvision import datasets

    for name, known in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        official = cifar.OFFICIAL[name]
        assert (official.address, official.archive_md5, official.folder) == (
            known.url,
            known.tgz_md5,
            known.base_folder,
        )
        expected = {str(file): str(md5) for file, md5 in (*known.train_list, *known.test_list)}
        assert official.md5 == {**expected, known.meta["filename"]: known.meta["md5"]}
        layout = acquire.LAYOUTS[name]
        assert set(layout.files) == set(official.md5)
        assert (layout.meta, layout.names, layout.folder) == (
            *(known.meta[key] for key in ("filename", "key")),
            official.folder,
        )


def test_cifar10_is_read_as_torchvision_reads_it(
    small_cifar10: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10

    root = tmp_path / "data"
    source = cifar10.write(tmp_path / "source/cifar-10-batches-py", small_cifar10).parent
    assert prepare("cifar10", root, str(source)) == root / "cifar10" / "manifest.json"
    images = loaded(root, Dataset(name="cifar10"))
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    for split, train in ((images.train, True), (images.test, False)):
        theirs = CIFAR10(str(source), train=train)
        assert np.array_equal(split.images.permute(0, 2, 3, 1).numpy(), theirs.data)
        assert split.labels.tolist() == theirs.targets
    assert data.class_names(Dataset(name="cifar10"), root) == cifar10.NAMES
    assert images.train.labels.bincount().tolist() == [50] * 10


def test_a_subset_of_cifar10_comes_from_all_its_batches(small_cifar10: dict[str, bytes], tmp_path: Path) -> None:
    prepare("cifar10", tmp_path / "data", str(cifar10.write(tmp_path / "source", small_cifar10)))
    whole = loaded(tmp_path / "data", Dataset(name="cifar10"))
    images = loaded(tmp_path / "data", Dataset(name="cifar10", train_images=450, validation_images=100, test_images=50))
    assert (len(images.train.labels), len(images.validation.labels), len(images.test.labels)) == (350, 100, 50)
    places = positions(torch.cat([images.train.images, images.validation.images]), whole.train.images)
    assert sorted(places) == sorted(first_of_each_class(whole.train.labels.tolist(), 450))
    assert {place // 100 for place in places} == {0, 1, 2, 3, 4}
    assert images.digest == whole.digest


def test_a_wrong_batch_of_cifar10_is_named(small_cifar10: dict[str, bytes], tmp_path: Path) -> None:
    source = cifar10.write(tmp_path / "source", {**small_cifar10, "data_batch_3": b"wrong"})
    with pytest.raises(CrossresError, match=r"'data_batch_3' is not CIFAR-10's \(wrong or cut short, by its MD5\)"):
        prepare("cifar10", tmp_path / "data", str(source))
    with pytest.raises(CrossresError, match="no such folder or archive; `cifar10` in the config names where"):
        prepare("cifar10", tmp_path / "data", str(tmp_path / "nowhere"))
    archive = write_archive(tmp_path / "cifar.tar.gz")
    with pytest.raises(CrossresError, match=r"cifar\.tar\.gz: 'data_batch_3' could not be copied from it"):
        prepare("cifar10", tmp_path / "data", str(archive))


def test_each_set_is_normalised_with_its_own_figures() -> None:
    spec = load_suite(files.suite_file("demo")).resolve("teacher_32", 1)
    other = spec.model_copy(update={"dataset": Dataset(name="cifar10")})
    pixels = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(64)
    one, two = (Stream.of(each, pixels, labels).batch(1, 0).images for each in (spec, other))
    (mean, std), (mean10, std10) = (
        torch.tensor(DATASETS[name].normalisation)[..., None, None] for name in ("shapes", "cifar10")
    )
    torch.testing.assert_close(one * std + mean, two * std10 + mean10)


def test_the_figures_of_the_real_cifar10(tmp_path: Path) -> None:
    folder = os.environ.get("CROSSRES_CIFAR10")
    if folder is None:
        pytest.skip("CROSSRES_CIFAR10 names no folder or archive with CIFAR-10: its figures were not recomputed")
    prepare("cifar10", tmp_path, folder)
    images = loaded(tmp_path, Dataset(name="cifar10"))
    assert images.train.labels.bincount().tolist() == [5_000] * 10
    assert images.test.labels.bincount().tolist() == [1_000] * 10
    pixels = images.train.images.permute(1, 0, 2, 3).flatten(1).double() / 255
    for found, expected in zip((pixels.mean(1), pixels.std(1)), DATASETS["cifar10"].normalisation, strict=True):
        assert found.tolist() == pytest.approx(list(expected), abs=1e-4)
