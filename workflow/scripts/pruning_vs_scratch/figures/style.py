"""How every figure looks. Colour-blind readers can distinguish the colours; markers and line styles work in grey."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from pruning_vs_scratch.config.figures import FigureSize
from pruning_vs_scratch.figures.look import USUAL, ByMethod, Look
from pruning_vs_scratch.figures.sideways import LONE_SPAN
from pruning_vs_scratch.figures.words import plural
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.gaps import series_label as usual_label
from pruning_vs_scratch.tables.load import Tables, times_read

PANEL_INCHES = 3.4
"""Width of a journal's column."""
SCALES: dict[FigureSize, float] = {"column": 1.0, "talk": 1.75}
"""Enlargement of figures, type and lines: with talk, two panels fill a slide, in type of 14 points."""
POINTS, SMALL_POINTS = 8.0, 7.0
THIN_POINTS = 0.8
ROOM_FOR_TICK_LABEL = 0.14
"""Share of a panel's width that a token label needs; nearer ticks get upright labels."""
SIGNS_PER_INCH, TITLE_SIGNS_PER_INCH = 16, 14
"""Characters of small type, and of titles, that fit in an inch at the size of a column, with some to spare."""
LINE_HEIGHT, POINTS_PER_INCH = 1.25, 72
HEAD_ROOM = 0.06
"""Inches above a title, at the size of a column."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5D3A9B")
"""Okabe and Ito (2008), without yellow, which is faint on white, and black, which is for scratch; and a violet, since
the paper has six methods and this project one more."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h")
FAMILY_LINES = {"depth": "-", "width": "--", "sparse": ":", "hybrid": "-."}
LINE_NAMES = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "dash-dotted"}
PLAIN_PATTERNS = ("dense", "unstructured")
"""Patterns of filled markers; those of the others, such as 2:4, are open."""
SETTING_TITLES = {"equal": "scratch on as many tokens as retraining", "full": "scratch on the whole pipeline's tokens"}
"""The paper's two settings, in the order of panels."""
RUN_COLUMNS = ("retrained", "scratch", "runs")
"""Columns of a figure's data that name runs, separated by semicolons."""
GAP_LABEL = "gap, scratch minus pruned\n(nats per token)"
ABOVE_ZERO = "Above zero, pruned is ahead."
SCRATCH_COLOUR = "black"
PARENT_COLOUR = "#666666"
BAND_COLOUR = "#F5EFA0"

RC: dict[Any, Any] = {
    "legend.frameon": False,
    "legend.handlelength": 2.8,  # so that dashes are seen on both sides of a marker
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,  # TrueType: text in the PDF stays text
    "savefig.dpi": 200,
}
SCALED_RC: dict[Any, float] = {
    "font.size": POINTS,
    "axes.titlesize": POINTS,
    "axes.labelsize": POINTS,
    "xtick.labelsize": SMALL_POINTS,
    "ytick.labelsize": SMALL_POINTS,
    "legend.fontsize": SMALL_POINTS,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "errorbar.capsize": 2.0,
}
"""In points, at the size of a column."""


PANEL_COLUMNS = 2
ROOM = 1.6
"""Factor by which a logarithmic axis may be longer than the data on either side, so that it contains a round number."""
MOST_TICKS = 5
"""Ticks of round numbers that fit an axis."""


_look: ContextVar[Look] = ContextVar("look", default=USUAL)
"""The settings of the current style file."""


@dataclass(frozen=True)
class SeriesStyle:
    """How one method and pattern looks, in every figure of a study."""

    label: str
    colour: str
    marker: str
    line: str = "-"
    """The line of its granularity."""
    fill: str | None = None
    """Colour inside its marker, if it is a different one."""

    @property
    def without_colour(self) -> dict[str, Any]:
        """How Matplotlib draws it if many lines cross, so that granularities and patterns differ in grey too."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.line, "markerfacecolor": self.fill}

    def handle(self) -> Line2D:
        """The legend's entry."""
        return entry(self.label, color=self.colour, marker=self.marker)

    def handle_without_colour(self) -> Line2D:
        """The legend's entry if many lines cross."""
        return entry(self.label, **self.without_colour)

    def marker_handle(self) -> Line2D:
        """The legend's entry if no line joins the markers."""
        return entry(self.label, color=self.colour, marker=self.marker, linestyle="")


