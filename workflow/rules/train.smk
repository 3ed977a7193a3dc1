"""Training by token plan: parents, retraining, baselines from scratch, and the trunks that some of them share."""


rule train:
    """Train one run by its token plan. Resume state lives in work/ and survives a kill."""
    input:
        unpack(lambda wildcards: study.starting_point(wildcards.run)),
        tokens=paths.tokens / "train",
        validation=paths.tokens / "validation",
        tokenizer=paths.tokenizer,
    output:
        trained=directory(paths.model("{run}")),
        metrics=paths.metrics("{run}"),
        manifest=paths.manifest("{run}"),
    log:
        paths.logs / "train" / "{run}.log",
    benchmark:
        paths.benchmarks / "train" / "{run}.tsv"
    wildcard_constraints:
        run="|".join(map(re.escape, study.trained_runs)),
    # Everything pruned waits for its parent: it goes first, then the longest runs and what they wait for.
    priority: lambda wildcards: study.priority(wildcards.run)
    conda:
        ENVIRONMENT
    threads: study.config.training.threads * study.config.training.processes
    params:
        launch=study.launch("workflow/scripts/train.py"),
        plan=lambda wildcards: study.run(wildcards.run).plan.model_dump_json(),
        start=lambda wildcards: [
            f"--{option}={path}" for option, path in study.starting_point(wildcards.run).items()
        ],
        work=paths.work / "train",
        report=[f"--report-to={name}" for name in study.config.training.report_to],
    message:
        "Train {wildcards.run}"
    shell:
        "python {params.launch:q} --plan {params.plan:q} {params.start:q} --tokens {input.tokens:q}"
        " --validation {input.validation:q} --tokenizer {input.tokenizer:q} --work {params.work:q} {params.report:q}"
        " --out {output.trained:q} --metrics {output.metrics:q} --manifest {output.manifest:q} 2> {log:q}"


use rule train as train_trunk with:
    output:
        trained=directory(paths.state("{run}")),
        metrics=paths.metrics("{run}"),
        manifest=paths.manifest("{run}"),
    wildcard_constraints:
        run="|".join(map(re.escape, study.trunks)) or "none",
