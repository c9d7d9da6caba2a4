"""Data sets made ready: downloaded, adopted or generated, verified, and listed in a manifest of digests.

A record holds the digest of the manifest, so no trained bit depends on this module.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib
import pickle
import secrets
import shlex
import shutil
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from crossres.base import CrossresError
from crossres.files import data_dir, data_manifest, read_json, sha256, write_atomic, write_json
from crossres.suites.datasets import DATASETS, STORED, CifarFiles, DatasetInfo
from crossres.suites.folder import list_images
from crossres.suites.spec import Dataset, FolderDataset

MAX_FILE_BYTES = 2**30
"""Several times the largest file of a data set. An archive of a few MB can hold one that fills the disk."""


def cifar_files(dataset: str) -> CifarFiles:
    """Return the files of a data set: their names, their MD5s, and where they are published."""
    return layout(DATASETS[dataset])


def layout(info: DatasetInfo) -> CifarFiles:
    """Return the same of a data set that is described.

    Raises:
        CrossresError: When torchvision keeps the set in another format.
    """
    files = info.files
    if isinstance(files, CifarFiles):
        return files
    from torchvision import datasets  # takes seconds

    published = getattr(datasets, files, None)
    if not all(hasattr(published, field) for field in CifarFiles._fields):
        raise CrossresError(
            f"{info.title}: torchvision's {files} is not kept in CIFAR's format; list files in that format "
            "(CifarFiles), or use `dataset: {name: folder}`"
        )
    return CifarFiles(*(getattr(published, field) for field in CifarFiles._fields))


def prepare(dataset: str, root: Path, source: str | None) -> Path:
    """Make a data set ready to load, and return its manifest: the SHA-256 of each file.

    Args:
        root: Folder under which each set has its own.
        source: A folder or an archive to adopt the files from; without one, what is missing is downloaded.

    Raises:
        CrossresError: When a file is missing or wrong. A wrong file is kept aside; good files stay.
    """
    files = cifar_files(dataset)
    folder = data_dir(root, dataset) / files.base_folder
    folder.mkdir(parents=True, exist_ok=True)
    if generator := DATASETS[dataset].generator:
        for name, content in importlib.import_module(generator).files().items():
            write_atomic(folder / name, content)
    elif missing := [name for name, md5 in files.md5.items() if not _has_md5(folder / name, md5)]:
        archive = Path(source) if source else _download(dataset, files, folder.parent)
        for name in missing:
            _adopt(dataset, files, name, archive, folder)
    return _write_manifest(dataset, files, root)


def store_folder(dataset: FolderDataset, root: Path) -> Path:
    """Read a folder with images of one's own, store them as uint8, and return their manifest.

    Raises:
        CrossresError: Naming an image that cannot be read.
    """
    assert dataset.path is not None
    found, folder = list_images(dataset.path, dataset.test_share), data_dir(root, dataset.key) / STORED.base_folder
    for name, files in (("train", found.train), ("test", found.test)):
        rows = np.stack([_read_image(path, dataset.resolution_px) for path, _ in files])
        write_atomic(folder / name, pickle.dumps({"data": rows, "labels": [label for _, label in files]}, protocol=4))
    write_atomic(folder / "meta", pickle.dumps({STORED.meta["key"]: found.classes}, protocol=4))
    return _write_manifest(dataset.key, STORED, root)


def _read_image(path: Path, side_px: int) -> NDArray[np.uint8]:
    """Return an image as one row of its channels: resized, and cut to a square around its middle."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            square = ImageOps.fit(upright, (side_px, side_px), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CrossresError(f"{path}: this image cannot be read ({error}); repair or remove it") from None
    return np.asarray(square, dtype=np.uint8).transpose(2, 0, 1).reshape(-1)


def _write_manifest(dataset: str, files: CifarFiles, root: Path) -> Path:
    manifest = data_manifest(root, dataset)
    folder = manifest.parent / files.base_folder
    write_json(manifest, {"dataset": dataset, "sha256": {name: sha256(folder / name) for name in files.md5}})
    return manifest


def check(dataset: Dataset, root: Path) -> None:
    """Check that a data set has its manifest; the files themselves are checked as they are loaded.

    Raises:
        CrossresError: Naming the command that makes it ready.
    """
    manifest = data_manifest(root, dataset.key)
    named = "folder --suite FILE" if isinstance(dataset, FolderDataset) else dataset.key
    fix = f"crossres data {named}" + ("" if root == Path("data") else f" --root {shlex.quote(str(root))}")
    if not manifest.exists():
        raise CrossresError(f"{manifest}: no such file; to make it: {fix}")
    document = read_json(manifest)
    listed = document.get("sha256") if isinstance(document, dict) else None
    if not isinstance(listed, dict) or not listed.keys() >= layout(dataset.info).md5.keys():
        raise CrossresError(f"{manifest}: does not list the digests of {dataset.key}; to make it again: {fix}")


