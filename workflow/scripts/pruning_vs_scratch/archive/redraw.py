"""Tables, claims and figures of an archive, made again from its records, and compared with those that it holds."""

import contextlib
from pathlib import Path

from pruning_vs_scratch.archive.compare import Match, compare
from pruning_vs_scratch.config.load import read_study_file
from pruning_vs_scratch.figures import FIGURES
from pruning_vs_scratch.figures.save import METADATA, save
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.derive import derive_claims
from pruning_vs_scratch.tables.load import Tables
from pruning_vs_scratch.tables.published import PUBLISHED
from pruning_vs_scratch.tables.published.stored import Stored, write
from pruning_vs_scratch.tables.tabulate import tabulate

REPORTED = Path("config/reported.csv")


def redraw(folder: Path, study_name: str) -> dict[str, Match]:
    """Make again what an unpacked archive holds of tables, claims and figures, in its place; how each file compares.

    What the archive held before lies in ``folder``/archived afterwards.

    Raises:
        UserError: records are missing, or the compared runs are not matched.
    """
    with contextlib.chdir(folder):
        archived = Path("archived")
        config = Path("results", study_name, "config.yaml")
        study = Study(read_study_file(config))
        for path in _derived(study):
            (archived / path).parent.mkdir(parents=True, exist_ok=True)
            path.rename(archived / path)
        _derive(study)
        before = sorted(file.relative_to(archived) for file in archived.rglob("*") if file.is_file())
        return {str(file): compare(archived / file, file) if file.exists() else Match.DIFFERENT for file in before}


def _derived(study: Study) -> list[Path]:
    """What is made from the records: files and folders."""
    results = study.paths.results
    names = (
        "config.yaml",
        "ledger.csv",
        "results.csv",
        "efficiency.csv",
        "times.csv",
        "provenance.csv",
        "claims.json",
        "claims.md",
    )
    figures = [study.paths.figures / f"{name}.{kind}" for name in FIGURES for kind in ("csv", *METADATA)]
    return [*(results / name for name in names), study.paths.tables, study.paths.published, *figures]


def _derive(study: Study) -> None:
    results = study.paths.results
    tabulate(study, REPORTED)
    derive_claims(results, study.name, study.config.claims)
    for name, make in PUBLISHED.items():
        write(make(Stored(results)), name, study.paths.published)
    for name, drawing in FIGURES.items():
        save(drawing, name, Tables(study.paths.tables), study.name, study.paths.figures, study.config.figures.size)
