"""Tables, claims and figures of an archive, remade from its records and compared with the archived ones."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from pruning_vs_scratch.archive.compare import Match, compare
from pruning_vs_scratch.archive.listing import Listing
from pruning_vs_scratch.archive.restyle import Restyle
from pruning_vs_scratch.config.load import read_study_file
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.figures.save import METADATA
from pruning_vs_scratch.files import sha256_of_file
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.derive import derive_claims
from pruning_vs_scratch.tables.load import Tables
from pruning_vs_scratch.tables.published.catalogue import published_of
from pruning_vs_scratch.tables.published.stored import Stored, write
from pruning_vs_scratch.tables.tabulate import tabulate

REPORTED = Path("config/reported.csv")


def redraw(folder: Path, listing: Listing, restyle: Restyle) -> dict[str, Match]:
    """Remake the tables, claims and figures of an unpacked archive in place; returns how each file compares.

    The archived versions are moved to ``folder``/archived. Pictures that a small archive lacks are compared with its
    listing; its tables of curves and of importance are not remade, but copied. With fewer methods, the data of a figure
    differ, and it counts as restyled. A figure added since the archive was written is new.

    Raises:
        UserError: records are missing, the compared runs do not match, or the study lacks a method.
    """
    with contextlib.chdir(folder):
        archived = Path("archived")
        config = Path("results", listing.study, "config.yaml")
        study = Study(read_study_file(config))
        restyle = restyle.of(study)
        lacking = {name for name in listing.left_out if Path(name).stem in restyle.figures}
        tables = Tables(study.paths.tables)
        taken = {"curves": tables.curves, "importance": tables.importance} if listing.is_small else {}
        known = [name for name in restyle.figures if _is_archived(study, name, listing)]
        for path in _derived(study, known):
            if path.as_posix() not in lacking:
                if not path.exists():
                    raise UserError(f"the archive of study {study.name} holds no {path}: redraw it with its own code")
                (archived / path).parent.mkdir(parents=True, exist_ok=True)
                path.rename(archived / path)
        _derive(study, taken)
        restyle.draw(study.paths.tables, study.name, study.paths.figures, study.config.figures.size)
        before = [file.relative_to(archived) for file in archived.rglob("*") if file.is_file()]
        found = {
            file.as_posix(): compare(archived / file, file) if file.exists() else Match.DIFFERENT for file in before
        }
        found |= {name: _compare_with_listing(Path(name), listing) for name in lacking}
        found |= {file.as_posix(): Match.NEW for file in _files(study, set(restyle.figures) - set(known))}
        if restyle.methods:
            found |= {name: _of_fewer_methods(match) for name, match in found.items() if name.startswith("figures/")}
        for name in taken:
            del found[(study.paths.tables / f"{name}.parquet").as_posix()]
        return dict(sorted(found.items()))


def _compare_with_listing(picture: Path, listing: Listing) -> Match:
    if not picture.exists():
        return Match.DIFFERENT
    same = sha256_of_file(picture) == listing.left_out[picture.as_posix()].sha256
    return Match.IDENTICAL if same else Match.DRAWN_OTHERWISE


def _of_fewer_methods(match: Match) -> Match:
    return match if match in (Match.IDENTICAL, Match.NEW) else Match.DRAWN_OTHERWISE


def _is_archived(study: Study, figure: str, listing: Listing) -> bool:
    return any(file.as_posix() in listing.files.keys() | listing.left_out for file in _files(study, [figure]))


def _files(study: Study, figures: Iterable[str]) -> list[Path]:
    return [study.paths.figures / f"{name}.{kind}" for name in figures for kind in ("csv", *METADATA)]


def _derived(study: Study, figures: Iterable[str]) -> list[Path]:
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
    return [*(results / name for name in names), study.paths.tables, study.paths.published, *_files(study, figures)]


def _derive(study: Study, taken: dict[str, pd.DataFrame]) -> None:
    results = study.paths.results
    tabulate(study, REPORTED, **taken)
    derive_claims(results, study.name, study.config.claims)
    for table in published_of(bool(study.arms)).values():
        write(table.make(Stored(results)), table.name, study.paths.published)