Axis = Literal["x", "y"]
Styles = dict[tuple[str, str], SeriesStyle]
"""Styles by method and pattern."""


def entry(label: str, **look: Any) -> Line2D:
    """A legend's entry."""
    return Line2D([], [], label=label, **look)


@contextmanager
def settings(size: FigureSize = "column", look: Look = USUAL) -> Iterator[None]:
    """Matplotlib with this style and the changes of a look, without the user's other settings.

    ``size`` is for looks that have none.
    """
    before = _look.set(look)
    try:
        with _matplotlib(look.size or size, look):
            yield
    finally:
        _look.reset(before)


@contextmanager
def _matplotlib(size: FigureSize, look: Look) -> Iterator[None]:
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        mpl.rcParams.update({name: SCALES[size] * value for name, value in SCALED_RC.items()})
        mpl.rcParams.update(({"font.family": look.font} if look.font else {}) | look.matplotlib)
        yield


def _scale() -> float:
    """The enlargement in the current settings."""
    value: float = mpl.rcParams["font.size"] / POINTS
    return value


def scaled(points: float) -> float:
    """A size scaled to the figure, from one at the size of a column."""
    return points * _scale()


def small_points() -> float:
    """Size of the smallest type."""
    return scaled(SMALL_POINTS)


def thin() -> float:
    """Width of lines that are close together."""
    return scaled(THIN_POINTS)


def new_figure(columns: int, height: float) -> Figure:
    """An empty figure as wide as some panels; the height is in inches at the size of a column."""
    panel = _look.get().panel_width or PANEL_INCHES
    return Figure(figsize=(panel * columns * _scale(), height * _scale()), layout="constrained")


