"""Pruned and retrained, and scratch on the whole pipeline's tokens: how near either comes to the parent."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pruning_vs_scratch.figures import choose, findings, rows, style
from pruning_vs_scratch.tables.load import Tables, records

ROW_INCHES = 0.25
GAP_PLACE = 1.02
"""Where the gaps are written, as a share of the panel's width."""
MINUS = "\N{MINUS SIGN}"
ASIDE = 0.16
"""How far the two sides of a row stand from its middle; rows are 1 apart."""

SCRATCH = style.SeriesStyle("from scratch, whole pipeline's tokens", style.SCRATCH_COLOUR, "o")
ENDS = {"loss": "", "low": "_low", "high": "_high"}
"""How the columns of a side's loss and its interval end."""
PARENT: dict[str, Any] = {"color": style.PARENT_COLOUR, "ls": ":"}

COLUMNS = [
    "row", "granularity", "method", "pattern", "ratio", "budget", "loss_retrained", "loss_retrained_low",
    "loss_retrained_high", "loss_scratch", "loss_scratch_low", "loss_scratch_high", "loss_parent", "gap", "low",
    "high", "margin", "seeds", "sequences", "dataset", "confidence", "retrained", "scratch",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per method, ratio and budget that has a full-budget baseline.

    ``row`` counts from the top; the methods of a granularity follow an empty row, which bears its name.
    """
    drawn = choose.coarsest_first(choose.measured(tables, "full"))
    headings = drawn["granularity"].ne(drawn["granularity"].shift()).cumsum()
    return drawn.assign(row=np.arange(len(drawn)) + headings).reindex(columns=COLUMNS)


def draw(tables: Tables, study: str) -> Figure:
    """A row per model: both sides with their intervals, the parent as a line, and the gap in numbers."""
    drawn = data(tables)
    figure = style.new_figure(2, 1.4 + ROW_INCHES * (drawn["row"].max() + 1 if len(drawn) else 4))
    axes = figure.subplots()
    if drawn.empty:
        style.say_nothing_to_draw(axes, "This study has no baselines at the full budget.")
    else:
        _draw_losses(axes, drawn, style.series_styles(tables.gaps))
        _name_rows(axes, drawn)
        _write_gaps(axes, drawn)
        style.explain(figure, drawn, _handles(), _note(drawn), columns=3)
    style.name_study(figure, tables, study, findings.full_budget(drawn), drawn)
    return figure


def _draw_losses(axes: Axes, drawn: pd.DataFrame, styles: style.Styles) -> None:
    """Both sides of each row, one above the other, and the parent as a line."""
    axes.axvline(drawn["loss_parent"].mean(), **PARENT)
    for row in records(drawn):
        for side, place, look in (
            ("retrained", row["row"] - ASIDE, styles[(row["method"], row["pattern"])]),
            ("scratch", row["row"] + ASIDE, SCRATCH),
        ):
            loss = {name: row[f"loss_{side}{end}"] for name, end in ENDS.items()}
            style.interval(axes, loss, "loss", place, look, "white" if side == "scratch" else look.colour)
    axes.xaxis.set_major_locator(MaxNLocator(style.MOST_TICKS))
    axes.set_xlabel(f"loss on {drawn['dataset'].iloc[0]} (nats per token)")
    style.row_grid(axes)


def _name_rows(axes: Axes, drawn: pd.DataFrame) -> None:
    """Granularities in bold, and below each its methods, with ratio and budget where there are several."""
    headings = {of["row"].min() - 1: str(name) for name, of in drawn.groupby("granularity")}
    names = headings | rows.names(drawn)
    rows.label(axes, names)
    for row, label in zip(sorted(names), axes.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if row in headings else "normal")


def _write_gaps(axes: Axes, drawn: pd.DataFrame) -> None:
    """The gap of each row at its right end: where losses overlap, it still tells which is lower, being paired."""
    texts = {row["row"]: f"{row['gap']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]" for row in records(drawn)}
    for place, text in ({0: "gap, scratch minus pruned"} | texts).items():
        axes.text(
            GAP_PLACE,
            place,
            text.replace("-", MINUS),
            va="center",
            fontsize=style.small_points(),
            transform=axes.get_yaxis_transform(),
        )


def _handles() -> list[Artist]:
    pruned = style.entry("pruned and retrained", color=style.PARENT_COLOUR, marker="o", linestyle="")
    scratch = style.entry(SCRATCH.label, color=SCRATCH.colour, marker=SCRATCH.marker, linestyle="", mfc="white")
    return [pruned, scratch, style.entry("parent, unpruned", **PARENT)]


def _note(drawn: pd.DataFrame) -> str:
    """The ratio and the budget, where all rows have the same, and why intervals of gaps are narrower."""
    paired = "Gaps are paired by sequence, so that their intervals are narrower than those of losses."
    return f"{rows.shared(drawn, 'Retraining on')}{paired}"
