"""Running in an image: what stops before any job, Apptainer's arguments, the image's name in the records.

`test_container.py` runs the image itself; here, Apptainer is a script that writes down its arguments.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from crossres.base import CrossresError
from crossres.records import container as deployment
from crossres.records.record import Provenance
from crossres.report.execution import PROVENANCE
from crossres.suites.config import read_config
from tests.project import copy_of_the_project, snakemake

SYSTEM = "/usr/bin:/bin"
USE = ("--cores", "1", "--use-singularity", "--quiet", "all", "--config", "suite=published")
SUMMARY = "results/published/summary.csv"


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are the host's, wherever they run."""
    for name in (*deployment.INSIDE, "CROSSRES_IMAGE_DIGEST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module", autouse=True)
def summary(project: Path) -> None:
    """An output that must not be touched."""
    (project / SUMMARY).parent.mkdir(parents=True)
    (project / SUMMARY).write_text("made before\n")


@pytest.fixture
def fake_apptainer(tmp_path: Path) -> Path:
    """A folder for PATH with an `apptainer` that says what it was told, and runs the command on the host."""
    script = tmp_path / "bin/apptainer"
    script.parent.mkdir()
    script.write_text(
        "#!/bin/bash\n"
        '[ "$1" != --version ] || { echo apptainer version 1.4.5; exit; }\n'
        f'printf "%s\\n" "$@" > {shlex.quote(str(tmp_path))}/told\n'
        f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH CROSSRES_IMAGE=crossres:fake"
        ' exec bash -c "${@: -1}"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script.parent


@pytest.mark.workflow
@pytest.mark.parametrize("words", [(), ("-n",)], ids=["run", "dry-run"])
@pytest.mark.parametrize(
    ("apptainer", "message"),
    [
        (False, "no apptainer or singularity on PATH"),
        (True, "container: docker/crossres.sif: no such image; make docker/crossres.sif with `make image`"),
    ],
)
def test_without_apptainer_or_image_it_stops_before_any_job(
    project: Path, fake_apptainer: Path, words: tuple[str, ...], apptainer: bool, message: str
) -> None:
    done = snakemake(project, *words, *USE, PATH=f"{fake_apptainer}:{SYSTEM}" if apptainer else SYSTEM)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("crossres:")]
    assert message in line and "leave out --use-singularity" in line
    assert (project / SUMMARY).read_text() == "made before\n"


def test_without_a_configured_image_there_is_nothing_to_run_in() -> None:
    with pytest.raises(CrossresError, match="no image is configured"):
        deployment.check_image(None)


