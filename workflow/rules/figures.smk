"""Figures, from the tables alone."""


rule draw_figure:
    """Draw one figure as pdf and png, with the data that it shows as csv."""
    input:
        rules.tabulate.output.tables,
        rules.state_claims.output.gaps,
        rules.state_claims.output.task_gaps,
        rules.state_claims.output.crossover,
        rules.state_claims.output.transfer,
        rules.tabulate.output.efficiency,
    output:
        pdf=paths.figures / "{figure}.pdf",
        png=report(
            paths.figures / "{figure}.png",
            caption="../report/figure.rst",
            category=DRAWN,
            labels={"figure": "{figure}"},
        ),
        csv=paths.figures / "{figure}.csv",
    log:
        paths.logs / "figures" / "{figure}.log",
    wildcard_constraints:
        figure="|".join(FIGURES),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        tables=paths.tables,
        study=study.name,
        out=paths.figures,
        size=study.config.figures.size,
    message:
        "Draw the figure {wildcards.figure}"
    shell:
        "python workflow/scripts/draw_figures.py --tables {params.tables:q} --study {params.study}"
        " --out {params.out:q} --figure {wildcards.figure} --size {params.size} 2> {log:q}"
