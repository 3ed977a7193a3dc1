"""The paper's question in one picture: the gap at equal tokens, and with the whole pipeline's tokens for scratch."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pruning_vs_scratch.figures import choose, findings, sideways, style
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.load import Tables

HEIGHT = 3.6
DODGE_SHARE = 0.03
"""Sideways distance of neighbouring series, as a share of the axis; around a single budget, they fill all of it."""
PAD_SHARE = 0.06
"""Room next to the outermost series, as a share of the axis."""
SQUEEZED = 1 / 3
"""A panel whose gaps fill less of the other's axis gets its own."""

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
    drawn = choose.coarsest_first(gaps[gaps["ratio"] == choose.most_common(gaps["ratio"])])
    x = sideways.moved(drawn, drawn["budget"], "setting", DODGE_SHARE, alone=1.0)
    placed: pd.DataFrame = drawn.assign(x=x).reindex(columns=COLUMNS)
    return placed


def draw(tables: Tables, study: str) -> Figure:
    """A panel per setting that the study has, with a line per method and pattern."""
    drawn = data(tables)
    figure = style.new_figure(2, HEIGHT)
    if drawn.empty:
        style.say_nothing_to_draw(figure.subplots(), "This study compares nothing at equal or full budgets.")
    else:
        styles, settings, apart = style.series_styles(tables.gaps), style.settings_of(drawn), has_own_axes(drawn)
        panels = figure.subplots(1, len(settings), sharey=not apart, squeeze=False)[0]
        for axes, setting in zip(panels, settings, strict=True):
            _draw_panel(axes, drawn[drawn["setting"] == setting], styles)
            axes.set_title(style.SETTING_TITLES[setting])
            if apart or axes is panels[0]:
                axes.set_ylabel(style.GAP_LABEL)
        handles = [styles[key].handle_without_colour() for key, _ in style.series(drawn)]
        style.explain(figure, drawn, [*handles, style.matched(drawn["margin"].iloc[0])], _note(drawn), columns=4)
    style.name_study(figure, tables, study, findings.answer(drawn), drawn)
    return figure


def has_own_axes(drawn: pd.DataFrame) -> bool:
    """Whether one axis of gaps, which begins or ends at zero at the latest, would squeeze the panel of a setting."""
    ends = drawn[["gap", "low", "high"]].groupby(drawn["setting"]).agg(["min", "max"])
    lengths = ends.max(axis=1).clip(lower=0) - ends.min(axis=1).clip(upper=0)
    return bool(lengths.min() < SQUEEZED * lengths.max())


def _draw_panel(axes: Axes, rows: pd.DataFrame, styles: style.Styles) -> None:
    style.mark_matched_across(axes, rows["margin"].iloc[0])
    for key, line in style.series(rows):
        line = line.sort_values("budget")
        around = np.stack([line["gap"] - line["low"], line["high"] - line["gap"]])
        axes.errorbar(line["x"], line["gap"], yerr=around, lw=style.thin(), **styles[key].without_colour)
    budgets = sorted(rows["budget"].unique())
    style.token_axis(axes, budgets)
    axes.set_xlabel("retraining tokens (logarithmic)")
    pad = style.token_span(rows["x"]) ** PAD_SHARE
    axes.set_xlim(rows["x"].min() / pad, rows["x"].max() * pad)
    if len(budgets) == 1:
        _name_granularities(axes, rows)


def _name_granularities(axes: Axes, rows: pd.DataFrame) -> None:
    """Of a single budget, the axis tells which methods are side by side."""
    middles = np.exp(np.log(rows["x"]).groupby(rows["granularity"], sort=False).mean())
    axes.set_xticks(middles, list(middles.index), rotation=0)
    axes.set_xlabel(f"methods, retrained on {token_label(rows['budget'].iloc[0])} tokens")


def _note(drawn: pd.DataFrame) -> str:
    apart = " Each panel has its own axis of gaps." if has_own_axes(drawn) else ""
    return f"Ratio {drawn['ratio'].iloc[0]:g}. {style.ABOVE_ZERO}{apart} {style.lines_named(drawn)}"
