"""Data sets: download, adoption and verification, the generated set, subsets and views."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from crossres import files
from crossres.base import CrossresError
from crossres.files import sha256
from crossres.suites.datasets import DATASETS
from crossres.suites.spec import Dataset, FolderDataset, View
from crossres.suites.suite import load_suite
from crossres.training import commands, shapes
from crossres.training.acquire import cifar_files, layout, prepare, store_folder
from crossres.training.augment import Stream
from crossres.training.data import Splits, class_names, load_splits
from tests import cifar

CPU = torch.device("cpu")
SHAPES_PIXELS = {
    "train": "0f2ed10fc181e3a194e2d839f89c76c783ac4f62a3cff867b1d39593b5f8ae59",
    "test": "6fbbe802bb8bff48c259b710d198e906e4a2375ce361486b4639f8d25d8f1a44",
}
"""SHA-256 of the generated pixels and labels: the same on every processor."""
PUBLISHED = [key for key, info in DATASETS.items() if info.generator is None]


def loaded(root: Path, dataset: Dataset, view: View | None = None) -> Splits:
    return load_splits(dataset, view or View(), root, CPU)


# --------------------------------------------------------------------------------------------------- generated set


def test_generated_set_is_the_same_every_time_and_everywhere(shapes_root: Path) -> None:
    content = shapes.files()
    folder = shapes_root / "shapes" / "cifar-100-python"
    assert content == {name: (folder / name).read_bytes() for name in cifar_files("shapes").md5}
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


def test_generated_set_is_balanced_and_as_large_as_its_entry_says(shapes_root: Path) -> None:
    info = DATASETS["shapes"]
    assert class_names(Dataset(name="shapes"), shapes_root) == list(shapes.CLASSES)
    images = loaded(shapes_root, Dataset(name="shapes"))
    for split, count in ((images.train, info.train_images), (images.test, info.test_images)):
        assert split.images.shape == (count, 3, info.side_px, info.side_px)
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert split.labels.bincount(minlength=info.classes).tolist() == [count // info.classes] * info.classes


def test_preparing_again_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {name: pickle.dumps({"name": name}) for name in cifar_files("shapes").md5}
    monkeypatch.setattr(shapes, "files", lambda: content)
    manifest = prepare("shapes", tmp_path, None).read_bytes()
    assert prepare("shapes", tmp_path, None).read_bytes() == manifest


# ------------------------------------------------------------------------------------------------- the published sets


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_set_has_its_files_and_their_digests(name: str) -> None:
    published = cifar_files(name)
    assert len(published.md5) == len(published.train_list) + len(published.test_list) + 1
    assert all(len(md5) == 32 for md5 in published.md5.values())


@pytest.mark.parametrize("kept", ["SVHN", "Nothing"])
def test_a_set_that_torchvision_keeps_otherwise_is_refused(kept: str) -> None:
    with pytest.raises(CrossresError, match=f"torchvision's {kept} is not kept in CIFAR's format"):
        layout(DATASETS["cifar10"]._replace(files=kept))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Small files that pass for CIFAR-100's."""
    return cifar.pass_for(monkeypatch, "cifar100")


SOURCES = {
    "folder": lambda folder, inner, content: cifar.write_folder(folder, content),
    "parent folder": lambda folder, inner, content: cifar.write_folder(folder / inner, content).parent,
    "renamed folder": lambda folder, inner, content: cifar.write_folder(folder / "other", content).parent,
    "tar": lambda folder, inner, content: cifar.write_archive(folder / "a.tar", f"{inner}/", content, "w"),
    "tar.gz": lambda folder, inner, content: cifar.write_archive(folder / "a.tar.gz", f"{inner}/", content),
    "tar with ./": lambda folder, inner, content: cifar.write_archive(folder / "a.tgz", f"./{inner}/", content),
    "flat tar": lambda folder, inner, content: cifar.write_archive(folder / "a.tar", "", content, "w"),
    "renamed tar": lambda folder, inner, content: cifar.write_archive(folder / "a.txz", "other/", content, "w:xz"),
    "zip": lambda folder, inner, content: cifar.write_zip(folder / "a.zip", f"{inner}/", content),
    "flat zip": lambda folder, inner, content: cifar.write_zip(folder / "a.zip", "", content),
    "folder of an archive": lambda folder, inner, content: cifar.write_archive(folder / "a", "./", content).parent,
}
"""How a set lies at a user's, by name."""