@pytest.mark.parametrize("name", ["x;touch made;.sif", "$(touch made).sif", "a 'b'.sif"])
def test_an_image_that_a_shell_would_not_read_as_a_name_is_refused(
    name: str, fake_apptainer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{fake_apptainer}:{SYSTEM}")
    Path(name).touch()
    with pytest.raises(CrossresError, match="a character that a shell reads otherwise"):
        deployment.check_image(name)
    Path("image.sif").touch()
    deployment.check_image("image.sif")
    (tmp_path / "it's").mkdir()
    monkeypatch.chdir("it's")
    with pytest.raises(CrossresError, match="a character that a shell reads otherwise"):
        deployment.check_image(str(tmp_path / "image.sif"))


@pytest.mark.workflow
def test_what_comes_from_outside_reaches_the_shell_as_one_word(project: Path) -> None:
    evil = "x$(touch made);touch made;"
    words = ("-n", "-p", "--config", "suite=published", f"weights_dir=w/{evil}", f"cifar10=d/{evil}")
    targets = (f"data/weights/timm/{evil}.safetensors", "data/cifar10/manifest.json", "results/published/report.tex")
    planned = snakemake(project, *words, "--", *targets, CROSSRES_COMMIT=f"c{evil}")
    assert planned.returncode == 0, planned.stderr
    commands = [shlex.split(line) for line in planned.stdout.splitlines() if "python -m crossres" in line]
    found = {word for command in commands for word in command if evil in word and ".log" not in word}
    assert found == {f"timm/{evil}", f"w/{evil}", f"d/{evil}", f"c{evil}", targets[0]}


@pytest.mark.workflow
def test_inside_an_image_the_flag_does_nothing(project: Path) -> None:
    done = snakemake(project, "-n", *USE, PATH=SYSTEM, CROSSRES_IMAGE="crossres:0")
    assert done.returncode == 0, done.stderr


@pytest.mark.workflow
def test_apptainer_is_told_what_stands_outside(project: Path, fake_apptainer: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.sif"
    image.write_bytes(b"an image")
    target, data = "data/shapes/manifest.json", tmp_path / "some data"
    words = ("--apptainer-args=--writable-tmpfs", "--config", "suite=demo", "device=cpu")
    made = snakemake(
        project,
        *("--cores", "1", "--use-singularity", *words, f"container={image}", f"data_dir={data}"),
        *("--", str(data / Path(target).relative_to("data"))),
        PATH=f"{fake_apptainer}:{SYSTEM}",
    )
    assert made.returncode == 0, made.stdout + made.stderr
    told = (tmp_path / "told").read_text().splitlines()
    assert {"exec", "--writable-tmpfs", str(tmp_path)} <= set(told)
    assert told[told.index(str(tmp_path)) - 1] == "--bind"
    assert "--nv" not in told
    digest = hashlib.sha256(b"an image").hexdigest()
    assert any(f"CROSSRES_IMAGE_DIGEST=sha256:{digest} " in word for word in told)
    assert (tmp_path / "image.sif.sha256").read_text() == f"{digest}  image.sif\n"


@pytest.mark.workflow
def test_with_conda_the_jobs_have_the_python_that_conda_made(tmp_path: Path) -> None:
    """A stand-in for conda makes an environment whose Python says what it is asked."""
    project = copy_of_the_project(tmp_path / "project")
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/bash\necho "$PWD $*" >> {tmp_path}/asked\n[ "$2" = pip ] || exec {shlex.quote(sys.executable)} "$@"\n'
    )
    conda = tmp_path / "bin/conda"
    conda.parent.mkdir()
    conda.write_text(
        "#!/bin/bash\n"
        'case "$*" in\n'
        f"""*info*) echo '{{"conda_prefix": "{tmp_path}", "platform": "linux-64"}}' ;;\n"""
        "--version) echo conda 99.0.0 ;;\n"
        """config*) echo '{"get": {"channel_priority": "strict"}}' ;;\n"""
        f'*create*) mkdir -p "${{@: -1}}/bin" && cp {python} "${{@: -1}}/bin" ;;\n'
        "esac\n"
    )
    (tmp_path / "bin/activate").write_text('PATH="$1/bin:$PATH"\n')
    for script in (python, conda):
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    words = ("--cores", "1", "--software-deployment-method", "conda", "--config", "suite=published")
    done = snakemake(project, *words, "--", SUMMARY, PATH=f"{conda.parent}:{SYSTEM}")
    assert done.returncode == 0, done.stdout + done.stderr
    installed, ran = (tmp_path / "asked").read_text().splitlines()
    assert installed.startswith(f"{project} -m pip install") and "--require-hashes" in installed
    assert (project / installed.split()[-1]).samefile(project / "envs/requirements.lock")
    assert " -m crossres summary " in ran


def test_conda_makes_the_environment_anew_when_the_lock_changes() -> None:
    digest = hashlib.sha256(Path("envs/requirements.lock").read_bytes()).hexdigest()
    assert f"sha256 {digest}\n" in Path("envs/environment.post-deploy.sh").read_text(), "run `make lock`"


def test_only_what_stands_outside_is_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, disk, source = tmp_path / "project", tmp_path / "disk", tmp_path / "source.tar.gz"
    for folder in (here, disk):
        folder.mkdir()
    source.touch()
    (here / "data").symlink_to(disk)
    monkeypatch.chdir(here)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    told = deployment.binds([Path("results"), Path("data"), source, None, disk / "not/yet", Path("/new")])
    assert told == ["--bind", str(disk), "--bind", str(source)]
    monkeypatch.setenv("SSL_CERT_FILE", str(source))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert deployment.binds([]) == ["--bind", str(tmp_path), "--bind", str(source)]


def test_the_digest_is_kept_until_the_image_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image, kept = tmp_path / "a.sif", tmp_path / "a.sif.sha256"
    image.write_bytes(b"one")
    one = f"sha256:{hashlib.sha256(b'one').hexdigest()}"
    assert deployment.digest(str(image)) == one
    assert deployment.digest(str(image)) == one
    assert capsys.readouterr().err.count("computing its digest") == 1
    image.write_bytes(b"two")
    os.utime(kept, (0, 0))
    assert deployment.digest(str(image)) == f"sha256:{hashlib.sha256(b'two').hexdigest()}"
    kept.write_text("cut short")
    assert deployment.digest(str(image)) == f"sha256:{hashlib.sha256(b'two').hexdigest()}"
    assert deployment.digest("docker://somewhere/crossres") is None
    assert deployment.digest(None) is None
    monkeypatch.setenv("APPTAINER_CONTAINER", str(image))  # inside, it is that of the running image
    assert deployment.digest("another.sif") == f"sha256:{hashlib.sha256(b'two').hexdigest()}"


def test_the_record_and_the_report_name_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    assert deployment.image_name() is None
    monkeypatch.setenv("APPTAINER_CONTAINER", "/somewhere/other.sif")
    assert deployment.image_name() == "other.sif"
    monkeypatch.setenv("CROSSRES_IMAGE", tag := "crossres:0123456789ab")
    assert deployment.image_name() == tag
    monkeypatch.setenv("CROSSRES_IMAGE_DIGEST", digest := f"sha256:{'abcdef' * 10}0000")
    assert deployment.image_name() == f"{tag}@{digest}"
    shown = PROVENANCE["Container image"]
    for image, short in ((f"{tag}@{digest}", f"{tag}@sha256:abcdefabcdef"), (tag, tag), (None, None)):
        assert shown(Provenance.model_construct(image=image)) == short


def test_the_default_image_is_where_it_is_built() -> None:
    assert f"SIF:-{read_config({}).container}" in Path("docker/build").read_text()


DOCKER = """#!/bin/sh
case "$1 $2" in
"image inspect") echo "debian@sha256:%s" ;;
"build --file") echo "$@" > built.txt ;;
esac
"""
APPTAINER = """#!/bin/sh
[ "$1" != inspect ] || echo "crossres.image: $(bash docker/build tag)"
"""


def test_the_first_image_writes_down_the_digest_of_its_base(tmp_path: Path) -> None:
    """Docker and Apptainer are played by scripts, which build nothing."""
    folder, digest = copy_of_the_project(tmp_path / "project"), "0123456789abcdef" * 4
    for name, script in (("docker", DOCKER % digest), ("apptainer", APPTAINER)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)
    (folder / "docker/crossres.sif").touch()
    env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "BUILDER": "docker"}
    for base in (f"debian:bookworm-slim@sha256:{digest}", "debian:trixie-slim@sha256:0"):
        done = subprocess.run(
            ["bash", "docker/build"], cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        dockerfile = folder / "docker/Dockerfile"
        assert f"ARG BASE={base}\n" in dockerfile.read_text()
        assert f"    BASE=debian@sha256:{digest}\n" in (folder / "docker/image.def").read_text()
        tag = subprocess.run(["bash", "docker/build", "tag"], cwd=folder, capture_output=True, text=True, check=True)
        assert f"--tag {tag.stdout.strip()} " in (folder / "built.txt").read_text()
        dockerfile.write_text(dockerfile.read_text().replace(base, "debian:trixie-slim@sha256:0"))  # is left as it is
