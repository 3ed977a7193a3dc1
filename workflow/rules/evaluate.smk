"""Evaluation of every checkpoint: loss on held-out corpora, lm-eval tasks, and the speed of each target."""

EVALUATION = study.config.evaluation
TASKS = task_requests(study.config, paths)
TASK_DEFINITIONS = Path("config/tasks")


rule evaluate:
    """Evaluate a group of checkpoints in one process: one import, one load a checkpoint. Needs no network."""
    input:
        models=lambda wildcards: [
            paths.model(run) for run in study.evaluation_groups[wildcards.group]
        ],
        tokens=expand(paths.tokens / "{corpus}", corpus=EVALUATION.perplexity.corpora),
        task_items=[task.path for task in TASKS],
        definitions=[TASK_DEFINITIONS / task.definition for task in TASKS if task.definition],
    output:
        scores=directory(paths.evaluation / "{group}"),
        manifest=paths.evaluation / "{group}.manifest.json",
    log:
        paths.logs / "evaluate" / "{group}.log",
    benchmark:
        paths.benchmarks / "evaluate" / "{group}.tsv"
    wildcard_constraints:
        group="|".join(map(re.escape, study.evaluation_groups)),
    conda:
        ENVIRONMENT
    threads: study.config.training.threads * EVALUATION.processes
    resources:
        **allocation.evaluation,
    params:
        processes=EVALUATION.processes,
        checkpoints=lambda wildcards: [
            f"--checkpoint={run}={paths.model(run)}"
            for run in study.evaluation_groups[wildcards.group]
        ],
        tasks=canonical_json([task.to_dict() for task in TASKS]),
        definitions=TASK_DEFINITIONS,
        tokens=paths.tokens,
        corpora=canonical_json(corpora_to_score(study)),
        reading=reading_options(study),
        batch_size=EVALUATION.perplexity.batch_size,
        precision=EVALUATION.precision,
        threads=study.config.training.threads,
        work=paths.work / "evaluate",
    message:
        "Evaluate the checkpoints of {wildcards.group}"
    shell:
        "python workflow/scripts/launch.py --processes {params.processes} --threads {params.threads}"
        " workflow/scripts/evaluate_checkpoints.py {params.checkpoints:q} --tasks {params.tasks:q}"
        " --task-definitions {params.definitions:q} --tokens {params.tokens:q} --corpora {params.corpora:q}"
        " {params.reading:q} --batch-size {params.batch_size} --precision {params.precision}"
        " --threads {params.threads} --work {params.work:q} --out {output.scores:q}"
        " --manifest {output.manifest:q} 2> {log:q}"


rule measure_speed:
    """Time one checkpoint of each target, one after the other and with nothing beside them."""
    input:
        [paths.model(run) for run in study.measured_runs.values()],
    output:
        speed=paths.speed,
        manifest=paths.speed.with_suffix(".manifest.json"),
    log:
        paths.logs / "measure_speed.log",
    benchmark:
        paths.benchmarks / "measure_speed.tsv"
    conda:
        ENVIRONMENT
    threads: workflow.resource_settings.cores or study.config.training.threads
    resources:
        **allocation.speed,
    params:
        checkpoints=[
            f"--checkpoint={target}={paths.model(run)}"
            for target, run in study.measured_runs.items()
        ],
        settings=EVALUATION.speed.model_dump_json() if EVALUATION.speed else "",
        precision=EVALUATION.precision,
        threads=study.config.training.threads,
    message:
        "Measure the speed of each target"
    shell:
        "python workflow/scripts/measure_speed.py {params.checkpoints:q} --settings {params.settings:q}"
        " --precision {params.precision} --threads {params.threads} --out {output.speed:q}"
        " --manifest {output.manifest:q} 2> {log:q}"
