"""Initialisation x objective: pruned and random starts, by language modelling and by distillation from the parent."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pruning_vs_scratch.figures import choose, findings, style
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.load import Tables, records

PANEL_HEIGHT = 2.1
ROOM_BELOW = 0.3
"""Room for the gaps below the lines of a panel, as a share of their range."""
OBJECTIVES = {
    "usual": "language\nmodelling",
    "tokens": "distillation,\nequal tokens",
    "flops": "distillation,\nequal FLOPs",
}
"""Ticks by what a pair shares with the one that models language alone."""
KEYS = ["method", "pattern", "ratio", "budget"]
SCRATCH: dict[str, Any] = {
    "color": style.SCRATCH_COLOUR, "marker": "o", "markerfacecolor": "white", "linestyle": "--",
}  # fmt: skip

COLUMNS = [
    "panel", "method", "pattern", "granularity", "ratio", "budget", "match", "tokens", "loss_pruned", "loss_scratch",
    "gap", "low", "high", "margin", "seeds", "sequences", "dataset", "confidence", "retrained", "scratch",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per method, ratio, budget and objective, with the losses and the gap of both starts."""
    arms = tables.arms[tables.arms["arm"] == "distilled"]
    distilled = arms.assign(
        tokens=arms["tokens_run"], loss_pruned=arms["loss_run"], loss_scratch=arms["loss_baseline"],
        retrained=arms["run"], scratch=arms["baseline"],
    )  # fmt: skip
    usual = choose.measured(tables, "equal").merge(distilled[KEYS].drop_duplicates(), on=KEYS)
    usual = usual.assign(match="usual", tokens=usual["budget"], loss_pruned=usual["loss_retrained"])
    together = pd.concat([usual.reindex(columns=COLUMNS), distilled.reindex(columns=COLUMNS)], ignore_index=True)
    panel = [
        f"{style.series_label(row['method'], row['pattern'])} {row['ratio']:g}, {token_label(row['budget'])}"
        for row in records(together)
    ]
    return together.assign(panel=panel)


def draw(tables: Tables, study: str) -> Figure:
    """A panel per comparison, with a line per start over the objectives, and the gaps in numbers."""
    drawn = data(tables)
    nothing = "This study distils nothing."
    figure, panels = style.panels(drawn, PANEL_HEIGHT, 1.2, nothing, shared=("y",))
    styles = style.series_styles(tables.gaps)
    for axes, name, rows in panels:
        first = rows.iloc[0]
        _draw_panel(axes, rows, styles[(first["method"], first["pattern"])])
        axes.set_title(name)
    if panels:
        low, high = panels[0][0].get_ylim()
        panels[0][0].set_ylim(low - ROOM_BELOW * (high - low), high)
        style.explain(figure, drawn, _handles(), _note(), columns=2)
    style.name_study(figure, tables, study, findings.objectives(drawn), drawn)
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, look: style.SeriesStyle) -> None:
    present = [match for match in OBJECTIVES if match in set(rows["match"])]
    ordered = rows.set_index("match").loc[present]
    places = range(len(present))
    axes.plot(places, ordered["loss_scratch"], **SCRATCH)
    axes.plot(places, ordered["loss_pruned"], color=look.colour, marker=look.marker)
    for place, row in zip(places, records(ordered), strict=True):
        text = f"{row['gap']:+.3f}\n[{row['low']:+.3f}, {row['high']:+.3f}]".replace("-", "\N{MINUS SIGN}")
        axes.text(place, 0.03, text, ha="center", fontsize=style.small_points(), transform=axes.get_xaxis_transform())
    axes.set_xticks(places, [OBJECTIVES[match] for match in present])
    axes.set_xlim(-0.5, len(present) - 0.5)
    axes.set_xlabel("objective of both sides")
    style.label_left(axes, "loss (nats per token)")


def _handles() -> list[Line2D]:
    pruned = style.entry("pruned start", color=style.PARENT_COLOUR, marker="o")
    return [pruned, style.entry("random start", **SCRATCH)]


def _note() -> str:
    return (
        "Titles: ratio, tokens of retraining. Numbers: the gap, random minus pruned, with its interval. Equal FLOPs: "
        "fewer tokens, since the parent's forward passes count."
    )
