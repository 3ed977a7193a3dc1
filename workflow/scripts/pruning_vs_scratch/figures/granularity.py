"""The gap by granularity: every method with its interval, at equal budgets and at the full budget."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pruning_vs_scratch.figures import choose, findings, style
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.load import Tables, records

ROW_INCHES = 0.2

COLUMNS = [
    "setting", "granularity", "method", "pattern", "ratio", "row", "gap", "low", "high", "budget", "margin", "seeds",
    "sequences", "dataset", "confidence", "retrained", "scratch",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per setting and method, at the ratio and budget with the most comparisons.

    ``row`` counts from the top; the methods of a granularity follow an empty row, which bears its name.
    """
    gaps = choose.measured(tables, "equal", "full")
    if gaps.empty:
        return gaps.reindex(columns=COLUMNS)
    gaps = gaps[gaps["budget"] == choose.most_common(gaps["budget"])]
    gaps = gaps[gaps["ratio"] == choose.most_common(gaps["ratio"])]
    order = gaps.drop_duplicates(["granularity", "method", "pattern"]).sort_values("granularity", key=_place)
    headings = order["granularity"].ne(order["granularity"].shift()).cumsum()
    rows = order[["granularity", "method", "pattern"]].assign(row=range(len(order)) + headings)
    placed: pd.DataFrame = gaps.merge(rows, on=["granularity", "method", "pattern"]).reindex(columns=COLUMNS)
    return placed


def _place(granularities: pd.Series) -> pd.Series:
    return granularities.map({"depth": 0, "width": 1, "sparse": 2, "hybrid": 3})


def draw(tables: Tables, study: str) -> Figure:
    """A panel per setting, a row per method, with zero and the margin."""
    drawn = data(tables)
    figure = style.new_figure(2, 1.5 + ROW_INCHES * (drawn["row"].max() if len(drawn) else 4))
    if drawn.empty:
        style.say_nothing_to_draw(figure.subplots(), "This study compares nothing at equal or full budgets.")
    else:
        settings, styles = style.settings_of(drawn), style.series_styles(tables.gaps)
        panels = figure.subplots(1, len(settings), sharey=True, squeeze=False)[0]
        for axes, setting in zip(panels, settings, strict=True):
            _draw_panel(axes, drawn[drawn["setting"] == setting], styles, style.SETTING_TITLES[setting])
        _name_rows(panels[0], drawn)
        note = f"Ratio {drawn['ratio'].iloc[0]:g}, retraining on {token_label(drawn['budget'].iloc[0])} tokens."
        style.explain(figure, drawn, [style.matched(drawn["margin"].iloc[0])], note, columns=1)
    style.name_study(figure, tables, study, findings.granularity(drawn))
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, styles: style.Styles, title: str) -> None:
    axes.set_title(title)
    style.gap_axis(axes)
    style.mark_matched(axes, rows["margin"].iloc[0])
    for row in records(rows):
        style.interval(axes, row, "gap", row["row"], styles[(row["method"], row["pattern"])])


def _name_rows(axes: Axes, drawn: pd.DataFrame) -> None:
    methods = {row["row"]: style.series_label(row["method"], row["pattern"]) for row in records(drawn)}
    headings = {rows["row"].min() - 1: str(name) for name, rows in drawn.groupby("granularity")}
    names = methods | headings
    axes.set_yticks(sorted(names), [names[row] for row in sorted(names)])
    for row, label in zip(sorted(names), axes.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if row in headings else "normal")
    axes.set_ylim(max(names) + 0.6, min(names) - 0.6)
    axes.set_ylabel("method")
