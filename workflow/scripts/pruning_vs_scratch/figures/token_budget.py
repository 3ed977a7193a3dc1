"""Loss against training tokens: pruned and retrained, from scratch on the same tokens, and the parent."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pruning_vs_scratch.figures import choose, findings, sideways, style
from pruning_vs_scratch.figures.style import SeriesStyle
from pruning_vs_scratch.tables.load import Tables, records

PANEL_HEIGHT = 2.5
ROW_SHARE = 0.09
"""Height of a row of gap labels, as a share of the panel's."""
DODGE_SHARE = 0.02
"""Sideways distance of neighbouring series, as a share of the axis: markers at equal losses stay apart."""
ROOM_FOR_INTERVAL = 0.22
"""Distance of neighbouring budgets, as a share of the axis, from which a label has room for the interval."""

COLUMNS = [
    "panel", "granularity", "method", "pattern", "ratio", "budget", "x", "loss_retrained", "loss_scratch",
    "loss_parent", "gap", "low", "high", "seeds", "sequences", "dataset", "confidence", "retrained", "scratch",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per panel, method and budget, at each panel's ratio with the most budgets.

    A family that has one budget is in a panel with the others of its granularity, if they have the same ratio.
    ``x`` is the budget, moved aside for the method.
    """
    drawn = choose.gathered(choose.families(choose.measured(tables, "equal")))
    if drawn.empty:
        return pd.DataFrame(columns=COLUMNS)
    return drawn.assign(x=sideways.moved(drawn, drawn["budget"], "panel", DODGE_SHARE)).reindex(columns=COLUMNS)


def draw(tables: Tables, study: str) -> Figure:
    """One panel per target family, or granularity, on one axis of losses."""
    drawn = data(tables)
    nothing = "This study compares nothing\nat equal budgets."
    figure, panels = style.panels(drawn, PANEL_HEIGHT, 1.0, nothing, shared=("y",))
    styles = style.series_styles(tables.gaps)
    for axes, name, rows in panels:
        _draw_panel(axes, name, rows, styles)
    if panels:
        _make_room(panels[0][0], max(len(style.series(rows)) for _, _, rows in panels))
        note = "Numbers in the panels: gap, scratch minus pruned, by method."
        style.explain(figure, drawn, _handles(drawn, styles), note, 2 * min(2, len(panels)))
    style.name_study(figure, tables, study, findings.token_budget(drawn), drawn)
    return figure


def _make_room(axes: Axes, rows: int) -> None:
    """Lengthen the axis of losses for some rows of gaps, above the curves."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, low + (high - low) / (1 - ROW_SHARE * rows))


def _draw_panel(axes: Axes, name: str, rows: pd.DataFrame, styles: style.Styles) -> None:
    shared = rows.groupby("budget")["scratch"].nunique().max() == 1
    lines = [(styles[key], line) for key, line in style.series(rows)]
    if shared:  # by all methods, of which one may have budgets that another has not
        _scratch_line(axes, rows.drop_duplicates("budget").sort_values("budget"), style.SCRATCH_COLOUR)
    for look, line in lines:
        if not shared:
            _scratch_line(axes, line.assign(budget=line["x"]), look.colour)
        tokens, pruned = line["x"], line["loss_retrained"]
        axes.fill_between(tokens, pruned, line["loss_scratch"], color=look.colour, alpha=0.06, lw=0)
        axes.plot(tokens, pruned, color=look.colour, marker=look.marker, label=look.label, lw=style.thin())
    axes.axhline(rows["loss_parent"].mean(), color=style.PARENT_COLOUR, linestyle=":", label="parent")
    axes.set_title(f"{name}, ratio {rows['ratio'].iloc[0]:g}")
    style.label_left(axes, f"loss on {rows['dataset'].iloc[0]} (nats per token)")
    style.token_axis(axes, sorted(rows["budget"].unique()))
    _gap_labels(axes, lines)


def _scratch_line(axes: Axes, line: pd.DataFrame, colour: str) -> None:
    """Dashed with open markers: black if all methods of the panel share it, else in the colour of its method."""
    x, y = line["budget"], line["loss_scratch"]
    axes.plot(
        x, y, color=colour, linestyle="--", marker="o", markerfacecolor="white", label="from scratch", lw=style.thin()
    )


def _gap_labels(axes: Axes, lines: Sequence[tuple[SeriesStyle, pd.DataFrame]]) -> None:
    """A row of gaps per method above the curves, where nothing else is drawn."""
    for i, (look, line) in enumerate(lines):
        height = 1 - ROW_SHARE * (i + 0.5)
        axes.plot([0.03], [height], color=look.colour, marker=look.marker, transform=axes.transAxes)
        _gap_row(axes, line, height)


def _gap_row(axes: Axes, line: pd.DataFrame, height: float) -> None:
    roomy = style.least_distance(axes, list(line["budget"])) >= ROOM_FOR_INTERVAL
    for row in records(line):
        half = f"±{(row['high'] - row['low']) / 2:.2f}" if roomy else ""
        axes.text(
            row["budget"],
            height,
            f"{row['gap']:.2f}{half}",
            ha="center",
            va="center",
            fontsize=style.small_points(),
            transform=axes.get_xaxis_transform(),
        )


def _handles(drawn: pd.DataFrame, styles: style.Styles) -> list[Line2D]:
    methods = [styles[key].handle() for key, _ in style.series(drawn)]
    scratch = Line2D([], [], color=style.SCRATCH_COLOUR, ls="--", marker="o", mfc="white")
    scratch.set_label("from scratch, same tokens")
    parent = Line2D([], [], color=style.PARENT_COLOUR, ls=":", label="parent, unpruned")
    return [*methods, scratch, parent]
