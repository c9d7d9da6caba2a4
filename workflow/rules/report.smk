# Records → summary → tables and figures → report. Nothing here imports torch.
#
# The code of a room is an input of the rules that run it; a figure and a table have their own module, so that an edit
# redraws that one alone.
localrules:
    paper,
    figures,
    tables,
    source,
    summary,
    audit,
    claims,
    table,
    figure,
    tex,
    pdf,
    arxiv,
    pages,


rule summary:
    input:
        records=shown_records(),
        suite=FLOW.suite_files,
        modules=FLOW.code("suites", "records"),
    output:
        f"{RESULTS}/summary.csv",
    log:
        f"{RESULTS}/summary.log",
    conda:
        ENVIRONMENT
    shell:
        "python -m crossres summary --records {input.records:q} --output {output:q} 2>&1 | tee {log:q}"


rule audit:
    input:
        summary=rules.summary.output,
        records=FLOW.records,
        claims=FLOW.claims or [],
        modules=FLOW.code("suites", "claims"),
    output:
        report(f"{RESULTS}/claims.json", category="Claims", labels={"document": "claims.json"}),
    log:
        f"{RESULTS}/claims.log",
    conda:
        ENVIRONMENT
    params:
        suite=FLOW.suite_file,
        claims=option("claims", FLOW.claims),
    shell:
        "python -m crossres audit --suite {params.suite:q} --summary {input.summary:q} --records {input.records:q}"
        " {params.claims} --output {output:q} 2>&1 | tee {log:q}"


# It only prints, so it runs whenever it is asked for.
rule claims:
    input:
        rules.audit.output,
    log:
        f"{RESULTS}/claims.txt",
    conda:
        ENVIRONMENT
    shell:
        "python -m crossres claims --file {input:q} 2>&1 | tee {log:q}"


rule table:
    input:
        summary=rules.summary.output,
        module=lambda wildcards: FLOW.module("tables", wildcards.name),
        shared=packaged("src/crossres/report/tabular.py"),
    output:
        report(
            f"{RESULTS}/tables/{{name}}.csv",
            caption="../report/caption.rst",
            category="Tables",
            labels={"table": "{name}.csv"},
        ),
        multiext(f"{RESULTS}/tables/{{name}}", ".tex", ".md"),
    log:
        f"{RESULTS}/tables/{{name}}.log",
    conda:
        ENVIRONMENT
    params:
        folder=subpath(output[0], parent=True),
    shell:
        "python -m crossres table {wildcards.name:q} --summary {input.summary:q} --output-dir {params.folder:q}"
        " 2>&1 | tee {log:q}"


rule figure:
    input:
        summary=rules.summary.output,
        records=FLOW.records,
        claims=lambda wildcards: rules.audit.output if FLOW.shows_claims(wildcards.name) else [],
        module=lambda wildcards: FLOW.module("figures", wildcards.name),
        shared=FLOW.code("report/drawing"),
        style=packaged("src/crossres/report/drawing/journal.mplstyle"),
    output:
        multiext(f"{RESULTS}/figures/{{name}}", ".pdf", ".png"),
        report(
            f"{RESULTS}/figures/{{name}}.svg",
            caption="../report/caption.rst",
            category="Figures",
            labels={"figure": "{name}"},
        ),
    log:
        f"{RESULTS}/figures/{{name}}.log",
    conda:
        ENVIRONMENT
    params:
        folder=subpath(output[0], parent=True),
        suite=FLOW.suite_file,
        claims=lambda wildcards, input: option("claims", input.claims),
    shell:
        "python -m crossres figure {wildcards.name:q} --suite {params.suite:q} --summary {input.summary:q}"
        " --records {input.records:q} {params.claims} --output-dir {params.folder:q} 2>&1 | tee {log:q}"


rule tex:
    input:
        summary=rules.summary.output,
        records=FLOW.records,
        figures=FLOW.products("figures", ".pdf"),
        tables=FLOW.products("tables", ".tex"),
        template=sorted(map(str, [*Path(packaged("paper/report")).glob("*.tex.j2"), *FLOW.own_template])),
        claims=rules.audit.output,
        modules=FLOW.code("claims", "report"),
        bibliography=packaged("paper/references.bib"),
    output:
        source=f"{RESULTS}/report.tex",
        bibliography=f"{RESULTS}/references.bib",
        numbers=f"{RESULTS}/numbers.tex",
    log:
        f"{RESULTS}/report.tex.log",
    conda:
        ENVIRONMENT
    params:
        suite=FLOW.suite_file,
        commit=option("commit", commit()),
    shell:
        "python -m crossres tex --suite {params.suite:q} --summary {input.summary:q} --records {input.records:q}"
        " --claims {input.claims:q} {params.commit} --output {output.source:q} 2>&1 | tee {log:q}"


rule pdf:
    input:
        source=rules.tex.output.source,
        figures=FLOW.products("figures", ".pdf"),
        bibliography=rules.tex.output.bibliography,
    output:
        pdf=report(f"{RESULTS}/report.pdf", category="Report", labels={"document": "report.pdf"}),
        references=f"{RESULTS}/report.bbl",
    log:
        f"{RESULTS}/report.pdf.log",
    conda:
        ENVIRONMENT
    shell:
        "python -m crossres pdf --source {input.source:q} --bibliography {input.bibliography:q} --output {output.pdf:q}"
        " 2>&1 | tee {log:q}"


rule arxiv:
    input:
        source=rules.tex.output.source,
        bibliography=rules.tex.output.bibliography,
        references=rules.pdf.output.references,
        figures=FLOW.products("figures", ".pdf"),
    output:
        f"{RESULTS}/arxiv.tar.gz",
        f"{RESULTS}/overleaf.zip",
    log:
        f"{RESULTS}/arxiv.log",
    conda:
        ENVIRONMENT
    params:
        folder=subpath(output[0], parent=True),
    shell:
        "python -m crossres arxiv --source {input.source:q} --output-dir {params.folder:q} 2>&1 | tee {log:q}"


# The first page, tables, claims, records and captions for the HTML report, which adds figures and PDF.
rule pages:
    input:
        figures=FLOW.products("figures", ".svg"),
        summary=rules.summary.output,
        records=FLOW.records,
        claims=rules.audit.output,
        template=packaged("paper/page.html.j2"),
        modules=FLOW.code("claims", "report"),
    output:
        claims=report(f"{RESULTS}/pages/claims.html", category="Claims", labels={"document": "claims"}),
        first=f"{RESULTS}/pages/first.html",
        records=report(f"{RESULTS}/pages/records.html", category="Records", labels={"run": "All runs", "seed": ""}),
        tables=[
            report(f"{RESULTS}/pages/tables/{name}.html", category="Tables", labels={"table": name})
            for name in FLOW.names("tables")
        ],
        captions=[f"{RESULTS}/pages/captions/{name}.html" for name in FLOW.names("figures") + FLOW.names("tables")],
    log:
        f"{RESULTS}/pages.log",
    conda:
        ENVIRONMENT
    params:
        suite=FLOW.suite_file,
        folder=subpath(output.claims, parent=True),
    shell:
        "python -m crossres pages --suite {params.suite:q} --summary {input.summary:q} --records {input.records:q}"
        " --claims {input.claims:q} --output-dir {params.folder:q} 2>&1 | tee {log:q}"
