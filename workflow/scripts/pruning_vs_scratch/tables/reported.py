"""The numbers of the paper and of its authors (config/reported.csv), each with its grade."""

import csv
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.tables.load import COLUMNS

GRADES = {
    "labelled": "printed by its source",
    "read_off": "read off the paper's plot, not exact",
    "secondary": "quoted from the paper by others",
    "preliminary": "from a script of the authors, before the paper",
}
"""What the grades (column precision) mean, best first."""
SIDES = {
    "pruned": "pruned and retrained",
    "scratch": "from scratch",
    "gap": "gap, positive where pruning is better",
    "parent": "parent, unpruned",
    "meta_parent": "released Llama-3.1-8B, unpruned",
}
"""The side that a number belongs to (column setting). Unpruned models have no method."""
UNPRUNED = ("parent", "meta_parent")
BILLION = 10**9
"""The unit of budgets there."""
COLUMN_NAMES = COLUMNS["reported.csv"]
NUMBERS = ("ratio", "budget_b", "value")
QUANTITY = re.compile(r"val_loss|avg_acc|(?P<on>\w+)_(?P<kind>ppl|acc)")
SERIES = re.compile(r"^(?P<method>.*?)(?:_(?P<pattern>\d+of\d+|unstructured))?$")
"""A method, and the pattern of a sparse one: sparsegpt_2of4."""


def reported_table(path: Path) -> pd.DataFrame:
    """The rows of a file of reported numbers; budgets are in billions of tokens, NaN if unknown.

    Raises:
        UserError: it is missing or no CSV, or a line is not a number with its grade, or repeats one; says which line.
    """
    rows: list[dict[str, Any]] = []
    lines: dict[tuple[Any, ...], int] = {}
    for line, cells in _lines(path):
        if problem := next(_problems(cells), None):
            raise UserError(f"{path}, line {line}: {problem}")
        row = cells | {"method": cells["method"] or None} | {name: float(cells[name] or "nan") for name in NUMBERS}
        what = tuple(str(row[name]) for name in COLUMN_NAMES if name not in ("value", "precision"))
        if what in lines:
            raise UserError(f"{path}, line {line}: repeats line {lines[what]}; keep one of them")
        lines[what] = line
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMN_NAMES))


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows that are not empty, each with the number of its line."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            names = next(reader, [])
            if missing := [name for name in COLUMN_NAMES if name not in names]:
                raise UserError(f"{path} lacks the columns {', '.join(missing)}: its first line names them")
            for cells in filter(None, reader):
                if len(cells) != len(names):
                    raise UserError(f"{path}, line {reader.line_num}: {len(cells)} values, not {len(names)}")
                yield reader.line_num, {name: cell.strip() for name, cell in zip(names, cells, strict=True)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} ({error}): restore it") from error


def _problems(cells: dict[str, str]) -> Iterator[str]:
    for column, allowed in {"setting": SIDES, "precision": GRADES}.items():
        if cells[column] not in allowed:
            yield f"{column} is {cells[column]!r}; it must be one of {', '.join(allowed)}"
    if not QUANTITY.fullmatch(cells["quantity"]):
        yield f"quantity is {cells['quantity']!r}; it must be val_loss, avg_acc, CORPUS_ppl or TASK_acc"
    if bool(cells["method"]) == (cells["setting"] in UNPRUNED):
        yield f"method is {cells['method']!r}; all but {' and '.join(UNPRUNED)} have one, and these have none"
    for column in NUMBERS:
        of_unknown_tokens = column == "budget_b" and cells["setting"] == "meta_parent" and not cells[column]
        if not of_unknown_tokens and not _is_number(cells[column]):
            yield f"{column} is {cells[column]!r}, which is not a number"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def with_patterns(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with method and pattern apart, as a study names them: sparsegpt_2of4 is sparsegpt, 2:4."""
    names = rows["method"].astype("string").str.extract(SERIES)
    patterns = names["pattern"].str.replace("of", ":").fillna("dense")
    return rows.assign(method=names["method"].astype(object), pattern=patterns.astype(object))


def best_graded(rows: pd.DataFrame, what: list[str]) -> pd.DataFrame:
    """The rows by grade, best first, keeping the first of those that agree in the columns ``what``."""
    by_grade = rows.sort_values("precision", key=lambda grades: grades.map(list(GRADES).index), kind="stable")
    return by_grade.drop_duplicates(what)


def reported_parent(rows: pd.DataFrame) -> float:
    """Tokens of the paper's parent; NaN if the rows do not say."""
    return float(rows.loc[rows["setting"] == "parent", "budget_b"].max()) * BILLION


def worst_grade(grades: Iterable[str]) -> str:
    """The grade of a number computed from others."""
    return max(grades, key=list(GRADES).index)