def panels(
    drawn: pd.DataFrame,
    height: float,
    margin: float,
    nothing: str,
    *,
    beside: int = PANEL_COLUMNS,
    shared: tuple[Axis, ...] = (),
) -> tuple[Figure, list[tuple[Axes, str, pd.DataFrame]]]:
    """A figure with axes for the rows of each ``panel``; without rows, it says ``nothing``.

    Heights, of a panel and of the surroundings, are in inches at the size of a column. ``beside`` is the number of
    panels in a line, which is at most two columns wide; ``shared`` names the axes that all panels have in common.
    """
    groups = [(str(name), rows) for name, rows in drawn.groupby("panel", sort=False)]
    columns = min(beside, max(1, len(groups)))
    lines = max(1, -(-len(groups) // columns))
    figure = new_figure(min(PANEL_COLUMNS, columns), height * lines + margin)
    places = figure.subplots(lines, columns, squeeze=False, sharex="x" in shared, sharey="y" in shared)
    axes = list(places.ravel())
    if not groups:
        say_nothing_to_draw(axes[0], nothing)
    for spare, above in zip(axes[max(1, len(groups)) :], axes[max(1, len(groups)) - columns :], strict=False):
        spare.remove()
        above.tick_params(labelbottom=True)
    return figure, [(place, name, rows) for place, (name, rows) in zip(axes, groups, strict=False)]


def settings_of(drawn: pd.DataFrame) -> list[str]:
    """Those of the paper's two settings that have data, in the order of panels."""
    return [setting for setting in SETTING_TITLES if setting in set(drawn["setting"])]


def label_left(axes: Axes, label: str) -> None:
    """Name a vertical axis that panels share, at the left of each line of panels."""
    place = axes.get_subplotspec()
    if place is not None and place.is_first_col():
        axes.set_ylabel(label)


def label_below(axes: Axes, label: str) -> None:
    """Name a horizontal axis that panels share, where its ticks have labels."""
    if axes.xaxis.get_tick_params().get("labelbottom", True):
        axes.set_xlabel(label)


def series_styles(gaps: pd.DataFrame) -> Styles:
    """Styles by method and pattern, over all the study's comparisons so that they agree between figures.

    The patterns of a method share its colour.
    """
    keys = {key: str(rows["granularity"].iloc[0]) for key, rows in series(gaps)}
    methods = list(dict.fromkeys(method for method, _ in keys))
    look = _look.get()
    return {
        key: SeriesStyle(
            series_label(*key),
            _own(look.colours, *key) or COLOURS[methods.index(key[0]) % len(COLOURS)],
            _own(look.markers, *key) or MARKERS[i % len(MARKERS)],
            FAMILY_LINES.get(granularity, "-"),
            None if key[1] in PLAIN_PATTERNS else "white",
        )
        for i, (key, granularity) in enumerate(keys.items())
    }


def lines_named(drawn: pd.DataFrame) -> str:
    """'Lines: depth solid, width dashed. Open markers: 2:4.', of what is drawn."""
    lines = [f"{name} {LINE_NAMES[FAMILY_LINES[name]]}" for name in FAMILY_LINES if name in set(drawn["granularity"])]
    patterns = [str(pattern) for pattern in drawn["pattern"].unique() if pattern not in PLAIN_PATTERNS]
    opened = f" Open markers: {', '.join(patterns)}." if patterns else ""
    return f"Lines: {', '.join(lines)}.{opened}"


def series_label(method: str, pattern: str) -> str:
    """'ShortGPT', 'Wanda', 'Wanda 2:4', or what the style file calls it."""
    return _own(_look.get().labels, method, pattern) or usual_label(method, pattern)


def _own(values: ByMethod, method: str, pattern: str) -> str | None:
    """The style file's value for a method with a pattern, or for the method."""
    return values.get(f"{method} {pattern}", values.get(method))


def as_in_all(gaps: pd.DataFrame, look: Look) -> Look:
    """A look that gives methods the colours and markers that they have among all others of a study."""
    with settings(look=look):
        styles = {f"{method} {pattern}": style for (method, pattern), style in series_styles(gaps).items()}
    return look.model_copy(
        update={
            "colours": {key: style.colour for key, style in styles.items()},
            "markers": {key: style.marker for key, style in styles.items()},
        }
    )


def series(drawn: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """The rows of each (method, pattern), in the order in which they appear."""
    return [((str(key[0]), str(key[1])), rows) for key, rows in drawn.groupby(["method", "pattern"], sort=False)]


def name_study(figure: Figure, tables: Tables, study: str, finding: str, drawn: pd.DataFrame) -> None:
    """Put the finding above the figure, and below it the study's name and the tokens shown."""
    head(figure, finding, f"Study {study}: {token_scale(tables, drawn)}{_left_out(tables)}")


def head(figure: Figure, finding: str, about: str = "") -> None:
    """Put a sentence above the figure, and in smaller type what it is about; the figure grows by their height."""
    inches = figure.get_figwidth() / _scale()
    parts = [
        (_balanced(finding, int(inches * TITLE_SIGNS_PER_INCH)), mpl.rcParams["font.size"], "bold"),
        (_wrapped(figure, about), small_points(), "normal"),
    ]
    room, places = HEAD_ROOM * _scale(), []
    for text, size, weight in parts:
        if text:
            places.append((room, text, size, weight))
            room += (text.count("\n") + 1) * size * LINE_HEIGHT / POINTS_PER_INCH + HEAD_ROOM / 2 * _scale()
    height = figure.get_figheight() + room
    figure.set_figheight(height)
    for below, text, size, weight in places:
        figure.text(0.5, 1 - below / height, text, ha="center", va="top", fontsize=size, fontweight=weight)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0, 0, 1, 1 - room / height))


def _balanced(text: str, width: int) -> str:
    """A text in as few lines as a width allows, about equally long."""
    lines = len(textwrap.wrap(text, width))
    least = next((narrow for narrow in range(1, width) if len(textwrap.wrap(text, narrow)) == lines), width)
    return textwrap.fill(text, least)


def _left_out(tables: Tables) -> str:
    """How many comparisons no figure can show."""
    count = int(tables.gaps["gap"].isna().sum())
    return f"; {plural(count, 'comparison')} without a value not drawn" if count else ""


def explain(figure: Figure, drawn: pd.DataFrame, handles: Sequence[Artist], note: str, columns: int) -> None:
    """Put a note, what the intervals cover, and the legend below the panels, where nothing is hidden."""
    legend(figure, handles, f"{note} {footer(drawn)}".strip(), columns)


def legend(figure: Figure, handles: Sequence[Artist], note: str, columns: int) -> None:
    """Put a note and the legend below the panels, where nothing is hidden."""
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        title=_wrapped(figure, note),
        title_fontsize=small_points(),
    )


