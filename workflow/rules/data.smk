# Data sets and ImageNet weights: fetched, adopted or generated once, and verified.
#
# A source is a place, and no reason to fetch again: a parameter that is a function of `output` is none to Snakemake.
localrules:
    data,
    weights,


rule data:
    output:
        f"{DATA}/{{dataset}}/manifest.json",
    log:
        f"{DATA}/{{dataset}}/data.log",
    wildcard_constraints:
        dataset="|".join({*DATASETS, FLOW.suite.dataset.key}),
    conda:
        ENVIRONMENT
    params:
        root=subpath(output[0], ancestor=2),
        request=lambda wildcards, output: FLOW.data_request(wildcards.dataset),
    shell:
        "python -m crossres data {params.request} --root {params.root:q} 2>&1 | tee {log:q}"


rule weights:
    output:
        f"{DATA}/weights/{{library}}/{{model}}.safetensors",
    log:
        f"{DATA}/weights/{{library}}/{{model}}.log",
    conda:
        ENVIRONMENT
    params:
        source=lambda wildcards, output: option("source", FLOW.config.weights_dir),
    shell:
        "python -m crossres weights {wildcards.library}/{wildcards.model:q} {params.source} --output {output:q}"
        " 2>&1 | tee {log:q}"
