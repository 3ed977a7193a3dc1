"""The gap at equal budgets against the pruning ratio."""

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pruning_vs_scratch.figures import choose, findings, style
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.load import Tables

DODGE_SHARE = 0.02
"""Sideways distance of neighbouring series, as a share of the range of ratios: their intervals stay apart."""
ONE_RATIO_RANGE = 0.25
"""Stands for the range where there is one ratio only."""

COLUMNS = [
    "method", "pattern", "granularity", "ratio", "x", "gap", "low", "high", "budget", "margin", "seeds", "sequences",
    "dataset", "confidence", "retrained", "scratch",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per method, pattern and ratio at the chosen budget; ``x`` is the ratio, moved aside."""
    equal = choose.measured(tables, "equal")
    if equal.empty:
        return pd.DataFrame(columns=COLUMNS)
    drawn = equal[equal["budget"] == choose.most_common(equal["budget"])].reset_index(drop=True)
    series = drawn.groupby(["method", "pattern"], sort=False).ngroup()
    step = DODGE_SHARE * _range(drawn["ratio"])
    return drawn.assign(x=drawn["ratio"] + step * (series - series.max() / 2)).reindex(columns=COLUMNS)


def _range(ratios: pd.Series) -> float:
    return float(ratios.max() - ratios.min()) or ONE_RATIO_RANGE


def draw(tables: Tables, study: str) -> Figure:
    """One line per method and pattern, with intervals, zero and the margin."""
    drawn = data(tables)
    figure = style.new_figure(1, 3.6)
    axes = figure.subplots()
    axes.set_xlabel("pruning ratio")
    axes.set_ylabel("gap, scratch minus pruned\n(nats per token)")
    if drawn.empty:
        style.say_nothing_to_draw(axes, "This study compares nothing\nat equal budgets.")
    else:
        _draw_series(axes, drawn, style.series_styles(tables.gaps))
        note = f"Both sides trained on {token_label(drawn['budget'].iloc[0])} tokens."
        style.explain(figure, drawn, _handles(drawn, axes), note, columns=2)
    style.name_study(figure, tables, study, findings.ratio(drawn))
    return figure


def _draw_series(axes: Axes, drawn: pd.DataFrame, styles: style.Styles) -> None:
    margin = drawn["margin"].iloc[0]
    axes.axhspan(-margin, margin, color=style.BAND_COLOUR, lw=0)
    axes.axhline(0, color="black", lw=0.6)
    for key, line in style.series(drawn):
        look = styles[key]
        around = np.stack([line["gap"] - line["low"], line["high"] - line["gap"]])
        axes.errorbar(line["x"], line["gap"], yerr=around, color=look.colour, marker=look.marker, label=look.label)
    ratios = sorted(drawn["ratio"].unique())
    pad = 0.15 * _range(drawn["ratio"])
    axes.set_xlim(ratios[0] - pad, ratios[-1] + pad)
    axes.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])


def _handles(drawn: pd.DataFrame, axes: Axes) -> list[Artist]:
    series, _ = axes.get_legend_handles_labels()
    return [*series, style.matched(drawn["margin"].iloc[0])]
