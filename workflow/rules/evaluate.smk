"""Evaluation of every checkpoint: loss on held-out corpora, and lm-eval tasks."""

TASKS = list(study.config.evaluation.tasks.local)


rule evaluate:
    """Evaluate a group of checkpoints in one process: one import, one load a checkpoint."""
    input:
        models=lambda wildcards: [
            paths.model(run) for run in study.evaluation_groups[wildcards.group]
        ],
        tokens=expand(paths.tokens / "{corpus}", corpus=study.config.evaluation.perplexity.corpora),
        task_items=expand(paths.task_items / "{task}.jsonl", task=TASKS),
        definitions=expand("config/tasks/{task}.yaml", task=TASKS),
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
    threads: study.config.training.threads
    resources:
        **allocation.evaluation,
    params:
        checkpoints=lambda wildcards: [
            f"--checkpoint={run}={paths.model(run)}"
            for run in study.evaluation_groups[wildcards.group]
        ],
        tasks=[f"--task={task}={paths.task_items / task}.jsonl" for task in TASKS],
        tokens=paths.tokens,
        corpora=canonical_json(study.config.evaluation.perplexity.corpora),
        length=study.config.evaluation.perplexity.sequence_length,
        batch_size=study.config.evaluation.perplexity.batch_size,
        threads=study.config.training.threads,
        work=paths.work / "evaluate",
    message:
        "Evaluate the checkpoints of {wildcards.group}"
    shell:
        "python workflow/scripts/evaluate_checkpoints.py {params.checkpoints:q} {params.tasks:q}"
        " --task-definitions config/tasks --tokens {params.tokens:q} --corpora {params.corpora:q}"
        " --sequence-length {params.length} --batch-size {params.batch_size} --threads {params.threads}"
        " --work {params.work:q} --out {output.scores:q} --manifest {output.manifest:q} 2> {log:q}"
