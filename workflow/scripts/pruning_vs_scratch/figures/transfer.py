"""What a pruned start is worth in tokens from scratch, compared with the paper's reported losses."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pruning_vs_scratch.figures import choose, findings, sideways, style
from pruning_vs_scratch.tables.load import Tables
from pruning_vs_scratch.tables.reported import GRADES
from pruning_vs_scratch.tables.resampling import FAR
from pruning_vs_scratch.tables.transfer import ONE_BUDGET, reported_transfer

PANEL_HEIGHT = 2.5
PAPER_PANELS = {"minitron_depth": "depth", "minitron_width": "width"}
ARROW_POINTS = 8.0
PAPER_COLOUR = "#777777"
DODGE_SHARE = 0.03
"""Sideways distance of neighbouring series, as a share of the axis: their intervals stay apart."""
ARROWS = {"open_low": "$\\downarrow$", "open_high": "$\\uparrow$"}
"""Markers at the ends of intervals that are open: beyond, nothing is stated."""
MEANINGS = {0: "0: worth no tokens", 1: "1: worth the parent's tokens"}
LOOKS: dict[int, dict[str, Any]] = {0: {"color": "black", "lw": 0.6}, 1: {"color": style.PARENT_COLOUR, "ls": ":"}}

COLUMNS = [
    "source", "panel", "method", "pattern", "ratio", "budget", "loss_retrained", "x", "value", "low", "high",
    "open_low", "open_high", "status", "grade", "tokens_parent", "misfit", "seeds", "sequences", "dataset",
    "confidence",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per source, panel, method and budget, at each panel's ratio with the most budgets.

    ``value`` is a share of the parent's tokens, and ``x`` that of retraining, moved aside; both are in tokens where
    the parent's are not known, and the paper's are then left out. Where ``open_low`` or ``open_high`` is set, the end
    beside it is the farthest that is stated, not the interval's.
    """
    found = choose.families(tables.transfer[tables.transfer["loss_retrained"].notna()])
    if found.empty:
        return pd.DataFrame(columns=COLUMNS)
    known = bool(found["tokens_parent"].notna().all())
    parts = [_study(found, known)]
    if known:
        reported = reported_transfer(tables.reported)
        paper = reported.assign(panel=reported["method"].map(PAPER_PANELS))
        parts.append(_paper(paper[paper["panel"].isin(found["panel"])]))
    drawn = pd.concat([part.reindex(columns=COLUMNS) for part in parts if len(part)], ignore_index=True)
    return drawn.astype({"seeds": "Int64", "sequences": "Int64"})


def _study(found: pd.DataFrame, known: bool) -> pd.DataFrame:
    unit = found["tokens_parent"] if known else 1.0
    measure = "share" if known else "transferred"
    reach = {
        "low": (found["least_tokens"] / FAR - found["budget"]) / unit,
        "high": (found["most_tokens"] * FAR - found["budget"]) / unit,
    }
    stated = found["status"].ne(ONE_BUDGET)
    ends = {end: found[f"{measure}_{end}"].fillna(farthest.where(stated)) for end, farthest in reach.items()}
    opened = {f"open_{end}": found[f"{measure}_{end}"].isna() & stated for end in reach}
    x = sideways.moved(found, found["budget"] / unit, "panel", DODGE_SHARE)
    return found.assign(source="study", x=x, value=found[measure], **ends, **opened)


