"""How structured methods scored the parent's blocks, and which blocks they removed."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pruning_vs_scratch.figures import findings, style
from pruning_vs_scratch.pruning.catalogue import label_of, methods
from pruning_vs_scratch.tables.importance import HIGH, LOW
from pruning_vs_scratch.tables.load import Tables

PANEL_HEIGHT = 2.0
DECADES = 10
"""Ranges of channels beyond this multiple of the median score are drawn on a logarithmic axis."""
ROW_SHARE = 0.09
"""Height of a row of removed blocks, as a share of the panel's."""
EVERY_RATIO = style.SeriesStyle("", style.SCRATCH_COLOUR, "o")
"""The look of scores that serve every ratio."""
BLOCK = ["method", "ratio", "measure", "block"]
"""What is scored; seeds are averaged."""
COLUMNS = [
    "panel", *BLOCK, "value", "low", "high", "lowest", "highest", "removed", "seeds", "runs",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per measure, ratio and block of the parent; scores are means over the seeds.

    ``low`` and ``high`` are the range of a block's channels; ``lowest`` and ``highest`` the extremes of the seeds.
    ``removed`` counts the seeds in which the block is dropped.
    """
    table = tables.importance
    scored = table[table.groupby(["method", "measure"])["value"].transform("count") > 0]
    means = scored.groupby(BLOCK, sort=False).agg(
        value=("value", "mean"), low=("low", "mean"), high=("high", "mean"), lowest=("value", "min"),
        highest=("value", "max"), removed=("removed", "sum"), seeds=("seed", "nunique"), runs=("run", ";".join),
    )  # fmt: skip
    drawn = means.reset_index().sort_values("measure", key=_place, kind="stable", ignore_index=True)
    names = drawn["method"].map(label_of)
    return drawn.assign(panel=names + ": " + drawn["measure"]).reindex(columns=COLUMNS)


def _axes_labels() -> dict[str, str]:
    """The axis label of each measure, in the order of the methods that have them."""
    return {scores.measure: scores.axis for facts in methods().values() for scores in facts.importance}


def _place(measures: pd.Series) -> pd.Series:
    known = list(_axes_labels())
    return measures.map(lambda measure: known.index(measure) if measure in known else len(known))


def draw(tables: Tables, study: str) -> Figure:
    """One panel per method and measure."""
    drawn = data(tables)
    figure, panels = style.panels(drawn, PANEL_HEIGHT, 1.1, "No method of this study\nscores the parent's blocks.")
    looks = _looks(drawn)
    for axes, _, rows in panels:
        _draw_panel(axes, rows, looks)
    if panels:
        style.legend(figure, [look.marker_handle() for look in looks.values()], _note(drawn), 2)
    style.name_study(figure, tables, study, findings.importance(drawn, _names(drawn)), drawn)
    return figure


def _names(drawn: pd.DataFrame) -> dict[str, str]:
    """The names of methods."""
    return {method: style.series_label(method, "dense") for method in map(str, drawn["method"].unique())}


def _looks(drawn: pd.DataFrame) -> dict[float, style.SeriesStyle]:
    """The look of each ratio at which blocks are removed."""
    ratios = sorted(drawn.loc[drawn["removed"] > 0, "ratio"].unique())
    return {
        ratio: style.SeriesStyle(f"removed at ratio {ratio:g}", style.COLOURS[i % len(style.COLOURS)], style.MARKERS[i])
        for i, ratio in enumerate(ratios)
    }


def _draw_panel(axes: Axes, rows: pd.DataFrame, looks: dict[float, style.SeriesStyle]) -> None:
    # Scores that serve every ratio are drawn once.
    scores = rows.dropna(subset="value").drop_duplicates(["block", "value"])
    several = scores["ratio"].nunique() > 1
    for ratio in scores["ratio"].unique():
        look = looks[ratio] if several and ratio in looks else EVERY_RATIO
        _draw_scores(axes, scores[scores["ratio"] == ratio], look)
    if rows["removed"].any():
        _draw_removed(axes, rows[rows["removed"] > 0], looks)
    axes.set_title(_names(rows)[rows["method"].iloc[0]])
    if _spans_decades(scores):
        axes.set_yscale("log")
    measure = rows["measure"].iloc[0]
    axes.set_ylabel(_axes_labels().get(measure, measure))
    axes.set_xlabel("block of the parent")
    axes.set_xlim(-0.6, rows["block"].max() + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _spans_decades(scores: pd.DataFrame) -> bool:
    """Whether a linear axis would show only the ranges of a few blocks."""
    ranges = scores[scores["high"] > scores["value"]]
    return bool((scores["value"] > 0).all() and ranges["high"].max() > DECADES * scores["value"].median())


def _draw_scores(axes: Axes, line: pd.DataFrame, look: style.SeriesStyle) -> None:
    if line["seeds"].max() > 1:
        style.band(axes, line["block"], line["lowest"], line["highest"], look.colour)
    around = [line["value"] - line["low"], line["high"] - line["value"]]
    axes.errorbar(line["block"], line["value"], yerr=around, color=look.colour, marker=look.marker, elinewidth=0.8)


def _draw_removed(axes: Axes, removed: pd.DataFrame, looks: dict[float, style.SeriesStyle]) -> None:
    """A row per ratio above the scores: a marker at every dropped block, hollow if it is not dropped in every seed."""
    low, high = axes.get_ylim()
    ratios = sorted(removed["ratio"].unique())
    axes.set_ylim(low, low + (high - low) / (1 - ROW_SHARE * len(ratios)))
    for i, ratio in enumerate(ratios):
        rows, look = removed[removed["ratio"] == ratio], looks[ratio]
        for in_every, blocks in rows.groupby(rows["removed"] == rows["seeds"])["block"]:
            height, fill = [1 - ROW_SHARE * (i + 0.5)] * len(blocks), look.colour if in_every else "white"
            axes.plot(blocks, height, look.marker, color=look.colour, markerfacecolor=fill,
                      transform=axes.get_xaxis_transform())  # fmt: skip


def _note(drawn: pd.DataFrame) -> str:
    removed = drawn["removed"]
    notes = ["Markers above the scores: blocks that go."] if removed.any() else []
    if ((removed > 0) & (removed < drawn["seeds"])).any():
        notes.append("Hollow: not in every seed.")
    if not drawn["low"].equals(drawn["value"]):
        notes.append(f"Bars: from the {LOW}th to the {HIGH}th percentile of a block's channels.")
    return " ".join([*notes, style.seeds_shown(drawn["seeds"])])
