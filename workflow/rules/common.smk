# What the rules share: the configuration, the suite, and where its files are.
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from snakemake.settings.types import DeploymentMethod

from crossres import files
from crossres.base import CrossresError, canonical_json
from crossres.records import container as deployment
from crossres.records.provenance import commit
from crossres.records.record import read_record
from crossres.report import catalog
from crossres.suites.config import chosen_suite, is_computed, read_config, results_dir, suite_path
from crossres.suites.passes import pass_key, passes, stored_passes
from crossres.suites.spec import DATASETS
from crossres.targets import check_targets
from crossres.training import device
from crossres.workflow import check_given

# SystemExit, since a WorkflowError would bury the one line under the places it passed.
try:
    CONFIG = read_config(config)
    SUITE = chosen_suite(CONFIG)
    check_given(CONFIG, SUITE)
    IMAGE = None if deployment.is_inside() else CONFIG.container
    DEPLOYMENT = workflow.deployment_settings.deployment_method
    IN_IMAGE = DeploymentMethod.APPTAINER in DEPLOYMENT and not deployment.is_inside()
    ON_HOST = not IN_IMAGE and DeploymentMethod.CONDA not in DEPLOYMENT
    if IN_IMAGE:  # now, since Snakemake would say it less kindly, or only after deleting an output
        deployment.require(IMAGE)
except CrossresError as error:
    sys.exit(f"crossres: {error}")

RESULTS = results_dir(CONFIG, SUITE).as_posix()
SUITE_FILE = suite_path(CONFIG).as_posix()
DATA = CONFIG.data_dir.as_posix()
SOURCES = "src/crossres"
ENVIRONMENT = str(Path(workflow.basedir) / "envs/environment.yaml")
JOBS = SUITE.jobs()
COMPUTED = [(run, seed) for run, seed in JOBS if is_computed(CONFIG, SUITE, run)]
# The only runs that the rules of training match, so that nothing can compute what is given; without any, they match none.
COMPUTED_RUNS = "|".join(dict.fromkeys(run for run, _ in COMPUTED)) or "(?!)"

# The jobs run this project's code with the interpreter that runs Snakemake, or with that of the image or of conda. The
# device is handed over in the environment: as a parameter, another device would be a reason to train again. So is the
# image's digest.
shell.prefix(
    "set -euo pipefail; export "
    + (f'PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH" ' if ON_HOST else "")
    + (f"CROSSRES_IMAGE_DIGEST={digest} " if (digest := deployment.digest(IMAGE if IN_IMAGE else None)) else "")
    + f"PYTHONPATH={shlex.quote(str(Path(workflow.basedir) / 'src'))} CROSSRES_DEVICE={CONFIG.device}"
    + f" CROSSRES_CUDA_GRAPH={int(CONFIG.cuda_graph)}; "
)


def apptainer_arguments():
    """What Snakemake is to tell Apptainer, besides what the profile or the command line says."""
    folders = [Path(workflow.basedir), Path(SUITE_FILE).parent, Path(RESULTS), CONFIG.data_dir]
    sources = [CONFIG.cifar100, CONFIG.cifar10, CONFIG.weights_dir]
    gpu = CONFIG.device != "cpu" and device.cuda_devices() > 0
    given = workflow.deployment_settings.apptainer_args
    words = shlex.join(deployment.arguments(folders + sources, gpu))
    return given if words in given else f"{given} {words}"  # a job's own Snakemake is given them already


if IN_IMAGE:
    workflow.deployment_settings.apptainer_args = apptainer_arguments()


wildcard_constraints:
    run="|".join(SUITE.runs),
    key="[0-9a-f]+",
    seed="[0-9]+",
    library="[a-z]+",


def run_dir(run, seed):
    return files.run_dir(Path(RESULTS), run, seed).as_posix()


def record(run, seed):
    """A record that is computed here, or one that is given and that no rule outputs."""
    if is_computed(CONFIG, SUITE, run):
        return f"{run_dir(run, seed)}/record.json"
    return files.shipped_record(SUITE.suite, run, seed).as_posix()


def all_records():
    return [record(run, seed) for run, seed in JOBS]


def shown_records():
    """All records, marked for the HTML report whether a rule outputs them or not."""
    records = [(record(run, seed), {"run": run, "seed": str(seed)}) for run, seed in JOBS]
    return [report(file, category="Records", labels=labels) for file, labels in records]


def spec_of(wildcards):
    return resolved(wildcards.run, int(wildcards.seed))


def resolved(run, seed):
    return SUITE.resolve(run, seed, CONFIG.budget)


def is_pending(run, seed):
    return not Path(f"{run_dir(run, seed)}/training.json").exists()


