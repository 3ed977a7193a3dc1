"""The paper's own numbers (config/reported.csv), to be shown beside a study's."""

from pathlib import Path

import numpy as np
import pandas as pd

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.tables.load import Tables

ALLOWED = {"setting": {"scratch", "pruned", "gap", "parent"}, "precision": {"labelled", "read_off"}}
"""precision: the paper prints the number, or it was read off a plot."""


def reported_table(path: Path) -> pd.DataFrame:
    """The rows of a file of reported numbers.

    Raises:
        UserError: it is missing, lacks a column, or holds something else than the numbers asked for.
    """
    table = Tables(path.parent).reported
    for column, allowed in ALLOWED.items():
        if unknown := sorted(set(table[column].astype(str)) - allowed):
            raise UserError(f"{path}: {column} is {unknown[0]!r}; it must be one of {', '.join(sorted(allowed))}")
    for column in ("ratio", "budget_b", "value"):
        numbers = pd.to_numeric(table[column], errors="coerce")
        if bad := [int(line) + 2 for line in np.flatnonzero(~np.isfinite(numbers))]:
            raise UserError(f"{path}, line {bad[0]}: {column} is not a number")
    return table
