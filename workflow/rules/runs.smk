# One run and seed: spec → train → evaluate → record.
#
# The spec's text is a parameter, so that a changed setting reruns that run and what depends on it, and nothing else. Data
# and ImageNet weights are verified by digest, so their dates do not matter (`ancient`). The code of the training is no
# input: a comment must not cost GPU-hours; records name its digest instead.
localrules:
    spec,


def train_inputs(wildcards):
    spec = spec_of(wildcards)
    inputs = {
        "spec": f"{run_dir(wildcards.run, wildcards.seed)}/spec.json",
        "data": ancient(f"{DATA}/{spec.dataset.name}/manifest.json"),
    }
    if spec.teacher:
        inputs["teacher"] = f"{run_dir(spec.teacher, spec.teacher_seed)}/weights.safetensors"
    if spec.model.pretrained:
        inputs["weights"] = ancient(f"{DATA}/weights/{spec.model.name}.pth")
    return inputs


def given(flag):
    """The flag with its file, where the run has such an input."""
    return lambda wildcards, input: f"--{flag} {shlex.quote(str(input.get(flag)))}" if input.get(flag) else ""


rule spec:
    output:
        f"{RESULTS}/{{run}}/seed{{seed}}/spec.json",
    log:
        f"{RESULTS}/{{run}}/seed{{seed}}/spec.log",
    params:
        resolved=lambda wildcards: canonical_json(spec_of(wildcards).model_dump(mode="json")),
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
    params:
        teacher=given("teacher"),
        weights=given("weights"),
        data=DATA,
    threads: 1
    resources:
        gpu=lambda wildcards: int(uses_gpu()),
    shell:
        "python -m crossres train --spec {input.spec:q} --data {params.data:q} {params.teacher} {params.weights}"
        " --device {config[device]} --threads {threads} 2>&1 | tee -a {log:q}"


rule evaluate:
    input:
        spec=rules.spec.output,
        weights=rules.train.output.weights,
        last=rules.train.output.last,
        training=rules.train.output.training,
        data=lambda wildcards: ancient(f"{DATA}/{spec_of(wildcards).dataset.name}/manifest.json"),
    output:
        f"{RESULTS}/{{run}}/seed{{seed}}/record.json",
    log:
        f"{RESULTS}/{{run}}/seed{{seed}}/evaluate.log",
    params:
        data=DATA,
    threads: 1
    resources:
        gpu=lambda wildcards: int(uses_gpu()),
    shell:
        "python -m crossres evaluate --spec {input.spec:q} --data {params.data:q} --device {config[device]}"
        " --threads {threads} --output {output:q} 2>&1 | tee {log:q}"