def parent_scale(tables: Tables) -> str:
    """'parent 524k tokens', or that the number is unknown."""
    parents = tables.runs.loc[tables.runs["role"] == "retrained", "tokens_parent"]
    if parents.empty:
        return "no retrained models"
    return "parent's tokens not known" if parents.isna().all() else f"parent {token_label(int(parents.max()))} tokens"


def token_scale(tables: Tables, drawn: pd.DataFrame) -> str:
    """'parent 524k tokens, retraining 32.8k–131k', with the budgets that are drawn."""
    if tables.gaps.empty:
        return "no comparisons"
    budgets = sorted(drawn["budget"].dropna().unique()) if "budget" in drawn else []
    ends = dict.fromkeys(token_label(budget) for budget in (budgets[0], budgets[-1])) if budgets else {}
    retraining = f", retraining {'–'.join(ends)}" if ends else ""
    repeated = times_read(_runs_of(tables, drawn))
    passes = f", text read up to {repeated:.1f} times" if repeated > 1 else ""
    return f"{parent_scale(tables)}{retraining}{passes}"


def _runs_of(tables: Tables, drawn: pd.DataFrame) -> pd.DataFrame:
    """The parents and the runs that some data name; all runs if they name none."""
    named = [drawn[column].dropna().str.split(";").explode() for column in RUN_COLUMNS if column in drawn]
    if not named:
        return tables.runs
    return tables.runs[tables.runs["run"].isin(pd.concat(named)) | (tables.runs["role"] == "parent")]


def footer(drawn: pd.DataFrame) -> str:
    """Corpus, sequences, seeds and what the intervals cover."""
    first = drawn.iloc[0]
    covered = coverage(drawn, "sequences") + (_coverage_of_laws(drawn) if "misfit" in drawn else "")
    return f"Corpus {first['dataset']}, {first['sequences']} sequences, {covered}"


def _coverage_of_laws(drawn: pd.DataFrame) -> str:
    """What the intervals of power laws cover: not seeds, but, where a law has budgets to spare, the laws' misfit."""
    known = bool(drawn["misfit"].notna().any())
    if drawn["seeds"].min() == 1 and not known:
        return ""
    covered = "and the laws' misfit" if known else "only"
    return f" Those of power laws: over sequences {covered}."


def coverage(drawn: pd.DataFrame, units: str) -> str:
    """'1 seed; 95% intervals over sequences only.'"""
    seeds = int(drawn["seeds"].min())
    covered = f"over {units} only" if seeds == 1 else f"over {units} and seeds"
    return f"{plural(seeds, 'seed')}; {drawn['confidence'].iloc[0]:.0%} intervals {covered}."


def seeds_shown(seeds: pd.Series) -> str:
    """'1 seed.', or the meaning of means and bands of several; for figures without intervals."""
    least, most = int(seeds.min()), int(seeds.max())
    count = f"{least} to {plural(most, 'seed')}" if least < most else plural(most, "seed")
    return f"Means of {count}; bands: from the lowest to the highest." if most > 1 else f"{count}."


def band(axes: Axes, x: pd.Series, low: pd.Series, high: pd.Series, colour: str) -> None:
    """The range of the seeds."""
    axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)


def _wrapped(figure: Figure, text: str) -> str:
    return _balanced(text, int(figure.get_figwidth() / _scale() * SIGNS_PER_INCH))


