"""Training by token plan: parents, retraining, baselines from scratch, and the trunks that some of them share."""


rule train:
    """Train one run by its token plan. Resume state lives in work/ and survives a kill."""
    input:
        unpack(lambda wildcards: starting_point(study, wildcards.run)),
        tokens=lambda wildcards: study.text.of_run(wildcards.run),
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
    priority: lambda wildcards: priority_of(study.recorded_runs, wildcards.run)
    conda:
        ENVIRONMENT
    threads: lambda wildcards: study.config.training.threads * study.processes.training(wildcards.run)
    resources:
        **allocation.training,
    params:
        threads=study.config.training.threads,
        plan=lambda wildcards: study.run(wildcards.run).plan.without_saving,
        # A function of `output` never triggers a rerun in Snakemake, and saving changes no result.
        saving=lambda wildcards, output: saving(study),
        options=lambda wildcards: training_options(study, wildcards.run),
        # A trial of a search leaves no checkpoint.
        out=lambda wildcards, output: [f"--out={path}" for path in [output.get("trained")] if path],
        work=paths.work / "train",
        report=[f"--report-to={name}" for name in study.config.training.report_to],
    message:
        "Train {wildcards.run}"
    shell:
        "python workflow/scripts/launch.py --nodes {resources.nodes} --processes {resources.processes}"
        " --threads {params.threads} workflow/scripts/train.py"
        " --plan {params.plan:q} --saving {params.saving:q} {params.options:q} --tokens {input.tokens:q}"
        " --validation {input.validation:q} --tokenizer {input.tokenizer:q} --work {params.work:q} {params.report:q}"
        " {params.out:q} --metrics {output.metrics:q} --manifest {output.manifest:q} 2> {log:q}"


use rule train as train_trunk with:
    output:
        trained=directory(paths.state("{run}")),
        metrics=paths.metrics("{run}"),
        manifest=paths.manifest("{run}"),
    wildcard_constraints:
        run="|".join(map(re.escape, study.trunks)) or "none",


use rule train as train_trial with:
    output:
        metrics=paths.metrics("{run}"),
        manifest=paths.manifest("{run}"),
    wildcard_constraints:
        run="|".join(map(re.escape, study.tried_runs)) or "none",


rule choose_learning_rates:
    """Choose the peak learning rates from the trials of a sweep."""
    input:
        expand(paths.manifest("{run}"), run=study.trials),
    output:
        table=report(
            paths.sweep.with_suffix(".csv"),
            caption="../report/sweep.rst",
            category=ReportFolder.FILES,
            labels={"file": "sweep.csv"},
        ),
        chosen=paths.sweep,
    log:
        paths.logs / "choose_learning_rates.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        # Without what changes no run: all that the rates are for would be trained again.
        config=lambda wildcards: study.config.model_dump_json(
            exclude={
                "cluster": True,
                "figures": True,
                "publishing": True,
                "pruning": {"processes"},
                "training": SAVING,
                "tokenizer": {"shard_tokens"},
            }
        ),
    message:
        "Choose the learning rates"
    shell:
        "python workflow/scripts/choose_learning_rates.py --config {params.config:q} 2> {log:q}"


rule sweep:
    """The search for the peak learning rate, and nothing else."""
    input:
        rules.choose_learning_rates.output,
