"""Inputs of the printed tables, and how the tables are written."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from pruning_vs_scratch.cli import refuse_elsewhere
from pruning_vs_scratch.config.load import parse_config, read_study_file
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import read_json, write_text
from pruning_vs_scratch.tables.load import Tables
from pruning_vs_scratch.tables.write import write_csv

MISSING = "–"
NUMBER = re.compile(rf"{MISSING}$|[+-]?\d")
"""Start of a cell with a number, perhaps with a unit or an interval, or with a dash."""

LONG_CELL = 50
"""Characters beyond which LaTeX wraps a cell's text."""
LONG_COLUMN, LONG_COLUMNS = 0.3, 0.7
"""Largest width of one such column and of all of them together, as shares of a line."""


@dataclass(frozen=True)
class Stored:
    """A study's results folder; its files are read when first asked for."""

    folder: Path

    @cached_property
    def tables(self) -> Tables:
        """The tables behind claims and figures."""
        return Tables(self.folder / "tables")

    @cached_property
    def results(self) -> pd.DataFrame:
        """Every score of every run."""
        return self._read("results.csv")

    @cached_property
    def ledger(self) -> pd.DataFrame:
        """What each run read and spent."""
        return self._read("ledger.csv")

    @cached_property
    def efficiency(self) -> pd.DataFrame:
        """Size and speed of each run."""
        return self._read("efficiency.csv")

    @cached_property
    def provenance(self) -> pd.DataFrame:
        """Code, hardware, versions, time and memory of each phase."""
        return self._read("provenance.csv")

    @cached_property
    def claims(self) -> dict[str, Any]:
        """The tested claims."""
        found: dict[str, Any] = read_json(self.folder / "claims.json")
        return found

    @cached_property
    def config(self) -> StudyConfig:
        """The whole configuration as it was run."""
        path = self.folder / "config.yaml"
        if not path.exists():
            refuse_elsewhere(path)
            raise UserError(f"{path} is missing: run the workflow up to its tables first")
        return parse_config(read_study_file(path))

    def _read(self, name: str) -> pd.DataFrame:
        path = self.folder / name
        try:
            return pd.read_csv(path)
        except (FileNotFoundError, ValueError) as error:
            raise UserError(f"cannot read {path} ({error}): run the workflow up to its tables again") from error


def rates_apart(stored: Stored) -> pd.DataFrame:
    """The stored pairs whose two sides have different peak learning rates, with both rates."""
    rates = stored.ledger.set_index("run")["peak_lr"]
    pairs = stored.tables.pairs
    sides = {f"peak_lr_{side}": pairs[side].map(rates) for side in ("retrained", "scratch")}
    pairs = pairs.assign(**sides)
    return pairs[pairs["peak_lr_retrained"] != pairs["peak_lr_scratch"]]


@dataclass(frozen=True)
class Published:
    """One table: its numbers, and its cells as text under the headings that are printed."""

    title: str
    numbers: pd.DataFrame
    printed: pd.DataFrame

    @property
    def alignments(self) -> list[str]:
        """'right' for each column with only numbers, 'left' for text."""
        columns = [self.printed[name].astype(str) for name in self.printed]
        return [
            "right" if cells.str.match(NUMBER).all() and not long else "left"
            for cells, long in zip(columns, self.long, strict=True)
        ]

    @property
    def long(self) -> list[bool]:
        """Which columns have text that must be wrapped."""
        return [bool(self.printed[name].astype(str).str.len().max() > LONG_CELL) for name in self.printed]


def write(published: Published, name: str, folder: Path) -> None:
    """Write NAME.csv, NAME.md and NAME.tex."""
    write_csv(folder / f"{name}.csv", published.numbers)
    cells = published.printed.to_markdown(index=False, disable_numparse=True, colalign=published.alignments)
    write_text(folder / f"{name}.md", f"# {published.title}\n\n{cells}\n")
    write_text(folder / f"{name}.tex", latex(published))


def latex(published: Published) -> str:
    """The table for LaTeX with the package booktabs."""
    style = published.printed.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    width = min(LONG_COLUMN, LONG_COLUMNS / max(1, sum(published.long)))
    columns = "".join(
        rf"p{{{width:.2g}\linewidth}}" if long else alignment[0]
        for long, alignment in zip(published.long, published.alignments, strict=True)
    )
    text: str = style.to_latex(hrules=True, caption=_escaped(published.title), column_format=columns)
    return text


def _escaped(text: str) -> str:
    return text.replace("%", r"\%").replace("_", r"\_")


def number(value: float | None, form: str) -> str:
    """A number in a format, or a dash where there is none."""
    return MISSING if value is None or pd.isna(value) else format(value, form)


def with_interval(value: float, low: float, high: float, form: str = "+.3f") -> str:
    """'+0.512 [+0.498, +0.526]', or a dash."""
    if pd.isna(value):
        return MISSING
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"