def source_of(kind: str, folder: Path, name: str) -> Path:
    return SOURCES[kind](folder, cifar_files(name).base_folder, cifar.small(name))


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("kind", SOURCES)
def test_a_set_is_adopted(name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = cifar.pass_for(monkeypatch, name)
    source = source_of(kind, tmp_path / "source", name)
    before = {path: path.read_bytes() for path in (tmp_path / "source").rglob("*") if path.is_file()}
    root = tmp_path / "data"
    assert prepare(name, root, str(source)) == root / name / "manifest.json"
    folder = root / name / cifar_files(name).base_folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == content
    assert {path: path.read_bytes() for path in before} == before


def test_the_archive_of_the_set_is_taken_from_a_folder_of_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = cifar.pass_for(monkeypatch, "cifar100", url="https://example.org/cifar-100-python.tar.gz")
    cifar.write_archive(tmp_path / "source/cifar-10-python.tar.gz", "", {"other": b""})
    cifar.write_archive(tmp_path / "source/cifar-100-python.tar.gz", "", content)
    prepare("cifar100", tmp_path / "data", str(tmp_path / "source"))


def test_a_member_that_would_fill_the_disk_is_refused(
    small: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossres.training.acquire.MAX_FILE_BYTES", 10_000)
    for write in (cifar.write_archive, cifar.write_zip):
        source = write(tmp_path / "bomb", "", small | {"train": bytes(10_001)})
        with pytest.raises(CrossresError, match="'train' could not be copied from it .10,001 bytes"):
            prepare("cifar100", tmp_path / "data", str(source))
        assert not list((tmp_path / "data").rglob("*train*"))


@pytest.mark.usefixtures("small")
def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "loop.tar", "w") as archive:
        for name, target in (("train", "test"), ("test", "train")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
    with pytest.raises(CrossresError, match="'train' could not be copied from it"):
        prepare("cifar100", tmp_path / "data", str(tmp_path / "loop.tar"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_set_is_read_as_torchvision_reads_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    known = DATASETS[name].files
    if not isinstance(known, str):
        pytest.skip(f"{name} is not in torchvision")
    cifar.pass_for(monkeypatch, name)
    prepare(name, tmp_path / "data", str(source_of("parent folder", tmp_path / "source", name)))
    images = loaded(tmp_path / "data", Dataset(name=name))
    reader = getattr(datasets, known)
    monkeypatch.setattr(reader, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    for split, train in ((images.train, True), (images.test, False)):
        theirs = reader(str(tmp_path / "source"), train=train)
        assert np.array_equal(split.images.permute(0, 2, 3, 1).numpy(), theirs.data)
        assert split.labels.tolist() == theirs.targets
    assert class_names(Dataset(name=name), tmp_path / "data") == theirs.classes == cifar.names(name)
    assert len(images.validation.labels) == 0


def test_good_files_are_kept_and_need_no_source(small: dict[str, bytes], tmp_path: Path) -> None:
    folder = cifar.write_folder(tmp_path / "cifar100" / "cifar-100-python", small)
    for name in small:
        os.utime(folder / name, (1, 1))
    prepare("cifar100", tmp_path, None)
    assert {(folder / name).stat().st_mtime for name in small} == {1.0}


def test_only_what_is_missing_is_copied(small: dict[str, bytes], tmp_path: Path) -> None:
    folder = cifar.write_folder(tmp_path / "cifar100" / "cifar-100-python", {**small, "test": b"wrong"})
    os.utime(folder / "train", (1, 1))
    prepare("cifar100", tmp_path, str(cifar.write_folder(tmp_path / "source", {"test": small["test"]})))
    assert (folder / "test").read_bytes() == small["test"]
    assert (folder / "train").stat().st_mtime == 1.0


def test_several_adoptions_at_once_take_turns(small: dict[str, bytes], tmp_path: Path) -> None:
    archive = cifar.write_archive(tmp_path / "a.tar.gz", "cifar-100-python/", small)
    with ThreadPoolExecutor() as pool:
        done = [pool.submit(commands.data, "cifar100", root=tmp_path, source=str(archive)) for _ in range(8)]
    assert [each.exception() for each in done] == [None] * 8
    folder = tmp_path / "cifar100/cifar-100-python"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == small


def test_no_link_leads_an_adoption_elsewhere(small: dict[str, bytes], tmp_path: Path) -> None:
    (victim := tmp_path / "victim").write_text("mine")
    folder = tmp_path / "cifar100/cifar-100-python"
    folder.mkdir(parents=True)
    (folder / "train.part").symlink_to(victim)
    commands.data("cifar100", root=tmp_path, source=str(cifar.write_folder(tmp_path / "source", small)))
    assert victim.read_text() == "mine"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == small


def test_what_is_adopted_survives_a_power_loss(
    small: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = set(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: synced.add(os.readlink(f"/proc/self/fd/{file}")) or fsync(file))
    commands.data("cifar100", root=tmp_path, source=str(cifar.write_folder(tmp_path / "source", small)))
    folder = tmp_path / "cifar100/cifar-100-python"
    assert {str(folder), str(folder.parent), *(str(folder / name) for name in small)} <= synced


def test_a_wrong_file_is_kept_aside_and_named(small: dict[str, bytes], tmp_path: Path) -> None:
    wrong = small["test"][:-1]
    source = cifar.write_folder(tmp_path / "source", {**small, "test": wrong})
    folder = cifar.write_folder(tmp_path / "cifar100" / "cifar-100-python", {"test": b"wrong", "meta": b"wrong"})
    with pytest.raises(CrossresError, match=r"'test' is not CIFAR-100's .*MD5.*kept as .*test\.rejected"):
        prepare("cifar100", tmp_path, str(source))
    assert (folder / "test.rejected").read_bytes() == wrong
    assert (folder / "train").read_bytes() == small["train"]
    assert not list(folder.glob("*.part"))
    assert not (tmp_path / "cifar100" / "manifest.json").exists()


def cut(content: bytes) -> bytes:
    return content[: -len(content) // 3]


def flip_bits(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 0xFF for byte in content[middle : middle + 64]) + content[middle + 64 :]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("damage", [cut, flip_bits, lambda content: b"<html>404</html>"])
def test_a_damaged_archive_is_refused_and_left(damage: Any, tmp_path: Path) -> None:
    archive = source_of("tar.gz", tmp_path, "cifar100")
    archive.write_bytes(damage(archive.read_bytes()))
    before = archive.read_bytes()
    with pytest.raises(
        CrossresError, match=r"a\.tar\.gz: ('\w+' (could not be copied|is not CIFAR-100's)|neither a tar nor a zip)"
    ) as caught:
        prepare("cifar100", tmp_path / "data", str(archive))
    assert "\n" not in str(caught.value)
    assert archive.read_bytes() == before
    assert not list((tmp_path / "data").rglob("*.part"))


def test_what_a_source_lacks_is_named(small: dict[str, bytes], tmp_path: Path) -> None:
    part = {name: small[name] for name in ("train", "meta")}
    archive = cifar.write_archive(tmp_path / "cifar.tar.gz", "", part)
    with pytest.raises(CrossresError, match="'test' could not be copied from it"):
        prepare("cifar100", tmp_path / "data", str(archive))
    with pytest.raises(CrossresError, match="nowhere: no such folder or archive; `cifar100` in the config"):
        prepare("cifar100", tmp_path / "other", str(tmp_path / "nowhere"))
    with pytest.raises(CrossresError, match="'train' could not be copied from it"):
        prepare("cifar100", tmp_path / "other", str(cifar.write_folder(tmp_path / "empty", {})))


@pytest.mark.parametrize("url", ["", "file:///nowhere/cifar.tar.gz"])
def test_a_download_that_fails_says_what_to_do(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar.pass_for(monkeypatch, "cifar100", url=url)
    with pytest.raises(CrossresError, match=r"could not be downloaded.*`cifar100: FOLDER or ARCHIVE` in the config"):
        prepare("cifar100", tmp_path, None)


def test_a_download_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = source_of("tar.gz", tmp_path, "cifar100")
    content = served.read_bytes()
    cifar.pass_for(monkeypatch, "cifar100", url=served.as_uri(), tgz_md5=hashlib.md5(content).hexdigest())
    served.write_bytes(content[:-1])
    with pytest.raises(CrossresError, match=r"by its MD5; kept as .*cifar-100-python\.tar\.rejected"):
        prepare("cifar100", tmp_path / "data", None)
    served.write_bytes(content)
    prepare("cifar100", tmp_path / "data", None)
    assert len(loaded(tmp_path / "data", Dataset(name="cifar100")).train.labels) == cifar.TRAIN_IMAGES


@pytest.mark.cifar100
def test_real_cifar100(cifar100_folder: Path, tmp_path: Path) -> None:
    prepare("cifar100", tmp_path, str(cifar100_folder))
    images = loaded(tmp_path, Dataset(name="cifar100", validation_images=5_000))
    assert images.train.labels.bincount().tolist() == [450] * 100
    assert images.validation.labels.bincount().tolist() == [50] * 100
    assert images.test.labels.bincount().tolist() == [100] * 100
    with open(cifar100_folder / "test", "rb") as file:
        entry = pickle.load(file, encoding="latin1")
    assert np.array_equal(images.test.images.flatten(1).numpy(), entry["data"])
    assert images.test.labels.tolist() == entry["fine_labels"]
    superclasses = DATASETS["cifar100"].superclasses
    assert [superclasses[label] for label in entry["fine_labels"]] == entry["coarse_labels"]


def test_the_normalisation_of_the_real_cifar10(tmp_path: Path) -> None:
    folder = os.environ.get("CROSSRES_CIFAR10")
    if folder is None:
        pytest.skip("CROSSRES_CIFAR10 names no folder or archive with CIFAR-10")
    prepare("cifar10", tmp_path, folder)
    images = loaded(tmp_path, Dataset(name="cifar10"))
    pixels = images.train.images.permute(1, 0, 2, 3).flatten(1).double() / 255
    for found, expected in zip((pixels.mean(1), pixels.std(1)), DATASETS["cifar10"].normalisation, strict=True):
        assert found.tolist() == pytest.approx(list(expected), abs=1e-4)


def test_each_set_is_normalised_with_its_own_figures() -> None:
    spec = load_suite(files.suite_file("demo")).resolve("teacher_32", 1)
    pixels = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    restored = []
    for name in ("shapes", "cifar10"):
        batch = Stream.of(spec.model_copy(update={"dataset": Dataset(name=name)}), pixels, torch.arange(64)).batch(1, 0)
        mean, std = torch.tensor(DATASETS[name].normalisation)[..., None, None]
        restored.append(batch.images * std + mean)
    torch.testing.assert_close(*restored)


# ----------------------------------------------------------------------------------------------------- verification


@pytest.fixture
def small_root(tmp_path: Path, small: dict[str, bytes]) -> Path:
    """Return a data root with the small files."""
    root = tmp_path / "root"
    prepare("cifar100", root, str(cifar.write_folder(tmp_path / "source", small)))
    return root


def test_a_changed_or_missing_file_is_refused(small_root: Path) -> None:
    path = small_root / "cifar100" / "cifar-100-python" / "test"
    path.write_bytes(path.read_bytes() + b".")
    with pytest.raises(CrossresError, match=r"test: differs from its manifest; delete .*cifar100 and run the rule"):
        loaded(small_root, Dataset(name="cifar100"))
    path.unlink()
    with pytest.raises(CrossresError, match=r"test: no such file; delete"):
        loaded(small_root, Dataset(name="cifar100"))
    with pytest.raises(CrossresError, match=r"manifest\.json: no such file"):
        loaded(small_root / "other", Dataset(name="cifar100"))


def test_a_manifest_cannot_vouch_for_a_file_that_was_not_published(small_root: Path) -> None:
    path, manifest = small_root / "cifar100" / "cifar-100-python" / "test", small_root / "cifar100" / "manifest.json"
    path.write_bytes(path.read_bytes() + b".")
    document = json.loads(manifest.read_text())
    document["sha256"]["test"] = sha256(path)
    manifest.write_text(json.dumps(document))
    with pytest.raises(CrossresError, match=r"test: not the file of CIFAR-100, by its published MD5; delete"):
        loaded(small_root, Dataset(name="cifar100"))


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
    content = {
        **dict.fromkeys(cifar_files("shapes").md5, b""),
        "train": pickle.dumps({"data": smuggled, "fine_labels": []}),
    }
    monkeypatch.setattr(shapes, "files", lambda: content)
    prepare("shapes", tmp_path, None)
    with pytest.raises(CrossresError, match=r"the data file wants [\w.]+, which no data set of this format does"):
        loaded(tmp_path, Dataset(name="shapes"))
    assert not (tmp_path / "unpickled").exists()


PIXELS = np.zeros((2, 3 * 32 * 32), np.uint8)


@pytest.mark.parametrize("labels", [[3, 7], np.array([3, 7]), [np.int64(3), np.uint8(7)]])
@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_are_read_however_they_were_pickled(
    labels: Any, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = pickle.dumps({"data": PIXELS, "labels": labels}, protocol)
    monkeypatch.setattr(shapes, "files", lambda: dict.fromkeys(cifar_files("shapes").md5, content))
    prepare("shapes", tmp_path, None)
    assert loaded(tmp_path, Dataset(name="shapes")).train.labels.tolist() == [3, 7]


@pytest.mark.parametrize(
    "train",
    [
        b"no pickle",
        pickle.dumps([PIXELS]),
        pickle.dumps({"fine_labels": [0, 1]}),
        pickle.dumps({"data": PIXELS}),
        pickle.dumps({"data": PIXELS, "fine_labels": [0]}),
        pickle.dumps({"data": PIXELS, "fine_labels": [0, 20]}),
        pickle.dumps({"data": PIXELS, "fine_labels": [0, "1"]}),
        pickle.dumps({"data": PIXELS[:, 1:], "fine_labels": [0, 1]}),
        pickle.dumps({"data": PIXELS.astype(np.float32), "fine_labels": [0, 1]}),
    ],
)
def test_a_file_of_another_format_is_named(train: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "files", lambda: dict.fromkeys(cifar_files("shapes").md5, train))
    prepare("shapes", tmp_path, None)
    with pytest.raises(CrossresError, match="cifar-100-python/train: "):
        loaded(tmp_path, Dataset(name="shapes"))
    with pytest.raises(CrossresError, match="cifar-100-python"):
        class_names(Dataset(name="shapes"), tmp_path)


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


def test_a_subset_comes_from_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare("cifar10", tmp_path, str(cifar.write_folder(tmp_path / "source", cifar.pass_for(monkeypatch, "cifar10"))))
    whole = loaded(tmp_path, Dataset(name="cifar10"))
    images = loaded(tmp_path, Dataset(name="cifar10", train_images=450, validation_images=100, test_images=50))
    assert (len(images.train.labels), len(images.validation.labels), len(images.test.labels)) == (350, 100, 50)
    places = positions(torch.cat([images.train.images, images.validation.images]), whole.train.images)
    assert sorted(places) == first_of_each_class(whole.train.labels.tolist(), 450)
    assert {place // 100 for place in places} == {0, 1, 2, 3, 4}
    assert images.digest == whole.digest


# ------------------------------------------------------------------------------------------------ images of one's own


def write_images(folder: Path, counts: dict[str, int], side_px: int = 40) -> Path:
    """Write images of one grey each, which tells them apart."""
    for place, count in counts.items():
        (folder / place).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (side_px, side_px + 8), (10 * number,) * 3).save(folder / place / f"{number}.png")
    return folder


def own(path: Path, **update: object) -> FolderDataset:
    return FolderDataset.parse({"name": "folder", "path": str(path), "resolution_px": 16, **update}, "suite")


def test_a_folder_of_images_is_read_in_the_order_of_its_classes(tmp_path: Path) -> None:
    source = write_images(tmp_path / "my birds", {"train/owl": 3, "train/crow": 2, "test/owl": 1, "test/crow": 1})
    dataset = own(source)
    assert (dataset.key, dataset.classes, dataset.info.train_images) == ("my-birds", 2, 5)
    store_folder(dataset, tmp_path)
    images = loaded(tmp_path, dataset, View(resolution_px=16))
    assert class_names(dataset, tmp_path) == ["crow", "owl"]
    assert images.train.labels.tolist() == [0, 0, 1, 1, 1]
    assert images.train.images.shape == (5, 3, 16, 16) and images.train.images.dtype == torch.uint8
    assert images.train.images[:, 0, 8, 8].tolist() == [0, 10, 0, 10, 20]


def test_a_folder_is_split_by_a_stated_share_of_each_class(tmp_path: Path) -> None:
    dataset = own(write_images(tmp_path / "birds", {"owl": 10, "crow": 5}), test_share=0.2)
    store_folder(dataset, tmp_path)
    images = loaded(tmp_path, dataset, View(resolution_px=16))
    assert images.train.labels.bincount().tolist() == [4, 8]
    assert images.test.labels.bincount().tolist() == [1, 2]
    owls = [split.images[split.labels == 1][:, 0, 8, 8] for split in (images.train, images.test)]
    assert torch.cat(owls).sort().values.tolist() == [10 * number for number in range(10)]


def test_a_spec_of_ones_own_images_does_not_name_their_place(tmp_path: Path) -> None:
    dataset = own(write_images(tmp_path / "birds", {"train/a": 2, "train/b": 2, "test/a": 1, "test/b": 1}))
    document = dataset.model_dump(mode="json", exclude={"path"})
    assert str(tmp_path) not in json.dumps(document)
    assert FolderDataset.parse(document, "spec").info == dataset.info


COMPLETE = {"train/a": 1, "train/b": 1, "test/a": 1, "test/b": 1}


@pytest.mark.parametrize(
    ("counts", "update", "named"),
    [
        (COMPLETE | {"train/a": 0}, {}, "train/a: no image"),
        (COMPLETE | {"train/c": 1}, {}, "class 'c' of .*train is missing in test"),
        (COMPLETE | {"test/c": 1}, {}, "class 'c' of .*test is missing in train"),
        ({"a": 1, "b": 1}, {}, "no train/; .*test_share"),
        ({"a": 1, "b": 5}, {"test_share": 0.2}, "leaves no training image of class 'a'"),
        ({"train/a": 1, "test/a": 1}, {}, "two or more classes, found 1"),
        (COMPLETE, {"title": "shapes"}, "title: 'shapes'"),
    ],
)
def test_a_folder_that_is_no_data_set_is_named(
    counts: dict[str, int], update: dict[str, object], named: str, tmp_path: Path
) -> None:
    with pytest.raises(CrossresError, match=named):
        own(write_images(tmp_path / "birds", counts), **update)


def test_a_folder_that_is_not_there_and_a_broken_image_are_named(tmp_path: Path) -> None:
    with pytest.raises(CrossresError, match="birds: no such folder"):
        own(tmp_path / "birds")
    source = write_images(tmp_path / "birds", COMPLETE)
    (source / "train/b/0.png").write_bytes((source / "train/b/0.png").read_bytes()[:60])
    with pytest.raises(CrossresError, match=r"train/b/0\.png: .*truncated"):
        store_folder(own(source), tmp_path)
