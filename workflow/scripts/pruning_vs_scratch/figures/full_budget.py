"""Pruned and retrained against scratch on the whole pipeline's tokens: both losses, and their paired difference."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pruning_vs_scratch.figures import choose, findings, style
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.load import Tables, records

ROW_INCHES = 0.28
ASIDE = 0.14
"""How far the two sides of a row stand from its middle; rows are 1 apart."""

SCRATCH = style.SeriesStyle("from scratch, whole pipeline's tokens", style.SCRATCH_COLOUR, "o")
ENDS = {"loss": "", "low": "_low", "high": "_high"}
"""How the columns of a side's loss and its interval end."""
PARENT: dict[str, Any] = {"color": style.PARENT_COLOUR, "ls": ":"}

COLUMNS = [
    "granularity", "method", "pattern", "ratio", "budget", "loss_retrained", "loss_retrained_low",
    "loss_retrained_high", "loss_scratch", "loss_scratch_low", "loss_scratch_high", "loss_parent", "gap", "low",
    "high", "margin", "seeds", "sequences", "dataset", "confidence", "retrained", "scratch",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per method, ratio and budget that has a full-budget baseline, from top to bottom."""
    return choose.measured(tables, "full").reindex(columns=COLUMNS)


def draw(tables: Tables, study: str) -> Figure:
    """Losses of both sides on the left, their difference with interval, zero and margin on the right."""
    drawn = data(tables)
    figure = style.new_figure(2, 1.6 + ROW_INCHES * max(len(drawn), 3))
    if drawn.empty:
        style.say_nothing_to_draw(figure.subplots(), "This study has no baselines at the full budget.")
    else:
        losses, gaps = figure.subplots(1, 2, sharey=True)
        styles = style.series_styles(tables.gaps)
        _draw_losses(losses, drawn, styles)
        _draw_gaps(gaps, drawn, styles)
        style.explain(figure, drawn, _handles(drawn), _note(drawn), columns=4)
    style.name_study(figure, tables, study, findings.full_budget(drawn, _row_labels(drawn)))
    return figure


def _draw_losses(axes: Axes, drawn: pd.DataFrame, styles: style.Styles) -> None:
    """Both sides of each row on one axis, one above the other, and the parent as a line."""
    axes.axvline(drawn["loss_parent"].mean(), **PARENT)
    for i, row in enumerate(records(drawn)):
        for side, place, look in (
            ("retrained", i - ASIDE, styles[(row["method"], row["pattern"])]),
            ("scratch", i + ASIDE, SCRATCH),
        ):
            loss = {
                name: row[f"loss_{side}{end}"] for name, end in {"loss": "", "low": "_low", "high": "_high"}.items()
            }
            style.interval(axes, loss, "loss", place, look, "white" if side == "scratch" else look.colour)
    axes.set_yticks(np.arange(len(drawn)), _row_labels(drawn))
    axes.set_ylim(len(drawn) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(style.MOST_TICKS))
    axes.set_xlabel(f"loss on {drawn['dataset'].iloc[0]} (nats per token)")
    axes.set_ylabel("method")
    style.row_grid(axes)


def _row_labels(drawn: pd.DataFrame) -> list[str]:
    """Method, and ratio and budget where there are several."""
    ratios, budgets = (drawn[column].nunique() > 1 for column in ("ratio", "budget"))
    return [
        style.series_label(row["method"], row["pattern"])
        + (f" {row['ratio']:g}" if ratios else "")
        + (f", {token_label(row['budget'])}" if budgets else "")
        for row in records(drawn)
    ]


def _draw_gaps(axes: Axes, drawn: pd.DataFrame, styles: style.Styles) -> None:
    style.mark_matched(axes, drawn["margin"].iloc[0])
    for i, row in enumerate(records(drawn)):
        style.interval(axes, row, "gap", i, styles[(row["method"], row["pattern"])])
    style.gap_axis(axes)


def _handles(drawn: pd.DataFrame) -> list[Artist]:
    pruned = style.entry("pruned and retrained", color=style.PARENT_COLOUR, marker="o", linestyle="")
    scratch = style.entry(SCRATCH.label, color=SCRATCH.colour, marker=SCRATCH.marker, linestyle="", mfc="white")
    return [pruned, scratch, style.entry("parent, unpruned", **PARENT), style.matched(drawn["margin"].iloc[0])]


def _note(drawn: pd.DataFrame) -> str:
    """The ratio and the budget, where all rows have the same, and why intervals on the right are narrower."""
    ratios, budgets = (drawn[column].unique() for column in ("ratio", "budget"))
    ratio = f"Ratio {ratios[0]:g}. " if len(ratios) == 1 else ""
    budget = f"Retraining on {token_label(budgets[0])} tokens. " if len(budgets) == 1 else ""
    return f"{ratio}{budget}Gaps are paired by sequence, so that their intervals are narrower than those of losses."
