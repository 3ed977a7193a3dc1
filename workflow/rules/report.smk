"""Pages that the report shows. Snakemake shows .html and pictures, and only offers other files for download."""

PAGES = {
    "claims": CLAIMS,
    "verdicts": CLAIMS,
    "overview": ACCOUNTS,
    "accounting": ACCOUNTS,
    "provenance": ORIGINS,
    "versions": ORIGINS,
    "hyperparameters": ORIGINS,
} | {
    table: PRINTED
    for table in ("main", "transfer", "tasks", "efficiency", "reported", "reported_numbers")
}


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
            category=lambda wildcards: PAGES[wildcards.page],
            labels={"page": "{page}"},
        ),
    log:
        paths.logs / "pages" / "{page}.log",
    wildcard_constraints:
        page="|".join(PAGES),
    localrule: True
    conda:
        ENVIRONMENT
    message:
        "Write the page {wildcards.page}"
    shell:
        "python workflow/scripts/write_page.py --markdown {input:q} --out {output:q} 2> {log:q}"
