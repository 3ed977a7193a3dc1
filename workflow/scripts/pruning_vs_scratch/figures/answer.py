"""The paper's question in one picture: the gap at equal tokens, and with the whole pipeline's tokens for scratch."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pruning_vs_scratch.figures import choose, findings, style
from pruning_vs_scratch.tables.load import Tables

HEIGHT = 3.6
DODGE_SHARE = 0.022
"""Sideways distance of neighbouring series, as a share of the axis between the budgets: their intervals stay apart."""

COLUMNS = [
    "setting", "method", "pattern", "granularity", "ratio", "budget", "x", "gap", "low", "high", "margin", "seeds",
    "sequences", "dataset", "confidence", "retrained", "scratch",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per setting, method and budget, at the ratio with the most comparisons.

    ``x`` is the budget, moved aside for the method.
    """
    gaps = choose.measured(tables, *style.SETTING_TITLES)
    if gaps.empty:
        return pd.DataFrame(columns=COLUMNS)
    drawn = gaps[gaps["ratio"] == choose.most_common(gaps["ratio"])].reset_index(drop=True)
    series = drawn.groupby(["method", "pattern"], sort=False).ngroup()
    aside = DODGE_SHARE * (series - series.max() / 2)
    placed: pd.DataFrame = drawn.assign(x=drawn["budget"] * style.token_span(drawn["budget"]) ** aside).reindex(
        columns=COLUMNS
    )
    return placed


def draw(tables: Tables, study: str) -> Figure:
    """A panel per setting that the study has, with one axis of gaps, and a line per method and pattern."""
    drawn = data(tables)
    settings = style.settings_of(drawn)
    figure = style.new_figure(2, HEIGHT)
    if drawn.empty:
        style.say_nothing_to_draw(figure.subplots(), "This study compares nothing at equal or full budgets.")
    else:
        styles, budgets = style.series_styles(tables.gaps), sorted(drawn["budget"].unique())
        panels = figure.subplots(1, len(settings), sharey=True, squeeze=False)[0]
        for axes, setting in zip(panels, settings, strict=True):
            _draw_panel(axes, drawn[drawn["setting"] == setting], styles)
            axes.set_title(style.SETTING_TITLES[setting])
            style.token_axis(axes, budgets)
            axes.set_xlabel("retraining tokens (logarithmic)")
        panels[0].set_ylabel(style.GAP_LABEL)
        handles = [*(styles[key].handle() for key, _ in style.series(drawn)), style.matched(drawn["margin"].iloc[0])]
        style.explain(figure, drawn, handles, f"Ratio {drawn['ratio'].iloc[0]:g}. {style.ABOVE_ZERO}", columns=4)
    style.name_study(figure, tables, study, findings.answer(drawn))
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, styles: style.Styles) -> None:
    style.mark_matched_across(axes, rows["margin"].iloc[0])
    for key, line in style.series(rows):
        look, line = styles[key], line.sort_values("budget")
        around = np.stack([line["gap"] - line["low"], line["high"] - line["gap"]])
        axes.errorbar(line["x"], line["gap"], yerr=around, color=look.colour, marker=look.marker, lw=style.thin())
