"""Targets, scores that serve every ratio, and the pruning of a run to each target."""


rule target:
    """Write what a ratio means: the shape, or the ratio and pattern of a mask. Pruned and scratch runs share it."""
    output:
        paths.target("{target}"),
    log:
        paths.logs / "targets" / "{target}.log",
    wildcard_constraints:
        target="|".join(map(re.escape, study.given_targets)),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        target=lambda wildcards: canonical_json(study.given_targets[wildcards.target].to_dict()),
    message:
        "Write the target {wildcards.target}"
    shell:
        "python workflow/scripts/write_target.py --target {params.target:q} --out {output:q} 2> {log:q}"


rule score:
    """Score the blocks or channels of a run for one method: one calibration for all ratios."""
    input:
        model=paths.model("{run}"),
        calibration=paths.tokens / "calibration",
        tokenizer=paths.tokenizer,
    output:
        scores=paths.scores("{run}", "{method}"),
        manifest=paths.scores("{run}", "{method}").with_suffix(".manifest.json"),
    log:
        paths.logs / "score" / "{run}-{method}.log",
    benchmark:
        paths.benchmarks / "score" / "{run}-{method}.tsv"
    wildcard_constraints:
        run="|".join(re.escape(run) for run, _ in study.scorings),
        method="|".join(re.escape(method) for _, method in study.scorings),
    conda:
        ENVIRONMENT
    threads: study.config.training.threads
    resources:
        **allocation.scoring,
    params:
        options=lambda wildcards: scoring_options(study, wildcards.run, wildcards.method),
    message:
        "Score {wildcards.run} for {wildcards.method}"
    shell:
        "python workflow/scripts/launch.py --threads {threads} workflow/scripts/score.py --model {input.model:q}"
        " --calibration {input.calibration:q} --tokenizer {input.tokenizer:q} {params.options:q} --out {output.scores:q}"
        " --manifest {output.manifest:q} 2> {log:q}"


rule prune:
    """Prune a run by one method to one target; the mask of a sparse model lies beside its weights."""
    input:
        unpack(lambda wildcards: pruning_inputs(study, wildcards.run)),
        model=lambda wildcards: paths.model(study.run(wildcards.run).start),
        target=lambda wildcards: paths.target(study.run(wildcards.run).target.name),
        tokenizer=paths.tokenizer,
    output:
        model=directory(paths.model("{run}")),
        manifest=paths.manifest("{run}"),
    log:
        paths.logs / "prune" / "{run}.log",
    benchmark:
        paths.benchmarks / "prune" / "{run}.tsv"
    wildcard_constraints:
        run="|".join(map(re.escape, study.pruned_runs)),
    # Where masks are learned, retraining waits for the longest of all pruning steps.
    priority: lambda wildcards: priority_of(study.recorded_runs, wildcards.run)
    conda:
        ENVIRONMENT
    threads: lambda wildcards: study.config.training.threads * study.processes.pruning(wildcards.run)
    resources:
        **allocation.pruning,
    params:
        # Triggers no rerun, as in training.
        saving=lambda wildcards, output: saving(study),
        options=lambda wildcards: pruning_options(study, wildcards.run),
        threads=study.config.training.threads,
        work=paths.work / "prune",
    message:
        "Prune {wildcards.run}"
    shell:
        "python workflow/scripts/launch.py --processes {resources.processes} --threads {params.threads}"
        " workflow/scripts/prune.py --run {wildcards.run:q}"
        " --model {input.model:q} --target {input.target:q} --tokenizer {input.tokenizer:q} {params.options:q}"
        " --saving {params.saving:q} --work {params.work:q} --out {output.model:q}"
        " --manifest {output.manifest:q} 2> {log:q}"
