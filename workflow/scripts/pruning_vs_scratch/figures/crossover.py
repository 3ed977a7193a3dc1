"""Measured gaps, the gap between two power laws, and the budget from which scratch is ahead."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import offset_copy

from pruning_vs_scratch.figures import choose, findings, sideways, style
from pruning_vs_scratch.tables.crossover import Crossover
from pruning_vs_scratch.tables.load import COLUMNS as STORED
from pruning_vs_scratch.tables.load import Tables
from pruning_vs_scratch.tables.resampling import FAR

PANEL_HEIGHT = 2.5
DODGE_SHARE = 0.02
"""Sideways distance of the measured points of neighbouring methods, as a share of the axis between the budgets."""
STEP_POINTS = 4.0
"""Vertical distance of the crossovers of several methods."""
COLUMNS = ["panel", "x", *STORED["crossover.csv"]]


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: measured gaps and points of fitted curves, at each family's ratio with the most budgets.

    ``x`` is the budget; that of measured gaps is moved aside for the method.
    """
    rows = tables.crossover.assign(x=tables.crossover["budget"])
    measured = choose.families(rows[(rows["kind"] == "measured") & rows["measured"].notna()])
    measured = measured.assign(x=sideways.moved(measured, measured["budget"], "panel", DODGE_SHARE))
    keys = ["method", "pattern", "ratio"]
    curves = rows[rows["kind"] == "curve"].merge(measured[[*keys, "panel"]].drop_duplicates(), on=keys)
    parts = [part.reindex(columns=COLUMNS) for part in (measured, curves) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def draw(tables: Tables, study: str) -> Figure:
    """A panel per target family: gaps with their intervals, curves with their bands, dashed beyond the data."""
    drawn = data(tables)
    nothing = "This study compares nothing\nat equal budgets."
    figure, panels = style.panels(drawn, PANEL_HEIGHT, 1.2, nothing)
    styles = style.series_styles(tables.gaps)
    for axes, name, rows in panels:
        _draw_panel(axes, name, rows, styles)
    if panels:
        handles = [_handle(styles[key], rows) for key, rows in style.series(drawn)]
        note = (
            "Curves: the difference of two power laws; on the line at zero: the budget from which scratch is ahead, "
            f"with its interval. Nothing is stated beyond {FAR:g} times the largest budget."
        )
        style.explain(figure, drawn, handles, note, columns=1)
    style.name_study(figure, tables, study, findings.crossover(drawn), drawn[drawn["kind"] == "measured"])
    return figure


def _draw_panel(axes: Axes, name: str, rows: pd.DataFrame, styles: style.Styles) -> None:
    axes.axhline(0, color="black", lw=0.6)
    for place, (key, method) in enumerate(style.series(rows)):
        look = styles[key]
        measured, curve = (method[method["kind"] == kind] for kind in ("measured", "curve"))
        around = [measured["measured"] - measured["low"], measured["high"] - measured["measured"]]
        axes.errorbar(
            measured["x"], measured["measured"], yerr=around, color=look.colour, marker=look.marker, ls="none"
        )
        _draw_curve(axes, method[method["fitted"].notna()], measured["budget"], look.colour)
        _draw_crossover(axes, method.iloc[0], curve["budget"], look, place)
    axes.set_title(f"{name}, ratio {rows['ratio'].iloc[0]:g}")
    axes.set_ylabel("gap, scratch minus pruned\n(nats per token)")
    axes.set_xlabel("training tokens (logarithmic)")
    ends = pd.Series([rows["budget"].min() / style.ROOM, rows["budget"].max() * style.ROOM])
    style.log_axis(axes, ends)
    axes.set_xlim(*ends)


def _draw_curve(axes: Axes, curve: pd.DataFrame, run: pd.Series, colour: str) -> None:
    """Solid between the budgets that were run, and not drawn before them, where laws fan out."""
    curve = curve[curve["budget"] >= run.min()].sort_values("budget")
    axes.fill_between(curve["budget"], curve["fitted_low"], curve["fitted_high"], color=colour, alpha=0.15, lw=0)
    axes.plot(curve["budget"], curve["fitted"], color=colour, ls="--")
    inside = curve[curve["budget"] <= run.max()]
    axes.plot(inside["budget"], inside["fitted"], color=colour)


def _draw_crossover(axes: Axes, row: pd.Series, reach: pd.Series, look: style.SeriesStyle, place: int) -> None:
    """On the line at zero, with an arrow where the interval is open; methods are slightly above each other."""
    if row["status"] == "not determined":
        return
    figure = axes.get_figure(root=True)
    above = offset_copy(axes.transData, fig=figure, y=style.scaled(STEP_POINTS * place), units="points")
    ends = {"<": (row["crossover_low"], reach.min()), ">": (row["crossover_high"], reach.max())}
    shown = [farthest if pd.isna(end) else end for end, farthest in ends.values()]
    axes.plot(shown, [0, 0], color=look.colour, lw=style.scaled(2), transform=above)
    for arrow, (end, farthest) in ends.items():
        if pd.isna(end):
            axes.plot([farthest], [0], color=look.colour, marker=arrow, transform=above)
    if pd.notna(row["crossover_tokens"]):
        axes.plot([row["crossover_tokens"]], [0], color=look.colour, marker=look.marker, mfc="white", transform=above)


def _handle(look: style.SeriesStyle, rows: pd.DataFrame) -> Line2D:
    """The legend's entry: the method and the budget from which scratch is ahead."""
    row = rows.iloc[0]
    ends = {end: row[f"crossover_{end}"] for end in ("tokens", "low", "high") if pd.notna(row[f"crossover_{end}"])}
    found = Crossover(row["status"], **ends, reason=row["reason"])
    return style.entry(f"{look.label}: {found}", color=look.colour, marker=look.marker)
