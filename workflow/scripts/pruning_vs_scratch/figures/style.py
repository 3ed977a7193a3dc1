"""How every figure looks. Colours can be told apart by colour-blind readers, markers and line styles in grey."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.load import Tables

PANEL_INCHES = 3.4
"""Width of a journal's column."""
SMALL_POINTS = 7.0
ROOM_FOR_TICK_LABEL = 0.14
"""Share of a panel's width that a token label needs; nearer ticks get upright labels."""
SIGNS_PER_INCH = 16
"""Signs of small type that fit in an inch, with some to spare."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito (2008), without yellow, which is faint on white, and black, which is for scratch."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "*", ">", "h")
SCRATCH_COLOUR = "black"
PARENT_COLOUR = "#666666"
BAND_COLOUR = "#F5EFA0"

RC: dict[Any, Any] = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": SMALL_POINTS,
    "ytick.labelsize": SMALL_POINTS,
    "legend.fontsize": SMALL_POINTS,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "errorbar.capsize": 2.0,
    "pdf.fonttype": 42,  # TrueType: text in the PDF stays text
    "savefig.dpi": 200,
}


@dataclass(frozen=True)
class SeriesStyle:
    """How one method and pattern looks, in every figure of a study."""

    label: str
    colour: str
    marker: str

    def handle(self) -> Line2D:
        """The legend's entry."""
        return Line2D([], [], color=self.colour, marker=self.marker, label=self.label)


Styles = dict[tuple[str, str], SeriesStyle]
"""Styles by method and pattern."""


@contextmanager
def settings() -> Iterator[None]:
    """Matplotlib with this style and nothing of the user's own."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


def series_styles(gaps: pd.DataFrame) -> Styles:
    """Styles by method and pattern, over all the study's comparisons so that they agree between figures.

    The patterns of a method share its colour.
    """
    keys = [key for key, _ in series(gaps)]
    methods = list(dict.fromkeys(method for method, _ in keys))
    return {
        key: SeriesStyle(series_label(*key), COLOURS[methods.index(key[0]) % len(COLOURS)], MARKERS[i % len(MARKERS)])
        for i, key in enumerate(keys)
    }


def series(drawn: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """The rows of each (method, pattern), in the order in which they appear."""
    return [((str(key[0]), str(key[1])), rows) for key, rows in drawn.groupby(["method", "pattern"], sort=False)]


def name_study(figure: Figure, tables: Tables, study: str) -> None:
    """Put the study's name and token scale above the figure."""
    figure.suptitle(_wrapped(figure, f"Study {study}: {token_scale(tables)}"), fontsize=8)


def explain(figure: Figure, drawn: pd.DataFrame, handles: Sequence[Artist], note: str, columns: int) -> None:
    """Put a note, what the intervals cover, and the legend below the panels, where nothing is hidden."""
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        title=_wrapped(figure, f"{note} {footer(drawn)}".strip()),
        title_fontsize=SMALL_POINTS,
    )


def records(drawn: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, each as a dictionary."""
    return [{str(key): value for key, value in row.items()} for row in drawn.to_dict("records")]


def token_scale(tables: Tables) -> str:
    """'parent 524k tokens, retraining 32.8k–131k'."""
    runs = tables.runs
    parent = runs.loc[runs["role"] == "retrained", "tokens_parent"].max()
    budgets = sorted(tables.gaps["budget"].unique())
    if not budgets:
        return "no comparisons"
    low, high = token_label(budgets[0]), token_label(budgets[-1])
    retraining = low if low == high else f"{low}–{high}"
    return f"parent {token_label(int(parent))} tokens, retraining {retraining}"


def footer(drawn: pd.DataFrame) -> str:
    """Corpus, sequences, seeds and what the intervals cover."""
    first, seeds = drawn.iloc[0], int(drawn["seeds"].min())
    covered = "over sequences only" if seeds == 1 else "over sequences and seeds"
    return (
        f"Corpus {first['dataset']}, {first['sequences']} sequences, {seeds} seed{'s' if seeds > 1 else ''}; "
        f"{first['confidence']:.0%} intervals {covered}."
    )


def _wrapped(figure: Figure, text: str) -> str:
    return textwrap.fill(text, int(figure.get_figwidth() * SIGNS_PER_INCH))


def token_axis(axes: Axes, budgets: list[int]) -> None:
    """A logarithmic token axis with a tick at each budget, and room on the left for a column of markers."""
    low, high = min(budgets), max(budgets)
    span = high / low if high > low else 4.0
    axes.set_xscale("log")
    axes.set_xlim(low / span**0.25, high * span**0.13)
    axes.xaxis.set_major_locator(FixedLocator([float(budget) for budget in budgets]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([token_label(budget) for budget in budgets])
    if least_distance(axes, budgets) < ROOM_FOR_TICK_LABEL:
        axes.tick_params(axis="x", rotation=90)
    axes.set_xlabel("training tokens (logarithmic)")


def least_distance(axes: Axes, budgets: list[int]) -> float:
    """Distance of the two nearest budgets on a token axis, as a share of its length; 1 if there is one budget."""
    low, high = axes.get_xlim()
    places = np.log(budgets) / np.log(high / low)
    return float(np.diff(places).min(initial=1.0))


def say_nothing_to_draw(axes: Axes, text: str) -> None:
    """Fill the axes of a figure for which the study has no data."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
