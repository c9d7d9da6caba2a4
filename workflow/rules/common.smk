# What the rules share. What they ask is answered by src/crossres/workflow.py; what needs Snakemake itself is here.
import os
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, os.path.abspath(f"{ROOT}/src"))
os.environ.update(CROSSRES_ROOT=ROOT)

from snakemake.settings.types import DeploymentMethod

from crossres.base import CrossresError, canonical_json
from crossres.files import parse_yaml, read_yaml
from crossres.records.provenance import commit
from crossres.suites.datasets import DATASETS
from crossres.workflow import Workflow


@contextmanager
def one_line_errors():
    """End with the error's one line: a WorkflowError would bury it under the places that it passed."""
    try:
        yield
    except (CrossresError, OSError) as error:
        sys.exit(f"crossres: {error}")


with one_line_errors():
    for path in workflow.configfiles:
        read_yaml(Path(path))  # refuses a repeated key, which Snakemake drops
    for key, _, value in (word.partition("=") for word in workflow.config_settings.config_args or ()):
        if value.startswith(("{", "[")):
            parse_yaml(value, f"config: {key}")
    deployment = workflow.deployment_settings
    methods = [
        method in deployment.deployment_method for method in (DeploymentMethod.APPTAINER, DeploymentMethod.CONDA)
    ]
    FLOW = Workflow.read(config, Path(ROOT), *methods)
    FLOW.mark_outdated()
    shell.prefix(FLOW.shell_prefix())
    workflow.global_resources.setdefault("gpu_pct", 100 * max(1, len(FLOW.gpus)))
    if FLOW.in_image:
        deployment.apptainer_args = FLOW.apptainer_arguments(deployment.apptainer_args)

RESULTS = FLOW.results
DATA = FLOW.data
ENVIRONMENT = os.path.abspath(f"{ROOT}/envs/environment.yaml")


wildcard_constraints:
    run="|".join(FLOW.suite.runs),
    key="[0-9a-f]+",
    seed="[0-9]+",
    library="[a-z]+",


def packaged(path):
    """Return the path of a file of the project."""
    return os.path.normpath(f"{ROOT}/{path}")


def spec_of(wildcards):
    return FLOW.spec(wildcards.run, int(wildcards.seed))


def train_inputs(wildcards):
    return FLOW.train_inputs(wildcards.run, int(wildcards.seed))


def shown_records():
    """All records, marked for the HTML report whether a rule outputs them or not."""
    jobs = zip(FLOW.suite.jobs(), FLOW.records, strict=True)
    return [report(path, category="Records", labels={"run": run, "seed": str(seed)}) for (run, seed), path in jobs]


def own_template():
    """Return the suite's own template of the report, if one stands beside its file."""
    suite = Path(FLOW.suite_file)
    return suite.parent.glob(f"{suite.stem}.tex.j2")


def option(flag, path):
    """Return a flag with its file, or nothing where there is no such file."""
    return f"--{flag} {shlex.quote(str(path))}" if path else ""


def on_cluster():
    """Whether jobs run on other machines. Known once Snakemake has its executor."""
    return workflow.non_local_exec or workflow.remote_exec


def before_the_first_job(jobs):
    """Stop where the jobs miss a GPU or a network cannot run; say which logits are stored."""
    with one_line_errors():
        to_train = [(job.wildcards.run, int(job.wildcards.seed)) for job in jobs if job.rule.name == "train"]
        FLOW.check_gpu(len(to_train), on_cluster())
        FLOW.check_networks(to_train)
        started = [job for job in jobs if job.rule.name in ("adopt", "train")]
        for line in FLOW.describe_reuse((job.wildcards.run, int(job.wildcards.seed)) for job in started):
            print(f"crossres: {line}", file=sys.stderr)
    for job in jobs:
        if job.rule.name == "teacher_logits":
            print(f"crossres: {FLOW.describe_pass(job.wildcards.key, on_cluster())}", file=sys.stderr)
