"""The search for the shapes of width targets: candidates of equal size, each pruned and briefly retrained."""


use rule prune as prune_candidate with:
    output:
        # Its retraining reads it, and nothing else: at full size it would fill the disk.
        model=temp(directory(paths.model("{run}"))),
        manifest=paths.manifest("{run}"),
    wildcard_constraints:
        run="|".join(map(re.escape, study.pruned_candidates)) or "none",


rule choose_shapes:
    """Choose the best candidate of each searched target, and write the target files that all its runs share."""
    input:
        expand(paths.manifest("{run}"), run=study.candidates),
    output:
        table=report(
            paths.shape_search,
            caption="../report/shape_search.rst",
            category=ReportFolder.FILES,
            labels={"file": "shape_search.csv"},
        ),
        targets=[paths.target(name) for name in study.searched_targets],
    log:
        paths.logs / "choose_shapes.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        study=study.name,
        # Not the whole study: a change elsewhere in it leaves the choice as it is.
        searches=canonical_json(
            {
                name: {run: target.to_dict() for run, target in candidates.items()}
                for name, candidates in searches_of(study).items()
            }
        ),
    message:
        "Choose the shapes of the width targets"
    shell:
        "python workflow/scripts/choose_shapes.py --study {params.study} --searches {params.searches:q} 2> {log:q}"


rule shape_search:
    """The search for the shapes, and nothing else."""
    input:
        rules.choose_shapes.output,
    localrule: True
