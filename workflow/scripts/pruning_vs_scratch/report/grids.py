"""Tables as the page shows them: cells as text, under headings in full."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pruning_vs_scratch.report.columns import OPERATIONS, WORDS, full_name
from pruning_vs_scratch.report.scaled import operations
from pruning_vs_scratch.tables.claims_text import p_text, steps_text
from pruning_vs_scratch.tables.published.catalogue import PUBLISHED
from pruning_vs_scratch.tables.published.stored import MISSING, NUMBER, Stored

FEW_ROWS = 8
"""Tables of more rows are folded until a reader opens them."""
LONGEST_WORD = 36
"""Characters up to which a cell stays on one line."""
NOT_NUMBERS = ("beginning of the code's hash", "version")
"""Columns of which all cells may begin like a number."""
STEPS = "change between neighbouring budgets, per doubling"
EXPECTED = {"> ": "above ", "< ": "below "}
"""Signs in what a claim predicts, and their words."""


@dataclass(frozen=True)
class Column:
    """A heading, and how the cells below it are set."""

    heading: str
    kind: str
    """'number', 'word', or 'text', which is broken into lines."""


@dataclass(frozen=True)
class Grid:
    """A table: its title, and its cells row by row."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    file: str | None = None
    """Name of its files under ``printed``, if it has any."""

    @property
    def is_long(self) -> bool:
        """Whether it is folded."""
        return len(self.rows) > FEW_ROWS


def grid(title: str, cells: pd.DataFrame, file: str | None = None, words: Collection[str] = ()) -> Grid:
    """A table of text cells; columns are set as numbers if all of their cells are, unless they are named as words."""
    columns = [Column(str(name), "word" if name in words else _kind(cells[name])) for name in cells]
    return Grid(title, columns, cells.to_numpy().tolist(), file)


def printed_grid(stored: Stored, name: str, columns: Sequence[str] = (), title: str | None = None) -> Grid:
    """A printed table, or some of its columns, with their names in full; rows that are then alike stand once."""
    published = PUBLISHED[name].make(stored)
    chosen = published.printed[list(columns or published.printed)].drop_duplicates()
    headings = [str(heading) for heading in chosen]
    cells = pd.DataFrame(
        {full_name(name, heading): _said(heading, chosen[heading].astype(str)) for heading in headings}
    )
    return grid(title or published.title, cells, name, NOT_NUMBERS)


def _said(heading: str, cells: Iterable[str]) -> list[str]:
    """The cells of a column in words and units for people."""
    if heading in OPERATIONS:
        return [operations(float(cell)) for cell in cells]
    words = WORDS.get(heading, {})
    return [words.get(cell, cell) for cell in cells]


def _kind(cells: pd.Series) -> str:
    lengths = cells.str.len()
    if lengths.max() > LONGEST_WORD:
        return "text"
    return "number" if cells.str.match(NUMBER).all() else "word"


def comparisons_grid(claim: dict[str, Any]) -> Grid:
    """The comparisons that a claim was tested on."""
    cells = pd.DataFrame([_comparison(row) for row in claim["comparisons"]])
    if len(set(cells["what is measured"])) == 1:
        title = f"Every comparison: {cells.pop('what is measured').iloc[0]}"
    else:
        title = "Every comparison"
    if not any(row["steps"] for row in claim["comparisons"]):
        cells.pop(STEPS)
    cells = cells.rename(columns={"interval": f"{claim['confidence']:.0%} interval"})
    return grid(title, cells, words=[STEPS])


def _comparison(row: dict[str, Any]) -> dict[str, str]:
    expected = row["expected"]
    for sign, word in EXPECTED.items():
        expected = expected.replace(sign, word)
    return {
        "comparison": row["label"],
        "what is measured": row["quantity"],
        "effect": f"{row['effect']:+.3f}",
        "interval": f"{row['low']:+.3f} to {row['high']:+.3f}",
        "predicted by the claim": expected,
        "p-value, after Holm": p_text(row["p_holm"]),
        "decision": row["decision"] if row["premise"] else f"{row['decision']} (no advantage to begin with)",
        STEPS: steps_text(row["steps"]) or MISSING,
    }
