# The workflow, from the project's root: `snakemake --cores 1`.
include: "workflow/Snakefile"


# Of an included file, Snakemake takes no first rule as the target.
workflow.default_target = "paper"
