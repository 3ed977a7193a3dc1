"""Figures with a row per comparison: what the rows are called, and what all of them share."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes

from pruning_vs_scratch.figures import style
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.load import records


def names(drawn: pd.DataFrame) -> dict[int, str]:
    """By ``row``, its method, with ratio and budget where there are several."""
    ratios, budgets = (drawn[column].nunique() > 1 for column in ("ratio", "budget"))
    return {
        row["row"]: style.series_label(row["method"], row["pattern"])
        + (f" {row['ratio']:g}" if ratios else "")
        + (f", {token_label(row['budget'])}" if budgets else "")
        for row in records(drawn)
    }


def label(axes: Axes, named: Mapping[int, str]) -> None:
    """Name the rows at the left, the first one at the top."""
    axes.set_yticks(sorted(named), [named[row] for row in sorted(named)])
    axes.set_ylim(max(named) + 0.6, min(named) - 0.6)
    axes.set_ylabel("method")


def shared(drawn: pd.DataFrame, trained: str) -> str:
    """'Ratio 0.5. Retraining on 50B tokens. ', as far as all rows have the same; ``trained`` says what budgets are."""
    ratios, budgets = (drawn[column].unique() for column in ("ratio", "budget"))
    ratio = f"Ratio {ratios[0]:g}. " if len(ratios) == 1 else ""
    return ratio + (f"{trained} {token_label(budgets[0])} tokens. " if len(budgets) == 1 else "")
