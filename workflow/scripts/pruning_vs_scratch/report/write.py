"""Making the page from a study's tables and figures."""

import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pruning_vs_scratch.figures.catalogue import figures_of
from pruning_vs_scratch.files import write_text
from pruning_vs_scratch.report.findings import finding, tally
from pruning_vs_scratch.report.grids import printed_grid
from pruning_vs_scratch.report.layout import layout
from pruning_vs_scratch.report.neighbours import neighbours
from pruning_vs_scratch.report.pictures import pictures
from pruning_vs_scratch.report.setting import setting
from pruning_vs_scratch.report.sizes import sizes_grid
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.published.stored import Stored
from pruning_vs_scratch.tables.reported import GRADES

TEMPLATE, STYLE = "page.html.jinja", "page.css"
LOSSES_AND_SCORES = ("main", "transfer", "tasks")
"""Printed tables that stand behind the figures before those of size and speed and of the paper."""
TIMES = ("phase", "jobs", "all jobs", "longest job", "memory")
MACHINES = ("phase", "hardware", "code")


def write_report(results: Path, figures: Path, out: Path) -> None:
    """Write the page of a study, the same bytes for the same tables and figures.

    Args:
        results: the study's results folder; the page leads to files there.
        figures: the folder of its drawn figures.
        out: the page, a .html; its links hold if it lies in ``results``.

    Raises:
        UserError: a table or figure is missing, or cannot be read.
    """
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    write_text(out, environment.get_template(TEMPLATE).render(_content(Stored(results), figures)))


def _content(stored: Stored, figures: Path) -> dict[str, Any]:
    """What the template is filled with."""
    claims = stored.claims
    findings = [finding(claim) for claim in claims["claims"]]
    study = Study(stored.config.model_dump(mode="json"))
    shown, without_data = pictures(figures, figures_of(study))
    return {
        "study": claims["study"],
        "style": (Path(__file__).parent / STYLE).read_text(encoding="utf-8"),
        "setting": setting(stored),
        "findings": findings,
        "tally": tally(findings),
        "confidence": claims["claims"][0]["confidence"],
        "covers": next((claim["covers"] for claim in claims["claims"] if claim["covers"]), None),
        "margin": claims["margin"],
        "times_read": claims["times_read"],
        "layout": layout(findings, shown),
        "without_data": without_data,
        "figures": Path(os.path.relpath(figures, stored.folder)).as_posix(),
        "numbers": [
            *(printed_grid(stored, name) for name in LOSSES_AND_SCORES),
            sizes_grid(stored),
            printed_grid(stored, "reported"),
            printed_grid(
                stored, "reported_numbers", title="Every number of the paper and of its authors that is known here"
            ),
        ],
        "overview": printed_grid(stored, "overview"),
        "accounting": printed_grid(stored, "accounting"),
        "arms": printed_grid(stored, "arms") if study.arms else None,
        "times": printed_grid(
            stored, "provenance", TIMES, "Time and memory of each phase; its jobs may have run at the same time"
        ),
        "hyperparameters": printed_grid(stored, "hyperparameters"),
        "machines": printed_grid(stored, "provenance", MACHINES, "Hardware and code of each phase"),
        "versions": printed_grid(stored, "versions"),
        "hashes": list(dict.fromkeys(stored.provenance["source_hash"])),
        "files": neighbours(stored.folder),
        "grades": GRADES,
    }