def _has_md5(path: Path, md5: str) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest() == md5


def _adopt(dataset: str, files: CifarFiles, name: str, source: Path, folder: Path) -> None:
    """Copy one file from a folder or an archive; it is put in place once its MD5 is right."""
    title = DATASETS[dataset].title
    if not source.exists():
        raise CrossresError(
            f"{source}: no such folder or archive; `{dataset}` in the config names the folder or archive of {title}"
        )
    part = folder / f"{name}.{secrets.token_hex(4)}.part"
    try:
        with _opened(files, source, name) as found, open(part, "xb") as file:  # which no link can lead elsewhere
            shutil.copyfileobj(found, file)
    except (OSError, EOFError, RuntimeError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        part.unlink(missing_ok=True)
        reason = " ".join(str(error).split())
        raise CrossresError(f"{source}: '{name}' could not be copied from it ({reason}); it stays as it is") from None
    if not _has_md5(part, files.md5[name]):
        aside = part.replace(folder / f"{name}.rejected")
        raise CrossresError(f"{source}: '{name}' is not {title}'s (wrong or cut short, by its MD5); kept as {aside}")
    part.replace(folder / name)


@contextlib.contextmanager
def _opened(files: CifarFiles, source: Path, name: str) -> Iterator[IO[bytes]]:
    """Open one file of a folder or an archive, whichever folder it is in there; nothing else is extracted."""
    if source.is_dir():
        entries = sorted(source.iterdir(), key=lambda path: (path.name != files.url.rpartition("/")[2], path))
        places = [source / name, *(path / name for path in entries if path.is_dir())]
        sizes = {str(path): path.stat().st_size for path in places if path.is_file()}
        archive = next(filter(_is_archive, entries), None)
        if sizes or archive is None:
            with open(_chosen(files, name, sizes), "rb") as file:
                yield file
            return
        source = archive
    if not _is_archive(source):
        raise CrossresError(f"{source}: neither a tar nor a zip archive (a web page, or cut short?); fetch it again")
    if tarfile.is_tarfile(source):
        with tarfile.open(source) as tar:
            members = {member.name: member for member in tar if member.isreg()}
            chosen = _chosen(files, name, {path: member.size for path, member in members.items()})
            yield cast("IO[bytes]", tar.extractfile(members[chosen]))
    else:
        with zipfile.ZipFile(source) as packed:
            chosen = _chosen(files, name, {member.filename: member.file_size for member in packed.infolist()})
            with packed.open(chosen) as file:
                yield file


def _is_archive(path: Path) -> bool:
    return path.is_file() and (tarfile.is_tarfile(path) or zipfile.is_zipfile(path))


def _chosen(files: CifarFiles, name: str, sizes: Mapping[str, int]) -> str:
    """Return the path of a file by its name, from the sizes of those that there are."""
    named = [path for path in sizes if path.rpartition("/")[2] == name]
    if not named:
        raise FileNotFoundError("it has no file of that name")
    chosen = max(named, key=lambda path: path.endswith(f"{files.base_folder}/{name}"))
    if sizes[chosen] > MAX_FILE_BYTES:
        raise OSError(f"{sizes[chosen]:,} bytes, more than any data set has")
    return chosen


def _download(dataset: str, files: CifarFiles, folder: Path) -> Path:
    """Download the archive, unless it is there; return its path."""
    archive = folder / f"{files.base_folder}.tar.gz"
    if _has_md5(archive, files.tgz_md5):
        return archive
    from torch.hub import download_url_to_file

    part = archive.with_suffix(".part")
    try:
        download_url_to_file(files.url, str(part), progress=sys.stderr.isatty())
    except (OSError, ValueError, http.client.HTTPException) as error:
        fix = f"set `{dataset}: FOLDER or ARCHIVE` in the config to adopt a copy"
        raise CrossresError(f"{DATASETS[dataset].title}: could not be downloaded ({error}); {fix}") from None
    if not _has_md5(part, files.tgz_md5):
        aside = part.replace(archive.with_suffix(".rejected"))
        raise CrossresError(f"{files.url}: the download is wrong or cut short, by its MD5; kept as {aside}; try again")
    return part.replace(archive)