def _paper(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(source="paper", x=rows["budget"] / rows["tokens_parent"], value=rows["share"])


def draw(tables: Tables, study: str) -> Figure:
    """A panel per target family, with a series per method."""
    drawn = data(tables)
    figure, panels = style.panels(drawn, PANEL_HEIGHT, 1.4, "This study compares nothing\nat equal or full budgets.")
    styles = style.series_styles(tables.gaps)
    for axes, name, rows in panels:
        _draw_panel(axes, name, rows, styles)
    if panels:
        measured = drawn[drawn["source"] == "study"]
        style.explain(figure, measured, _handles(drawn, styles), _note(measured), min(2, len(panels)))
    style.name_study(figure, tables, study, findings.transfer(drawn), drawn[drawn["source"] == "study"])
    return figure


def _draw_panel(axes: Axes, name: str, rows: pd.DataFrame, styles: style.Styles) -> None:
    measured, paper = (rows[rows["source"] == source] for source in ("study", "paper"))
    known = bool(measured["tokens_parent"].notna().all())
    axes.set_title(f"{name}, ratio {measured['ratio'].iloc[0]:g}")
    axes.set_ylabel("effective tokens transferred" + ("\n(share of the parent's tokens)" if known else ""))
    axes.set_xlabel("tokens of retraining" + (", share of the parent's" if known else " (logarithmic)"))
    if measured["status"].eq(ONE_BUDGET).all() and paper.empty:
        style.say_empty(axes, f"nothing is stated:\n{ONE_BUDGET}")
        return
    for height in (0, 1) if known else (0,):
        axes.axhline(height, **LOOKS[height])
    for key, line in style.series(measured):
        _draw_series(axes, line, styles[key])
    axes.plot(paper["x"], paper["value"], **paper_look())
    placed = rows.loc[rows[["value", "low", "high"]].notna().any(axis=1), "x"]
    shown = placed if len(placed) else rows["x"]
    ends = pd.Series([shown.min() / style.ROOM, shown.max() * style.ROOM])
    style.log_axis(axes, ends, (lambda value: f"{value:g}") if known else style.token_name)
    axes.set_xlim(*ends)
    if not known:
        axes.yaxis.set_major_formatter(lambda value, _: style.token_name(value))


def _draw_series(axes: Axes, line: pd.DataFrame, look: style.SeriesStyle) -> None:
    placed = line[line["low"].notna()]
    axes.vlines(placed["x"], placed["low"], placed["high"], color=look.colour)
    axes.plot(line["x"], line["value"], color=look.colour, marker=look.marker, label=look.label)
    for end, arrow in ARROWS.items():
        rows = placed[placed[end].astype(bool)]
        heights = rows[end.removeprefix("open_")]
        axes.plot(rows["x"], heights, color=look.colour, **_arrow(arrow))


def _arrow(arrow: str) -> dict[str, Any]:
    return {"marker": arrow, "markersize": style.scaled(ARROW_POINTS), "mew": 0.0, "linestyle": "none"}


def paper_look() -> dict[str, Any]:
    """How points of the paper are drawn."""
    return {"color": PAPER_COLOUR, "marker": "D", "markerfacecolor": "white", "linestyle": "none"}


def _handles(drawn: pd.DataFrame, styles: style.Styles) -> list[Line2D]:
    measured, paper = (drawn[drawn["source"] == source] for source in ("study", "paper"))
    stated = measured[measured["status"] != ONE_BUDGET]
    handles = [styles[key].handle() for key, _ in style.series(stated)]
    if len(paper):
        grades = ", ".join(GRADES[grade] for grade in paper["grade"].unique())
        ratios = ", ".join(f"{ratio:g}" for ratio in paper["ratio"].unique())
        handles.append(style.entry(f"the paper's Minitron, ratio {ratios}:\n{grades}", **paper_look()))
    if measured[list(ARROWS)].any(axis=None):
        handles.append(style.entry("open end of an interval", color="black", **_arrow(ARROWS["open_high"])))
    lines = MEANINGS if measured["tokens_parent"].notna().all() else {0: MEANINGS[0]}
    return [*handles, *(style.entry(text, **LOOKS[height]) for height, text in lines.items())]


def _note(measured: pd.DataFrame) -> str:
    """What is drawn, and how many models have no point, by the reason."""
    note = (
        "A pruned start is worth the tokens that scratch needs to reach the same loss, less those of retraining. "
        f"Stated up to {FAR:g} times the largest budget from scratch."
    )
    missing = measured.loc[measured["value"].isna(), "status"].value_counts()
    if missing.empty:
        return note
    counts = ", ".join(f"{status} ({count})" for status, count in sorted(missing.items()))
    return f"{note} Without a point: {counts}."
