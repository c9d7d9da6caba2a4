# The whole workflow: data → spec → train → evaluate → summary → tables, figures → report.
# What to run is one YAML file in workflow/suites/; how to run it is config/config.yaml.
import os

# The project, as seen from the working directory, which holds data and results: with `--directory`, with `-s` from elsewhere
# and as a module, these are two folders.
ROOT = os.path.relpath(os.path.realpath(workflow.current_basedir.get_path_or_uri(secret_free=True)))


configfile: os.path.normpath(f"{ROOT}/config/config.yaml")


include: "workflow/rules/common.smk"


# For --use-singularity; None where there is no image, or this is one.
container: FLOW.image


# The first page of the HTML report.
report: "workflow/report/workflow.rst"


rule paper:
    input:
        f"{RESULTS}/report.pdf",
        f"{RESULTS}/pages/claims.html",


rule figures:
    input:
        FLOW.products("figures", ".pdf", ".png"),


rule tables:
    input:
        FLOW.products("tables", ".csv", ".tex", ".md"),


rule source:
    input:
        f"{RESULTS}/report.tex",


include: "workflow/rules/data.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/report.smk"


onstart:
    before_the_first_job(list(workflow.dag.needrun_jobs()))
