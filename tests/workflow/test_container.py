"""The workflow in the project's own image, which `docker/bootstrap` builds where it is not cached."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from packaging.utils import canonicalize_name

from tests.project import copy_of_the_project, snakemake
from tests.workflow.test_sbom import listed

pytestmark = [pytest.mark.container, pytest.mark.workflow]
NOT_COVERED = "container: not covered here: a GPU (--nv), docker itself, a base or an image pulled from a registry"
LITERAL = ("--cores", "1", "--use-singularity")
PYTHON = "/opt/crossres/bin/python"
RULES = "".join(path.read_text() for path in sorted(Path("workflow/rules").glob("*.smk")))
# Not part of a plain run: `weights` needs ImageNet's, `adopt` other results, and the rest are asked for by hand.
VERBS = set(re.findall(r"-m crossres (\w+)", RULES)) - {"weights", "adopt", "claims", "export", "arxiv"}
BUDGET = {"epochs": 1, "train_images": 256, "test_images": 200}
RESULTS = "results/demo-truncated"
BUILT = ("summary.csv", "claims.json", "figures", "tables", "report.tex", "report.pdf")

# Every Python process of the rules loads this, since PYTHONPATH leads to it, and says who it is.
WITNESS = """
import json, os, sys
verb = sys.orig_argv[3] if sys.orig_argv[1:3] == ["-m", "crossres"] else None
told = {key: os.environ.get(key) for key in ("APPTAINER_CONTAINER", "CROSSRES_DEVICE", "OMP_NUM_THREADS")}
with open("witness.jsonl", "a") as file:
    file.write(json.dumps({"verb": verb, "python": sys.executable, **told}) + "\\n")
"""

# As root, in mounts that no other process sees: become nobody, who may read the image and, as on most hosts, /dev/fuse.
AS_NOBODY = """
set -e
mount -t tmpfs none .snakemake
mknod --mode 666 .snakemake/fuse c 10 229
mount --bind .snakemake/fuse /dev/fuse
umount --lazy .snakemake
touch docker/crossres.sif
mount --bind "$SIF" docker/crossres.sif
exec setpriv --reuid nobody --regid nogroup --clear-groups env -i PATH="$PATH" HOME=/nonexistent "$@"
"""


class Image(NamedTuple):
    """What docker/bootstrap made."""

    apptainer: str  # folder of the command
    sif: Path

    @property
    def path(self) -> str:
        return f"{os.environ['PATH']}:{self.apptainer}"


class Run(NamedTuple):
    """The demonstration, cut short, run in the image."""

    folder: Path  # a copy of the project, in its own git repository
    image: Image

    def snakemake(self, *words: str) -> subprocess.CompletedProcess[str]:
        return snakemake(self.folder, *words, PATH=self.image.path)

    def apptainer(self, *words: str) -> str:
        env = {**os.environ, "PATH": self.image.path}
        return subprocess.run(["apptainer", *words], env=env, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def image() -> Image:
    """Build the image, or take it from the cache."""
    done = subprocess.run(
        ["bash", "docker/bootstrap"], stdout=subprocess.PIPE, stderr=sys.__stderr__, text=True, check=False
    )
    if done.returncode == 5:
        pytest.skip(f"nothing was run in the image: {done.stdout.strip()}")
    assert done.returncode == 0
    print(NOT_COVERED, file=sys.__stderr__)
    folder, sif = done.stdout.splitlines()
    if os.geteuid() == 0:  # root of a virtual machine may lack this capability, which Apptainer asks for
        os.environ.setdefault("APPTAINER_DROP_CAPS", "CAP_SYS_RESOURCE")
    return Image(folder, Path(sif))


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """A folder that Apptainer does not show by itself: neither in the project nor in /tmp."""
    with tempfile.TemporaryDirectory(dir=Path.home() / ".cache/crossres", prefix="data.") as folder:
        yield Path(folder) / "not yet there"


@pytest.fixture(scope="module")
def run(image: Image, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run every rule of the demonstration in the image."""
    folder = copy_of_the_project(tmp_path_factory.mktemp("project"))
    (folder / "docker/crossres.sif").symlink_to(image.sif)
    (folder / "src/sitecustomize.py").write_text(WITNESS)
    (folder / ".gitignore").open("a").write("/witness.jsonl\n")
    config = yaml.safe_load((folder / "config/config.yaml").read_text())
    config |= {"suite": "demo", "budget": BUDGET, "data_dir": str(data_dir)}
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config))
    suite = folder / "workflow/suites/demo.yaml"
    suite.write_text(re.sub(r"(?m)^seeds: .*$", "seeds: [1]", suite.read_text()))
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "A fresh clone"]):
        author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *author, *words], cwd=folder, check=True)
    made = Run(folder, image)
    done = made.snakemake(*LITERAL)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def test_every_rule_ran_with_the_python_of_the_image(run: Run) -> None:
    said = [json.loads(line) for line in (run.folder / "witness.jsonl").read_text().splitlines()]
    verbs = [one for one in said if one["verb"]]
    assert {one["verb"] for one in verbs} == VERBS
    for one in verbs:
        assert one["python"] == PYTHON
        assert one["APPTAINER_CONTAINER"]
        assert (one["CROSSRES_DEVICE"], one["OMP_NUM_THREADS"]) == ("auto", "1")


