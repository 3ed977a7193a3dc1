"""Training by token plan: parents, retraining, and baselines from scratch."""


def starting_point(wildcards):
    """A run starts from another run's weights, or from random weights of its target's shape."""
    run = study.run(wildcards.run)
    if run.start is not None:
        return {"model": paths.model(run.start)}
    return {"target": paths.target(run.target.name)} | (
        {"masked": paths.model(run.mask)} if run.mask else {}
    )


def starting_arguments(wildcards):
    """The starting point and the mask as options of train.py."""
    run = study.run(wildcards.run)
    start = (
        f"--model={paths.model(run.start)}"
        if run.start
        else f"--target={paths.target(run.target.name)}"
    )
    return [start] + ([f"--mask={paths.model(run.mask) / 'mask.safetensors'}"] if run.mask else [])


rule train:
    """Train one run by its token plan. Resume state lives in work/ and survives a kill."""
    input:
        unpack(starting_point),
        tokens=paths.tokens / "train",
        validation=paths.tokens / "validation",
        tokenizer=paths.tokenizer,
    output:
        model=directory(paths.model("{run}")),
        metrics=paths.runs / "{run}" / "metrics.jsonl",
        manifest=paths.manifest("{run}"),
    log:
        paths.logs / "train" / "{run}.log",
    benchmark:
        paths.benchmarks / "train" / "{run}.tsv"
    params:
        plan=lambda wildcards: study.run(wildcards.run).plan.model_dump_json(),
        start=starting_arguments,
        work=paths.work / "train",
    wildcard_constraints:
        run="|".join(map(re.escape, study.trained_runs)),
    # Everything pruned waits for its parent: it goes first, then the longest runs.
    priority: lambda wildcards: study.priority(wildcards.run)
    threads: study.config.training.threads
    conda:
        ENVIRONMENT
    message:
        "Train {wildcards.run}"
    shell:
        "{PYTHON} {SCRIPTS}/train.py --plan {params.plan:q} {params.start:q} --tokens {input.tokens:q}"
        " --validation {input.validation:q} --tokenizer {input.tokenizer:q} --work {params.work:q}"
        " --out {output.model:q} --metrics {output.metrics:q} --manifest {output.manifest:q} 2> {log:q}"