def token_span(budgets: Iterable[float]) -> float:
    """The largest budget as a multiple of the smallest; a substitute if there is only one."""
    low, high = min(budgets), max(budgets)
    return high / low if high > low else LONE_SPAN


def token_axis(axes: Axes, budgets: list[int]) -> None:
    """A logarithmic token axis with a tick at each budget, and room on the left for a column of markers."""
    low, high = min(budgets), max(budgets)
    span = token_span(budgets)
    axes.set_xscale("log")
    axes.set_xlim(low / span**0.25, high * span**0.13)
    axes.xaxis.set_major_locator(FixedLocator([float(budget) for budget in budgets]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([token_label(budget) for budget in budgets])
    if least_distance(axes, budgets) < ROOM_FOR_TICK_LABEL:
        axes.tick_params(axis="x", rotation=90)
    axes.set_xlabel("training tokens (logarithmic)")


def token_name(tokens: float) -> str:
    """The label of a number of tokens, or of a difference of two."""
    return ("-" if tokens < 0 else "") + token_label(round(abs(tokens)))


def log_axis(axes: Axes, values: pd.Series, say: Callable[[float], str] = token_name) -> None:
    """A logarithmic axis for curves, of tokens unless ``say`` names its ticks otherwise: ticks at round numbers."""
    low, high = float(values.min()), float(values.max())
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_round_numbers(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: say(value))


def _round_numbers(low: float, high: float) -> list[float]:
    """Numbers 1, 2 or 5 times a power of ten between two bounds, evenly thinned to the most that fit an axis."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    numbers = [float(power * digit) for power in powers for digit in (1, 2, 5) if low <= power * digit <= high]
    return numbers[:: -(-len(numbers) // MOST_TICKS) or 1]


def least_distance(axes: Axes, budgets: list[int]) -> float:
    """Distance of the two nearest budgets on a token axis, as a share of its length; 1 if there is one budget."""
    low, high = axes.get_xlim()
    places = np.log(budgets) / np.log(high / low)
    return float(np.diff(places).min(initial=1.0))


def interval(axes: Axes, row: dict[str, Any], value: str, y: float, look: SeriesStyle, fill: str | None = None) -> None:
    """A marker with its horizontal interval, filled with its colour or another."""
    around = [[row[value] - row["low"]], [row["high"] - row[value]]]
    axes.errorbar([row[value]], [y], xerr=around, color=look.colour, marker=look.marker, mfc=fill, linestyle="none")


def mark_matched(axes: Axes, margin: float) -> None:
    """The gaps at which two models count as matched, and zero."""
    axes.axvspan(-margin, margin, color=BAND_COLOUR, lw=0)
    axes.axvline(0, color="black", lw=0.6)


def mark_matched_across(axes: Axes, margin: float) -> None:
    """The same for gaps on the vertical axis."""
    axes.axhspan(-margin, margin, color=BAND_COLOUR, lw=0)
    axes.axhline(0, color="black", lw=0.6)


def matched(margin: float) -> Patch:
    """The legend's entry for the gaps at which two models count as matched."""
    return Patch(facecolor=BAND_COLOUR, label=f"matched: within ±{margin:g}")


def gap_axis(axes: Axes) -> None:
    """A horizontal axis of gaps over rows that a neighbouring panel names."""
    axes.set_xlabel("gap, scratch minus pruned (nats per token)\n← scratch better      pruning better →")
    axes.xaxis.set_major_locator(MaxNLocator(MOST_TICKS))
    row_grid(axes)


def row_grid(axes: Axes) -> None:
    """Faint lines that lead from a row's name to what is drawn."""
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color="#EEEEEE", lw=0.6)
    axes.set_axisbelow(True)


def say_empty(axes: Axes, why: str = "not in this study") -> None:
    """Fill a panel for which the study has nothing to draw, next to one for which it has."""
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes)
    axes.tick_params(length=0, labelbottom=False, labelleft=False)


def say_nothing_to_draw(axes: Axes, text: str) -> None:
    """Fill the axes of a figure for which the study has no data."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
