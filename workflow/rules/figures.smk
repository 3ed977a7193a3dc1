"""Figures, from the tables alone."""


rule draw_figures:
    """Draw each figure that the study has as pdf and png, with its data as csv. One process reads the tables for all."""
    input:
        [paths.results / table for table in needed_tables(figures.values())],
    output:
        expand(paths.figures / "{figure}.{kind}", figure=figures, kind=["pdf", "csv"]),
        [
            report(
                paths.figures / f"{figure.name}.png",
                caption=f"../{figure.caption}",
                category=ReportFolder.FIGURES,
                labels={"figure": figure.name},
            )
            for figure in figures.values()
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
        figures=list(figures),
        size=study.config.figures.size,
    message:
        "Draw the figures"
    shell:
        "python workflow/scripts/draw_figures.py --tables {params.tables:q} --study {params.study}"
        " --out {params.out:q} --size {params.size} --figure {params.figures} 2> {log:q}"