# A pass is for all the students that can read it; whether it is worth storing is decided by those still to be trained.
PENDING = [resolved(*job) for job in COMPUTED if is_pending(*job)]
PASSES = {sharing.key: sharing for sharing in passes(resolved(*job) for job in COMPUTED)}
STORED = {sharing.key: sharing for sharing in stored_passes(PENDING, CONFIG.teacher_logits)}


def logits(sharing):
    return files.logits_dir(Path(run_dir(sharing.teacher, sharing.teacher_seed)), sharing.key).as_posix()


def student_of(wildcards):
    """The run whose spec describes the stream of a pass: the first of those that read it."""
    first = PASSES[wildcards.key].students[0]
    return first.run, first.seed


def train_inputs(wildcards):
    spec = spec_of(wildcards)
    inputs = {
        "spec": f"{run_dir(wildcards.run, wildcards.seed)}/spec.json",
        "data": ancient(f"{DATA}/{spec.dataset.name}/manifest.json"),
    }
    if spec.teacher:
        inputs["teacher"] = f"{run_dir(spec.teacher, spec.teacher_seed)}/weights.safetensors"
        # Not of a run that is trained: a pass that is computed for another would be a reason to train it again.
        if pass_key(spec) in STORED and is_pending(wildcards.run, wildcards.seed):
            inputs["logits"] = ancient(logits(STORED[pass_key(spec)]))
    if spec.model.pretrained:
        inputs["weights"] = ancient(f"{DATA}/weights/{spec.model.name}.pth")
    return inputs


def adopted(wildcards):
    """The flag that names where to adopt a data set from, where the configuration says so."""
    source = getattr(CONFIG, wildcards.dataset, None)
    return f"--source {shlex.quote(str(source))}" if source else ""


def given(flag):
    """The flag with its file, where the run has such an input."""
    return lambda wildcards, input: f"--{flag} {shlex.quote(str(input.get(flag)))}" if input.get(flag) else ""


def products(kind, *suffixes):
    """Every file of the figures or tables that the suite has the runs for."""
    names = catalog.names(kind, SUITE)
    return [f"{RESULTS}/{kind}/{name}{suffix}" for name in names for suffix in suffixes]


def on_cluster():
    """Whether jobs run on other machines, of whose GPUs this one's tell nothing. Known once Snakemake has its executor."""
    return workflow.non_local_exec or workflow.remote_exec


def uses_gpu():
    if CONFIG.device != "auto":
        return CONFIG.device == "cuda"
    return SUITE.device == "cuda" or (not on_cluster() and device.cuda_devices() > 0)


def gpu_share_pct():
    """What one job takes of this machine's GPU; the profile's limit is 100. A cluster shares out its own."""
    return 100 // CONFIG.runs_per_gpu if uses_gpu() and not on_cluster() else 0


def announce(jobs):
    """Say which logits are stored, and what that saves."""
    for job in jobs:
        if job.rule.name == "teacher_logits":
            sharing = PASSES[job.wildcards.key]
            students = ", ".join(f"{spec.run} seed {spec.seed}" for spec in sharing.students)
            size = sharing.gigabytes(bytes_per_logit=2 if uses_gpu() else 4)
            print(
                f"crossres: the logits of {sharing.teacher} seed {sharing.teacher_seed} are computed once for {students}: "
                f"{sharing.epochs} epochs, {size:.2g} GB, {sharing.saved_epochs} epochs of its forward pass saved",
                file=sys.stderr,
            )


def verify_targets():
    """Answer a mistyped target in one line, where Snakemake would name the rule that is missing."""
    try:
        check_targets(sys.argv[1:], SUITE, Path(RESULTS), [rule.name for rule in workflow.rules])
    except CrossresError as error:
        sys.exit(f"crossres: {error}")


def preflight(jobs):
    """Stop before any job where something that the jobs need is missing."""
    training = [job for job in jobs if job.rule.name == "train"]
    if training and SUITE.device == "cuda" and CONFIG.device != "cpu" and not (on_cluster() or device.cuda_devices()):
        sys.exit(
            f"crossres: suite {SUITE.suite}: training {len(training)} of {len(JOBS)} runs needs a CUDA device, "
            f"and none is visible{gpu_hours()}; instead: --config suite=demo (minutes on a CPU), --config suite=published (no training), "
            "or --config device=cpu with a budget (see the README)"
        )


def gpu_hours():
    """What the published runs took, where they are runs of this suite too."""
    shipped = [files.shipped_record("published", run, seed) for run, seed in JOBS]
    if not all(path.is_file() for path in shipped):
        return ""
    first, *_ = published = [read_record(path) for path in shipped]
    hours = sum(record.cost.train_minutes for record in published) / 60
    return f" (the published runs took {hours:.1f} GPU-hours on an {first.provenance.device})"
