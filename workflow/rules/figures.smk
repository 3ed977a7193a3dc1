"""Figures, from the tables alone."""


rule draw_figures:
    """Draw each figure as pdf and png, with the data that it shows as csv. One process reads the tables for all."""
    input:
        [paths.results / table for table in needed_tables()],
    output:
        expand(paths.figures / "{figure}.{kind}", figure=FIGURES, kind=["pdf", "csv"]),
        [
            report(
                paths.figures / f"{figure.name}.png",
                caption=f"../{figure.caption}",
                category=ReportFolder.FIGURES,
                labels={"figure": figure.name},
            )
            for figure in FIGURES.values()
        ],
    log:
        paths.logs / "draw_figures.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        tables=paths.tables,
        study=study.name,
        out=paths.figures,
        size=study.config.figures.size,
    message:
        "Draw the figures"
    shell:
        "python workflow/scripts/draw_figures.py --tables {params.tables:q} --study {params.study}"
        " --out {params.out:q} --size {params.size} 2> {log:q}"
