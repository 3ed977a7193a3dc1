"""Studies of several sizes side by side: gaps, and what pruned starts are worth, against tokens of retraining."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pruning_vs_scratch.figures import findings, style, words
from pruning_vs_scratch.figures.transfer import LOOKS, MEANINGS, paper_look
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.reported import GRADES
from pruning_vs_scratch.tables.scales import FAMILY, MEASURES, PAPER, Scale

PANEL_HEIGHT, MARGIN = 2.1, 1.9
DODGE = 1.1
"""Factor between neighbouring studies on the horizontal axis, so that their points do not overlap."""
LINES = ("-", "--", "-.")
PREDICTED_POINTS = 7.0
"""Size of a marker that no study has, and that is seen over one."""
AXES_LABELS = {
    "gap": "gap, scratch minus pruned\n(nats per token)",
    "share": "effective tokens transferred\n(share of the parent's tokens)",
}
NOTHING = "No study compares anything at equal budgets\nand knows its parent's tokens."
Looks = dict[str, style.SeriesStyle]
"""Looks of the studies, by name."""


def draw(scales: Sequence[Scale], points: pd.DataFrame, fits: pd.DataFrame) -> Figure:
    """A row per family: gaps on the left, shares on the right, a line per study, and what a fit predicts of one."""
    families = [rows for _, rows in points.groupby([*FAMILY, "method"], sort=False)]
    looks = _looks(scales, points)
    if families:
        figure = style.new_figure(len(MEASURES), PANEL_HEIGHT * len(families) + MARGIN)
        places = figure.subplots(len(families), len(MEASURES), squeeze=False)
        for row, rows in zip(places, families, strict=True):
            for axes, measure in zip(row, MEASURES, strict=True):
                _draw_panel(axes, measure, rows[rows["measure"] == measure], looks)
                axes.set_title(_title(rows.iloc[0], _fit_of(fits, rows.iloc[0], measure)))
        _share_axis(list(places.ravel()), points["share_retrained"])
        style.legend(figure, _handles(points, looks), _note(scales, points, fits), 2)
    else:
        figure = style.new_figure(1, PANEL_HEIGHT + MARGIN)
        style.say_nothing_to_draw(figure.subplots(), NOTHING)
        style.legend(figure, [], _note(scales, points, fits), 1)
    sizes = {scale.study: scale.params for scale in scales}
    style.head(figure, findings.scales(points, sizes), f"Studies by the size of the parent: {', '.join(sizes)}")
    return figure


def _looks(scales: Sequence[Scale], points: pd.DataFrame) -> Looks:
    """By size; the corpus is named where the studies have several."""
    corpora = points[points["study"] != PAPER].dropna(subset="dataset").groupby("study")["dataset"].first()
    return {
        scale.study: style.SeriesStyle(
            _label(scale, corpora.get(scale.study) if corpora.nunique() > 1 else None),
            style.COLOURS[i % len(style.COLOURS)],
            style.MARKERS[i % len(style.MARKERS)],
            LINES[i % len(LINES)],
        )
        for i, scale in enumerate(scales)
    }


def _label(scale: Scale, corpus: str | None) -> str:
    tokens = "" if scale.tokens is None else f", {token_label(scale.tokens)} tokens"
    read = "" if corpus is None else f"; corpus {corpus}"
    return f"{scale.study}: {token_label(scale.params)} parameters{tokens}{read}"


def _fit_of(fits: pd.DataFrame, row: pd.Series, measure: str) -> pd.Series | None:
    """The fit of a panel that has one."""
    same = (fits["measure"] == measure) & (fits["reason"] == "")
    for name in (*FAMILY, "method"):
        same &= fits[name] == row[name]
    return fits[same].iloc[0] if same.any() else None


def _title(row: pd.Series, fit: pd.Series | None) -> str:
    title = f"{row['granularity']}: {style.series_label(row['method'], row['pattern'])}, ratio {row['ratio']:g}"
    if fit is None:
        return title
    return f"{title}\nprediction off by {fit['error']:.2g}; without size by {fit['error_without_size']:.2g}"


def _draw_panel(axes: Axes, measure: str, rows: pd.DataFrame, looks: Looks) -> None:
    for height in (0, 1) if measure == "share" else (0,):
        axes.axhline(height, **LOOKS[height])
    studies = rows[(rows["study"] != PAPER) & rows["value"].notna()]
    for study, line in studies.groupby("study", sort=False):
        place = list(looks).index(str(study)) - (len(looks) - 1) / 2
        moved = line.assign(share_retrained=line["share_retrained"] * DODGE**place)
        _draw_study(axes, moved.sort_values("share_retrained"), looks[str(study)])
    paper = rows[rows["study"] == PAPER]
    axes.plot(paper["share_retrained"], paper["value"], **paper_look())
    axes.set_ylabel(AXES_LABELS[measure])
    axes.set_xlabel("tokens of retraining, share of the parent's")
    axes.yaxis.set_major_locator(MaxNLocator(style.MOST_TICKS))
    if studies.empty:
        style.say_empty(axes, "no study states it")


def _draw_study(axes: Axes, line: pd.DataFrame, look: style.SeriesStyle) -> None:
    """Values with their intervals, of which an open end is not drawn, and what a fit to smaller studies predicts."""
    low, high = line["low"].fillna(line["value"]), line["high"].fillna(line["value"])
    axes.vlines(line["share_retrained"], low, high, color=look.colour)
    axes.plot(line["share_retrained"], line["value"], **look.without_colour)
    predicted = line[line["predicted"].notna()]
    if len(predicted):
        axes.plot(predicted["share_retrained"], predicted["predicted"], **_predicted(look))


def _predicted(look: style.SeriesStyle) -> dict[str, Any]:
    return {"color": look.colour, "marker": "+", "linestyle": ":", "markersize": style.scaled(PREDICTED_POINTS)}


def _share_axis(places: Sequence[Axes], shares: pd.Series) -> None:
    """One axis for all panels, so that they can be compared."""
    ends = pd.Series([shares.min() / style.ROOM, shares.max() * style.ROOM])
    for axes in places:
        style.log_axis(axes, ends, lambda value: f"{value:g}")
        axes.set_xlim(*ends)


def _handles(points: pd.DataFrame, looks: Looks) -> list[Line2D]:
    drawn = points.loc[points["value"].notna(), "study"].unique()
    handles = [look.handle_without_colour() for study, look in looks.items() if study in drawn]
    predicted = points.loc[points["predicted"].notna(), "study"].unique()
    handles += [style.entry(f"{study}, predicted from the smaller", **_predicted(looks[study])) for study in predicted]
    paper = points[points["study"] == PAPER]
    if len(paper):
        grades = ", ".join(GRADES[grade] for grade in paper["grade"].unique())
        handles.append(style.entry(f"the paper, 8B parameters:\n{grades}", **paper_look()))
    return [*handles, *(style.entry(text, **LOOKS[height]) for height, text in MEANINGS.items())]


def _note(scales: Sequence[Scale], points: pd.DataFrame, fits: pd.DataFrame) -> str:
    """What is drawn, and what is not."""
    notes = ["Bars: intervals of each study; an open end is not drawn. Studies are shifted sideways."]
    notes.append("The title compares the smallest study and the largest at the shares of tokens that both have.")
    if unknown := [scale.study for scale in scales if scale.tokens is None]:
        notes.append(f"Without a place, since their parents' tokens are not known: {', '.join(unknown)}.")
    studies = points[points["study"] != PAPER]
    if count := int(studies["value"].isna().sum()):
        notes.append(f"Without a point: {words.plural(count, 'share')} (see the figure transfer of each study).")
    if studies["dataset"].nunique() > 1:
        notes.append("Losses of different corpora: compare shapes, not values.")
    for reason, count in fits.loc[fits["reason"] != "", "reason"].value_counts().items():
        notes.append(f"Nothing is fitted over sizes in {count} of {len(fits)} panels: {reason!s}.")
    return " ".join(notes)
