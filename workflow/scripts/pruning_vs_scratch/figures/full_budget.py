"""Pruned and retrained against scratch on the whole pipeline's tokens: both losses, and their paired difference."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pruning_vs_scratch.figures import choose, findings, style
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.load import Tables, records

ROW_INCHES = 0.34
BAR = 0.38
"""Thickness of a bar; a row has two and is 1 thick."""
PRUNED_COLOUR = "#0072B2"
SCRATCH_COLOUR = "#D9D9D9"

COLUMNS = [
    "granularity", "method", "pattern", "ratio", "budget", "loss_retrained", "loss_retrained_low",
    "loss_retrained_high", "loss_scratch", "loss_scratch_low", "loss_scratch_high", "gap", "low", "high", "margin",
    "seeds", "sequences", "dataset", "confidence", "retrained", "scratch",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per method, ratio and budget that has a full-budget baseline, from top to bottom."""
    return choose.measured(tables, "full").reindex(columns=COLUMNS)


def draw(tables: Tables, study: str) -> Figure:
    """Losses as bars on the left, their difference with interval, zero and margin on the right."""
    drawn = data(tables)
    figure = style.new_figure(2, 1.6 + ROW_INCHES * max(len(drawn), 3))
    if drawn.empty:
        style.say_nothing_to_draw(figure.subplots(), "This study has no baselines at the full budget.")
    else:
        losses, gaps = figure.subplots(1, 2, sharey=True)
        _draw_losses(losses, drawn)
        _draw_gaps(gaps, drawn, style.series_styles(tables.gaps))
        style.explain(figure, drawn, _handles(drawn), "", columns=3)
    style.name_study(figure, tables, study, findings.full_budget(drawn, _row_labels(drawn)))
    return figure


def _draw_losses(axes: Axes, drawn: pd.DataFrame) -> None:
    _draw_bars(axes, drawn, "loss_retrained", -BAR / 2, (PRUNED_COLOUR, "white"))
    _draw_bars(axes, drawn, "loss_scratch", BAR / 2, (SCRATCH_COLOUR, "black"))
    axes.set_yticks(np.arange(len(drawn)), _row_labels(drawn))
    axes.set_ylim(len(drawn) - 0.4, -0.6)
    axes.set_xlabel(f"loss on {drawn['dataset'].iloc[0]} (nats per token)")
    axes.set_ylabel("method and pruning ratio")


def _draw_bars(axes: Axes, drawn: pd.DataFrame, side: str, offset: float, colours: tuple[str, str]) -> None:
    """One side's losses: bars from zero with intervals, and the numbers at their feet."""
    fill, ink = colours
    rows, loss = np.arange(len(drawn)) + offset, drawn[side].to_numpy()
    around = np.stack([loss - drawn[f"{side}_low"], drawn[f"{side}_high"] - loss])
    axes.barh(rows, loss, BAR, xerr=around, color=fill, edgecolor="black", linewidth=0.4)
    for row, value in zip(rows, loss, strict=True):
        axes.text(0, row, f" {value:.3f}", color=ink, va="center", fontsize=style.small_points())


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


def _handles(drawn: pd.DataFrame) -> list[Patch]:
    return [
        Patch(facecolor=PRUNED_COLOUR, edgecolor="black", lw=0.4, label="pruned and retrained"),
        Patch(facecolor=SCRATCH_COLOUR, edgecolor="black", lw=0.4, label="from scratch, whole pipeline's tokens"),
        style.matched(drawn["margin"].iloc[0]),
    ]
