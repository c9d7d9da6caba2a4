"""The list of what the image holds, and the lock, name the same packages."""

from __future__ import annotations

import json
import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from crossres.suites.weights import PINNED

IMAGE = {
    "implementation_name": "cpython",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.2",
    "python_version": "3.11",
    "sys_platform": "linux",
}


def locked() -> set[tuple[str, str]]:
    """Read name and version of each package that the lock has for the image."""
    lines = [line for line in Path("envs/requirements.lock").read_text().splitlines() if re.match("[A-Za-z]", line)]
    packages = [Requirement(line.removesuffix("\\").strip()) for line in lines]
    wanted = [package for package in packages if package.marker is None or package.marker.evaluate(IMAGE)]
    return {(canonicalize_name(package.name), str(package.specifier).removeprefix("==")) for package in wanted}


def listed() -> set[tuple[str, str]]:
    """Read name and version of each package that the SBOM lists."""
    document = json.loads(Path("envs/sbom.cdx.json").read_text())
    assert document["bomFormat"] == "CycloneDX"
    return {(canonicalize_name(part["name"]), part["version"]) for part in document["components"]}


def test_the_sbom_lists_what_the_lock_installs() -> None:
    assert listed() == locked(), "run `make lock`, which writes envs/sbom.cdx.json"


def test_the_sbom_names_the_licences_of_imagenet_weights() -> None:
    parts = {part["name"]: part for part in json.loads(Path("envs/sbom.cdx.json").read_text())["components"]}
    for pinned in PINNED.values():
        if pinned.package:
            assert [each["license"]["id"] for each in parts[pinned.package]["licenses"]] == [pinned.licence]


def test_each_tool_outside_the_environment_is_pinned_by_its_hash() -> None:
    lock = Path("envs/tools.lock").read_text()
    for line in Path("envs/tools.in").read_text().splitlines():
        assert line.startswith("#") or re.search(rf"^{re.escape(line)} \\\n +--hash=sha256:", lock, re.MULTILINE), line
    places = [Path("Makefile"), *(path for name in ("envs", "docker", "docs") for path in Path(name).glob("*"))]
    for path in places:
        if path.is_file() and path.suffix in ("", ".sh", ".md"):
            assert not re.search(
                r"\b(uv tool run|uvx|pipx|pip install (?!.*--require-hashes)\S*==)", path.read_text()
            ), path
