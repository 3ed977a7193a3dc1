"""From manifests and scores to tables and claims."""


rule tabulate:
    """Collect ledger, results and efficiency; stop when a compared pair is not matched."""
    input:
        manifests=expand(paths.manifest("{run}"), run=study.recorded_runs),
        scores=expand(paths.evaluation / "{group}", group=study.evaluation_groups),
        speed=rules.measure_speed.output.speed if study.config.evaluation.speed else [],
        metrics=expand(paths.metrics("{run}"), run=study.trained_runs),
        pruned=expand(paths.model("{run}"), run=study.pruned_runs),
        importance=[paths.scores(run, method) for run, method in study.scorings],
        targets=[paths.target(name) for name in study.searched_targets],
        reported="config/reported.csv",
    output:
        config=paths.results / "config.yaml",
        ledger=report(
            paths.results / "ledger.csv",
            caption="../report/ledger.rst",
            category=ReportFolder.FILES,
            labels={"file": "ledger.csv"},
        ),
        results=report(
            paths.results / "results.csv",
            caption="../report/results.rst",
            category=ReportFolder.FILES,
            labels={"file": "results.csv"},
        ),
        efficiency=report(
            paths.results / "efficiency.csv",
            caption="../report/efficiency.rst",
            category=ReportFolder.FILES,
            labels={"file": "efficiency.csv"},
        ),
        times=report(
            paths.results / "times.csv",
            caption="../report/times.rst",
            category=ReportFolder.FILES,
            labels={"file": "times.csv"},
        ),
        provenance=paths.results / "provenance.csv",
        tables=[
            paths.tables / name
            for name in (
                "runs.csv",
                "pairs.csv",
                "losses.parquet",
                "items.parquet",
                "curves.parquet",
                "importance.parquet",
                "shape_search.csv",
                "reported.csv",
                *(["arm_pairs.csv"] if study.arms else []),
            )
        ],
    log:
        paths.logs / "tabulate.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        config=lambda wildcards: study.config.model_dump_json(),
    message:
        "Collect the results and check that compared runs are matched"
    shell:
        "python workflow/scripts/tabulate_study.py --config {params.config:q}"
        " --reported {input.reported:q} 2> {log:q}"


rule state_claims:
    """Test the paper's claims on the tables."""
    input:
        rules.tabulate.output.tables,
    output:
        gaps=report(
            paths.tables / "gaps.csv",
            caption="../report/gaps.rst",
            category=ReportFolder.FILES,
            labels={"file": "gaps.csv"},
        ),
        task_gaps=report(
            paths.tables / "task_gaps.csv",
            caption="../report/task_gaps.rst",
            category=ReportFolder.FILES,
            labels={"file": "task_gaps.csv"},
        ),
        crossover=report(
            paths.tables / "crossover.csv",
            caption="../report/crossover.rst",
            category=ReportFolder.FILES,
            labels={"file": "crossover.csv"},
        ),
        transfer=report(
            paths.tables / "transfer.csv",
            caption="../report/transfer.rst",
            category=ReportFolder.FILES,
            labels={"file": "transfer.csv"},
        ),
        arms=[paths.tables / "arms.csv"] if study.arms else [],
        json=paths.results / "claims.json",
        markdown=paths.results / "claims.md",
    log:
        paths.logs / "state_claims.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        results=paths.results,
        study=study.name,
        settings=study.config.claims.model_dump_json(),
    message:
        "Test the paper's claims"
    shell:
        "python workflow/scripts/state_claims.py --results {params.results:q} --study {params.study}"
        " --settings {params.settings:q} 2> {log:q}"


rule publish_tables:
    """Write the tables as a paper prints them: csv, Markdown and LaTeX."""
    input:
        rules.tabulate.output,
        rules.state_claims.output.gaps,
        rules.state_claims.output.task_gaps,
        rules.state_claims.output.transfer,
        rules.state_claims.output.json,
    output:
        [
            report(
                paths.published / f"{table}.csv",
                caption="../report/published.rst",
                category=ReportFolder.FILES,
                labels={"file": f"printed/{table}.csv"},
            )
            for table in published
        ],
        expand(paths.published / "{table}.{kind}", table=published, kind=["md", "tex"]),
    log:
        paths.logs / "publish_tables.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        results=paths.results,
        out=paths.published,
    message:
        "Write the tables for print"
    shell:
        "python workflow/scripts/publish_tables.py --results {params.results:q} --out {params.out:q} 2> {log:q}"
