"""How to recover: pruning in several steps against once, and one learning-rate schedule for all against a new one."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pruning_vs_scratch.figures import findings, rows, style
from pruning_vs_scratch.tables.load import Tables, records

ROW_INCHES = 0.25
PANELS = {
    "gradual": ("pruned in several steps", "once minus several"),
    "joint": ("one learning-rate schedule", "new schedule minus one for all"),
}
"""By arm, the title of its panel, and what its differences are."""

COLUMNS = [
    "panel", "arm", "row", "method", "pattern", "granularity", "ratio", "budget", "steps", "gap", "low", "high",
    "margin", "seeds", "sequences", "dataset", "confidence", "runs",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per comparison of either arm. ``row`` counts the methods from the top."""
    arms = tables.arms[tables.arms["arm"].isin(PANELS)]
    row = arms.groupby(["method", "pattern", "ratio", "budget"], sort=False).ngroup()
    runs = arms["run"] + ";" + arms["baseline"]
    return arms.assign(row=row, panel=arms["arm"], runs=runs).reindex(columns=COLUMNS).reset_index(drop=True)


def draw(tables: Tables, study: str) -> Figure:
    """A panel per arm, with a row per method, on one axis of rows."""
    drawn = data(tables)
    count = drawn["row"].nunique() or 4
    nothing = "This study compares no schedules\nof pruning or learning rate."
    figure, panels = style.panels(drawn, 0.8 + ROW_INCHES * count, 1.3, nothing, shared=("y",))
    styles = style.series_styles(tables.gaps)
    for axes, arm, found in panels:
        _draw_panel(axes, arm, found, styles)
    if panels:
        rows.label(panels[0][0], rows.names(drawn))
        margin = style.matched(drawn["margin"].iloc[0])
        style.explain(figure, drawn, [margin], _note(drawn), columns=1)
    style.name_study(figure, tables, study, findings.schedules(drawn), drawn)
    return figure


def _draw_panel(axes: Axes, arm: str, found: pd.DataFrame, styles: style.Styles) -> None:
    title, difference = PANELS[arm]
    style.mark_matched(axes, found["margin"].iloc[0])
    for row, place in zip(records(found), _places(found), strict=True):
        style.interval(axes, row, "gap", place, styles[(row["method"], row["pattern"])])
    axes.set_title(title)
    axes.set_xlabel(f"loss, {difference}\n(nats per token)")
    axes.xaxis.set_major_locator(MaxNLocator(style.MOST_TICKS))
    style.row_grid(axes)


def _places(found: pd.DataFrame) -> "pd.Series[float]":
    """The row of each comparison; several schedules of a method stand around it."""
    number = found.groupby("row").cumcount()
    count = found.groupby("row")["row"].transform("size")
    placed: pd.Series[float] = found["row"] + (number - (count - 1) / 2) / (count + 1)
    return placed


def _note(drawn: pd.DataFrame) -> str:
    steps = [text.replace("+", " then ") for text in drawn["steps"].unique() if text]
    several = f"Steps: {', '.join(steps)}. " if steps else ""
    return f"{rows.shared(drawn, 'Retraining on')}{several}Above zero, what the title says has the lower loss."
