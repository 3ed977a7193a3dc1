"""Candidates of a shape search: validation loss after a short retraining against hidden size, and the choice."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pruning_vs_scratch.figures import findings, style, words
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.load import Tables, records

PANEL_HEIGHT = 2.2
ROOM = 0.2
"""Added above and on either side of the candidates, for their labels."""
RING_POINTS = 9.0

COLUMNS = [
    "panel", "ratio", "hidden_size", "ffn_size", "heads", "params_decoder", "validation_loss", "tokens_seen", "run",
    "chosen",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per candidate that did not diverge, by hidden size."""
    table = tables.shape_search
    drawn = table[np.isfinite(table["validation_loss"].astype(float))]
    drawn = drawn.sort_values(["ratio", "hidden_size", "ffn_size"], kind="stable")
    return drawn.assign(panel=drawn["target"]).reindex(columns=COLUMNS).reset_index(drop=True)


def draw(tables: Tables, study: str) -> Figure:
    """One panel per ratio."""
    drawn = data(tables)
    figure, panels = style.panels(drawn, PANEL_HEIGHT, 1.1, "This study searches\nno shapes.")
    looks = _looks(drawn)
    for axes, _, rows in panels:
        _draw_panel(axes, rows, looks)
    if panels:
        handles = [*(look.marker_handle() for look in looks.values()), _ring("chosen")]
        style.legend(figure, handles, _note(tables, drawn), 2 * len(panels[:2]))
    style.name_study(figure, tables, study, findings.shape_search(drawn), drawn)
    return figure


def _looks(drawn: pd.DataFrame) -> dict[int, style.SeriesStyle]:
    """The look of each number of heads."""
    numbers = sorted(drawn["heads"].unique(), reverse=True)
    return {
        number: style.SeriesStyle(
            words.plural(number, "head"), style.COLOURS[i % len(style.COLOURS)], style.MARKERS[i % len(style.MARKERS)]
        )
        for i, number in enumerate(numbers)
    }


def _ring(label: str) -> Line2D:
    """The legend's entry of the mark around what was chosen."""
    return style.entry(
        label, color=style.SCRATCH_COLOUR, marker="o", markerfacecolor="none", markersize=style.scaled(RING_POINTS),
        linestyle="",
    )  # fmt: skip


def _draw_panel(axes: Axes, rows: pd.DataFrame, looks: dict[int, style.SeriesStyle]) -> None:
    for number, look in looks.items():
        same = rows[rows["heads"] == number]
        axes.plot(same["hidden_size"], same["validation_loss"], color=look.colour, marker=look.marker, linestyle="")
    chosen = rows[rows["chosen"].astype(bool)]
    axes.plot(
        chosen["hidden_size"], chosen["validation_loss"], "o", color=style.SCRATCH_COLOUR, markerfacecolor="none",
        markersize=style.scaled(RING_POINTS),
    )  # fmt: skip
    for row in records(rows):
        axes.annotate(
            f"{row['ffn_size']}", (row["hidden_size"], row["validation_loss"]), xytext=(0, style.scaled(6)),
            textcoords="offset points", ha="center", fontsize=style.small_points(),
        )  # fmt: skip
    axes.margins(x=ROOM, y=ROOM)
    axes.set_xticks(sorted(rows["hidden_size"].unique()))
    axes.set_title(f"width, ratio {rows['ratio'].iloc[0]:g}: {_size(rows['params_decoder'].mean())} in the decoder")
    axes.set_xlabel("hidden size")
    axes.set_ylabel("validation loss (nats per token)")


def _size(parameters: float) -> str:
    return f"{token_label(round(parameters))} parameters"


def _note(tables: Tables, drawn: pd.DataFrame) -> str:
    diverged = len(tables.shape_search) - len(drawn)
    lost = f" {words.plural(diverged, 'candidate')} diverged." if diverged else ""
    budget = token_label(int(drawn["tokens_seen"].max()))
    seeds = tables.runs["seed"].unique()
    return (
        f"Numbers at the markers: neurons of a feed-forward block. Pruned and retrained on {budget} tokens.{lost} "
        f"Seed {min(seeds)}, of {words.plural(len(seeds), 'seed')}."
    )
