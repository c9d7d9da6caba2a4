# What the rules share. What they ask is answered by src/crossres/workflow.py; what needs Snakemake itself is here.
import os
import sys
from pathlib import Path

sys.path.insert(0, os.path.abspath(f"{ROOT}/src"))
os.environ.update(CROSSRES_ROOT=ROOT)

from snakemake.settings.types import DeploymentMethod

from crossres.base import canonical_json
from crossres.records.provenance import commit
from crossres.suites.datasets import DATASETS
from crossres.workflow import Workflow, check_texts, one_line_errors, option

with one_line_errors():
    check_texts(map(Path, workflow.configfiles), workflow.config_settings.config_args or ())
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


def train_inputs(wildcards):
    return FLOW.train_inputs(wildcards.run, int(wildcards.seed))


def shown_records():
    """All records, marked for the HTML report whether a rule outputs them or not."""
    jobs = zip(FLOW.suite.jobs(), FLOW.records, strict=True)
    return [report(path, category="Records", labels={"run": run, "seed": str(seed)}) for (run, seed), path in jobs]


def on_cluster():
    """Whether jobs run on other machines. Known once Snakemake has its executor."""
    return workflow.non_local_exec or workflow.remote_exec


def before_the_first_job():
    """Stop where the jobs miss a GPU or a network cannot run; say what is adopted, and which logits are stored."""
    jobs = {rule: [] for rule in ("train", "adopt", "teacher_logits")}
    for job in workflow.dag.needrun_jobs():
        jobs.setdefault(job.rule.name, []).append(job.wildcards)
    train, adopt = ([(w.run, int(w.seed)) for w in jobs[rule]] for rule in ("train", "adopt"))
    with one_line_errors():
        for line in FLOW.before_the_first_job(train, adopt, [w.key for w in jobs["teacher_logits"]], on_cluster()):
            print(f"crossres: {line}", file=sys.stderr)
