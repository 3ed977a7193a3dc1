"""Targets, and the pruning of the parent to each of them."""


rule target:
    """Write what a ratio means: the shape, or the ratio and pattern of a mask. Pruned and scratch runs share it."""
    output:
        paths.target("{target}"),
    log:
        paths.logs / "targets" / "{target}.log",
    wildcard_constraints:
        target="|".join(map(re.escape, study.targets)),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        target=lambda wildcards: canonical_json(study.targets[wildcards.target].to_dict()),
    message:
        "Write the target {wildcards.target}"
    shell:
        "python workflow/scripts/write_target.py --target {params.target:q} --out {output:q} 2> {log:q}"


rule prune:
    """Prune a parent by one method to one target; the mask of a sparse model lies beside its weights."""
    input:
        model=lambda wildcards: paths.model(study.run(wildcards.run).start),
        target=lambda wildcards: paths.target(study.run(wildcards.run).target.name),
        calibration=paths.tokens / "calibration",
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
    conda:
        ENVIRONMENT
    threads: study.config.training.threads
    params:
        method=lambda wildcards: study.run(wildcards.run).method,
        seed=lambda wildcards: study.run(wildcards.run).seed,
        sequences=study.config.pruning.calibration.sequences,
        sequence_length=study.config.pruning.calibration.sequence_length,
        batch_size=study.config.pruning.calibration.batch_size,
        threads=study.config.training.threads,
    message:
        "Prune {wildcards.run}"
    shell:
        "python workflow/scripts/prune.py --run {wildcards.run:q} --model {input.model:q} --method {params.method}"
        " --target {input.target:q} --calibration {input.calibration:q}"
        " --sequences {params.sequences}"
        " --sequence-length {params.sequence_length}"
        " --batch-size {params.batch_size} --tokenizer {input.tokenizer:q}"
        " --seed {params.seed} --threads {params.threads} --out {output.model:q}"
        " --manifest {output.manifest:q} 2> {log:q}"