def test_records_and_report_name_the_image(run: Run) -> None:
    tag = run.apptainer("inspect", "--labels", str(run.image.sif)).split("crossres.image: ")[1]
    digest = subprocess.run(["sha256sum", run.image.sif], capture_output=True, text=True, check=True).stdout[:64]
    records = [json.loads(path.read_text()) for path in (run.folder / RESULTS).glob("*/seed*/record.json")]
    named = {record["provenance"]["image"] for record in records}
    assert named == {f"{tag.splitlines()[0]}@sha256:{digest}"}
    assert digest[:12] in (run.folder / RESULTS / "report.tex").read_text()


def test_with_the_flag_or_without_it_nothing_runs_again(run: Run) -> None:
    command = ["git", "status", "--porcelain"]
    assert subprocess.run(command, cwd=run.folder, capture_output=True, text=True, check=True).stdout == ""
    for words in (LITERAL, LITERAL[:2]):
        done = run.snakemake(*words)
        assert done.returncode == 0, done.stderr
        assert "Nothing to be done" in done.stdout + done.stderr


def test_the_report_is_the_host_s_byte_for_byte(run: Run, tmp_path: Path) -> None:
    results = run.folder / RESULTS
    for name in BUILT:
        shutil.move(results / name, tmp_path / name)
    done = run.snakemake(*LITERAL[:2])
    assert done.returncode == 0, done.stderr
    assert "rule train:" not in done.stdout + done.stderr
    made = [path for path in sorted(tmp_path.rglob("*")) if path.is_file() and path.suffix != ".log"]
    assert len(made) > 20
    for path in made:
        assert path.read_bytes() == (results / path.relative_to(tmp_path)).read_bytes(), path.name


def test_the_image_holds_what_the_sbom_lists(run: Run) -> None:
    code = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()), sep='\\n')"
    said = run.apptainer("exec", "--contain", str(run.image.sif), PYTHON, "-I", "-c", code)
    names = {tuple(line.split("==")) for line in said.split()}
    assert {(canonicalize_name(name), version) for name, version in names} == listed()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody; the other tests were unprivileged already")
def test_apptainer_alone_serves_an_unprivileged_user(image: Image) -> None:
    with tempfile.TemporaryDirectory(prefix="crossres-") as folder:
        project = copy_of_the_project(Path(folder) / "project")
        (project / ".snakemake").mkdir()
        for path in (project, *project.rglob("*")):
            shutil.chown(path, "nobody", "nogroup")
        Path(folder).chmod(0o755)
        command = ["apptainer", "exec", "docker/crossres.sif", "snakemake", *LITERAL[:2], "--config", "suite=published"]
        done = subprocess.run(
            ["unshare", "--mount", "bash", "-c", AS_NOBODY, "bash", *command],
            cwd=project,
            env={"PATH": f"{image.apptainer}:/usr/sbin:/usr/bin:/sbin:/bin", "SIF": str(image.sif)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        report = project / "results/published/report.pdf"
        assert report.read_bytes().startswith(b"%PDF") and report.owner() == "nobody"
