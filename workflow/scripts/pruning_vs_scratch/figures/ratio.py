"""The gap at equal budgets against the pruning ratio, a panel per granularity."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pruning_vs_scratch.figures import choose, findings, sideways, style
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.load import Tables

BESIDE = 3
DODGE_SHARE, PAD_SHARE = 0.05, 0.2
"""Sideways distance of neighbouring series, and room next to the ratios, as shares of their range."""
ONE_RATIO_RANGE = 0.25
"""Used as the range if there is only one ratio."""

PANEL_HEIGHT = 2.3

COLUMNS = [
    "panel", "method", "pattern", "granularity", "ratio", "x", "gap", "low", "high", "budget", "margin", "seeds",
    "sequences", "dataset", "confidence", "retrained", "scratch",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per method, pattern and ratio at the chosen budget; ``x`` is the ratio, moved aside."""
    equal = choose.measured(tables, "equal")
    if equal.empty:
        return pd.DataFrame(columns=COLUMNS)
    drawn = equal[equal["budget"] == choose.most_common(equal["budget"])].reset_index(drop=True)
    aside = DODGE_SHARE * _range(drawn["ratio"]) * sideways.places(drawn, "granularity")
    x = drawn["ratio"] + aside
    placed: pd.DataFrame = drawn.assign(panel=drawn["granularity"], x=x).reindex(columns=COLUMNS)
    return placed


def _range(ratios: pd.Series) -> float:
    return float(ratios.max() - ratios.min()) or ONE_RATIO_RANGE


def draw(tables: Tables, study: str) -> Figure:
    """A line per method and pattern, with intervals, zero and the margin, on one axis of gaps."""
    drawn = data(tables)
    nothing = "This study compares nothing\nat equal budgets."
    figure, panels = style.panels(drawn, PANEL_HEIGHT, 1.2, nothing, beside=BESIDE, shared=("x", "y"))
    styles = style.series_styles(tables.gaps)
    for axes, name, rows in panels:
        _draw_panel(axes, name, rows, styles)
    if panels:
        first = panels[0][0]
        first.set_ylabel(style.GAP_LABEL)
        _ratio_axis(first, drawn["ratio"])
        handles = [styles[key].handle_without_colour() for key, _ in style.series(drawn)]
        note = (
            f"Both sides trained on {token_label(drawn['budget'].iloc[0])} tokens. {style.ABOVE_ZERO} "
            f"{style.lines_named(drawn)}"
        )
        matched = style.matched(drawn["margin"].iloc[0])
        style.explain(figure, drawn, [*handles, matched], note, columns=4 if len(panels) > 1 else 2)
    style.name_study(figure, tables, study, findings.ratio(drawn), drawn)
    return figure


def _draw_panel(axes: Axes, name: str, rows: pd.DataFrame, styles: style.Styles) -> None:
    style.mark_matched_across(axes, rows["margin"].iloc[0])
    for key, line in style.series(rows):
        around = np.stack([line["gap"] - line["low"], line["high"] - line["gap"]])
        axes.errorbar(line["x"], line["gap"], yerr=around, lw=style.thin(), **styles[key].without_colour)
    axes.set_title(name)
    axes.set_xlabel("pruning ratio")


def _ratio_axis(axes: Axes, ratios: pd.Series) -> None:
    values, pad = sorted(ratios.unique()), PAD_SHARE * _range(ratios)
    axes.set_xlim(values[0] - pad, values[-1] + pad)
    axes.set_xticks(values, [f"{ratio:g}" for ratio in values])
