"""The gap against the budget with the line fitted to it, where that line meets zero, and what the fit leaves over."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pruning_vs_scratch.figures import choose, style
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.load import COLUMNS as STORED
from pruning_vs_scratch.tables.load import Tables

FARTHEST = 8.0
"""Lines are drawn on to their crossover, but no farther than this many times the largest budget."""
COLUMNS = list(STORED["crossover.csv"])


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per method and budget, at the ratio with the most of them."""
    lines = tables.crossover[tables.crossover["gap"].notna()]
    if lines.empty:
        return lines.reindex(columns=COLUMNS)
    return lines[lines["ratio"] == choose.most_common(lines["ratio"])].reset_index(drop=True)


def draw(tables: Tables, study: str) -> Figure:
    """Above, gaps and their lines, dashed beyond the data; below, measured less fitted gap."""
    drawn = data(tables)
    figure = style.new_figure(2, 5.0)
    if drawn.empty:
        style.say_nothing_to_draw(figure.subplots(), "This study compares no method\nat two equal budgets.")
    else:
        gaps, residuals = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        styles = style.series_styles(tables.gaps)
        for key, line in style.series(drawn):
            _draw_line(gaps, residuals, line, styles[key])
        _name_axes(gaps, residuals, drawn)
        handles = [_handle(styles[key], line) for key, line in style.series(drawn)]
        ratio = f"{drawn['ratio'].iloc[0]:g}"
        note = f"Ratio {ratio}. By method: the budget from which scratch would be ahead, if the line is right."
        style.explain(figure, drawn, handles, note, columns=2)
    style.name_study(figure, tables, study)
    return figure


def _draw_line(gaps: Axes, residuals: Axes, line: pd.DataFrame, look: style.SeriesStyle) -> None:
    tokens = line["budget"]
    gaps.fill_between(tokens, line["fitted_low"], line["fitted_high"], color=look.colour, alpha=0.15, lw=0)
    gaps.plot(tokens, line["fitted"], color=look.colour)
    gaps.plot(tokens, line["gap"], color=look.colour, marker=look.marker, linestyle="none", label=look.label)
    residuals.plot(tokens, line["residual"], color=look.colour, marker=look.marker, linestyle="none")
    last = line.iloc[-1]
    end = min(float(last["crossover_tokens"]), FARTHEST * last["budget"])
    if end > last["budget"]:
        beyond = last["fitted"] + last["slope_per_doubling"] * np.log2(end / last["budget"])
        gaps.plot([last["budget"], end], [last["fitted"], beyond], color=look.colour, linestyle="--")


def _name_axes(gaps: Axes, residuals: Axes, drawn: pd.DataFrame) -> None:
    for axes in (gaps, residuals):
        axes.axhline(0, color="black", lw=0.6)
    gaps.set_ylabel("gap, scratch minus pruned\n(nats per token)")
    residuals.set_ylabel("measured\nless fitted")
    gaps.set_xlabel("training tokens (logarithmic)")
    residuals.set_xlabel("training tokens (logarithmic)")
    gaps.xaxis.label.set_visible(False)
    style.log_axis(residuals, drawn["budget"])
    ends = sorted(drawn["budget"].unique())
    residuals.set_xticks(ends, [token_label(int(end)) for end in ends])


def _handle(look: style.SeriesStyle, line: pd.DataFrame) -> Line2D:
    """The legend's entry: the method and its crossover with the interval."""
    row = line.iloc[0]
    if pd.isna(row["crossover_tokens"]):
        found = str(row["status"])
    else:
        low, high = (
            "open" if pd.isna(end) else token_label(round(end)) for end in row[["crossover_low", "crossover_high"]]
        )
        found = f"{token_label(round(row['crossover_tokens']))} [{low}, {high}]"
    return style.entry(f"{look.label}: {found}", color=look.colour, marker=look.marker)
