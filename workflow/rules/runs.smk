# One run and seed: spec → train → evaluate → record.
#
# A finished run is known by what its files say (records/finished.py). Its rules do not output it, so neither dates, places,
# options of Snakemake nor edits of the code can train it again. To train it again, delete its folder.
localrules:
    spec,
    adopt,
    finished,


rule finished:
    output:
        update(f"{RESULTS}/{{finished}}"),
    log:
        f"{RESULTS}/{{finished}}.log",
    wildcard_constraints:
        finished=FLOW.finished,
    shell:
        ":"


rule spec:
    input:
        lambda wildcards: FLOW.outdated(wildcards.run, int(wildcards.seed)),
    output:
        f"{RESULTS}/{{run}}/seed{{seed}}/spec.json",
    log:
        f"{RESULTS}/{{run}}/seed{{seed}}/spec.log",
    wildcard_constraints:
        run=FLOW.computed_runs,
    conda:
        ENVIRONMENT
    params:
        resolved=lambda wildcards: canonical_json(FLOW.spec(wildcards.run, int(wildcards.seed)).model_dump(mode="json")),
    shell:
        "python -m crossres spec --resolved {params.resolved:q} --output {output:q} > {log:q} 2>&1"


rule train:
    input:
        unpack(train_inputs),
    output:
        weights=f"{RESULTS}/{{run}}/seed{{seed}}/weights.safetensors",
        last=f"{RESULTS}/{{run}}/seed{{seed}}/last.safetensors",
        training=f"{RESULTS}/{{run}}/seed{{seed}}/training.json",
    log:
        f"{RESULTS}/{{run}}/seed{{seed}}/train.log",
    wildcard_constraints:
        run=FLOW.to_train,
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=lambda wildcards: int(FLOW.uses_gpu(on_cluster())),
        gpu_pct=lambda wildcards: FLOW.gpu_share_pct(on_cluster()),
    params:
        teacher=lambda wildcards, input: option("teacher", input.get("teacher")),
        weights=lambda wildcards, input: option("weights", input.get("weights")),
    shell:
        "python -m crossres train --spec {input.spec:q} {params.teacher} {params.weights}"
        " --threads {threads} 2>&1 | tee -a {log:q}"


# A run that other results have; which these are decides no trained bit, so a cluster's job may find fewer or more of them.
ruleorder: adopt > train


rule adopt:
    input:
        unpack(train_inputs),
    output:
        **rules.train.output,
    log:
        f"{RESULTS}/{{run}}/seed{{seed}}/adopt.log",
    wildcard_constraints:
        run=FLOW.to_adopt,
    conda:
        ENVIRONMENT
    params:
        donor=lambda wildcards: FLOW.donor(wildcards.run, int(wildcards.seed)).folder,
        teacher=lambda wildcards, input: option("teacher", input.get("teacher")),
        weights=lambda wildcards, input: option("weights", input.get("weights")),
    shell:
        "python -m crossres adopt {params.donor:q} --spec {input.spec:q} {params.teacher} {params.weights}"
        " 2>&1 | tee -a {log:q}"


rule teacher_logits:
    input:
        spec=lambda wildcards: FLOW.pass_spec(wildcards.key),
        teacher=rules.train.output.weights,
        data=FLOW.manifest,
    output:
        (lambda folder: folder if FLOW.config.keep_logits else temp(folder))(
            directory(f"{RESULTS}/{{run}}/seed{{seed}}/logits/{{key}}")
        ),
    log:
        f"{RESULTS}/{{run}}/seed{{seed}}/logits-{{key}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=lambda wildcards: int(FLOW.uses_gpu(on_cluster())),
        gpu_pct=lambda wildcards: FLOW.gpu_share_pct(on_cluster()),
    params:
        epochs=lambda wildcards: FLOW.passes[wildcards.key].epochs,
        data=subpath(input.data, ancestor=2),
    shell:
        "python -m crossres logits --spec {input.spec:q} --data {params.data:q} --teacher {input.teacher:q}"
        " --epochs {params.epochs} --threads {threads} --output {output:q} 2>&1 | tee -a {log:q}"


rule evaluate:
    input:
        spec=rules.spec.output,
        weights=rules.train.output.weights,
        last=rules.train.output.last,
        training=rules.train.output.training,
        data=FLOW.manifest,
    output:
        f"{RESULTS}/{{run}}/seed{{seed}}/record.json",
    log:
        f"{RESULTS}/{{run}}/seed{{seed}}/evaluate.log",
    wildcard_constraints:
        run=FLOW.to_evaluate,
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=lambda wildcards: int(FLOW.uses_gpu(on_cluster())),
        gpu_pct=lambda wildcards: FLOW.gpu_share_pct(on_cluster()),
    shell:
        "python -m crossres evaluate --spec {input.spec:q}"
        " --threads {threads} --output {output:q} 2>&1 | tee {log:q}"


# The best student, to use elsewhere. Its record names its weights by digest.
rule export:
    input:
        records=FLOW.records,
        data=FLOW.manifest,
        template=packaged("paper/model_card.md.j2"),
        modules=FLOW.code("tools"),
    output:
        expand(
            f"{RESULTS}/export/{{name}}",
            name=["README.md", "config.json", "model.onnx", "model.safetensors", "record.json"],
        ),
    log:
        f"{RESULTS}/export/export.log",
    conda:
        ENVIRONMENT
    threads: 1
    params:
        suite=FLOW.suite_file,
        results=subpath(output[0], ancestor=2),
        data=subpath(input.data, ancestor=2),
    shell:
        "python -m crossres export {params.suite:q} --results {params.results:q} --data {params.data:q}"
        " --threads {threads} 2>&1 | tee {log:q}"
