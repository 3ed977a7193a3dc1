"""The report, and pages for Snakemake's own, which shows .html and pictures, and only offers other files for download."""


rule write_page:
    """Write the claims or a printed table as a page."""
    input:
        lambda wildcards: (
            rules.state_claims.output.markdown
            if wildcards.page == "claims"
            else paths.published / f"{wildcards.page}.md"
        ),
    output:
        report(
            paths.pages / "{page}.html",
            caption="../report/page.rst",
            category=lambda wildcards: pages[wildcards.page].folder,
            labels={"page": "{page}"},
        ),
    log:
        paths.logs / "pages" / "{page}.log",
    wildcard_constraints:
        page="|".join(pages),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        # Read by page.rst.
        caption=lambda wildcards: pages[wildcards.page].caption,
    message:
        "Write the page {wildcards.page}"
    shell:
        "python workflow/scripts/write_page.py --markdown {input:q} --out {output:q} 2> {log:q}"


rule write_report:
    """Write the report: verdicts, figures and tables in one page."""
    input:
        rules.tabulate.output,
        rules.state_claims.output,
        rules.publish_tables.output,
        rules.draw_figures.output,
        captions=[f"workflow/{figure.caption}" for figure in figures.values()],
    output:
        paths.report,
    log:
        paths.logs / "write_report.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        results=paths.results,
        figures=paths.figures,
    message:
        "Write the report"
    shell:
        "python workflow/scripts/write_report.py --results {params.results:q} --figures {params.figures:q}"
        " --out {output:q} 2> {log:q}"
