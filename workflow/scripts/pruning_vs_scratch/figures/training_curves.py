"""Loss against tokens while training: the parent, pruned models as they retrain, and their scratch baselines."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pruning_vs_scratch.figures import choose, findings, style
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.load import Tables

PANEL_HEIGHT = 2.4
LINES = {"parent": ":", "retrained": "-", "scratch": "--", "full": "-."}
"""Line styles by role; ``full`` is the baseline on the whole pipeline's tokens."""
SHARED = {
    "parent": style.SeriesStyle("parent", style.PARENT_COLOUR, "h"),
    "scratch": style.SeriesStyle("from scratch, same tokens", style.SCRATCH_COLOUR, "o"),
    "full": style.SeriesStyle("from scratch, whole pipeline's tokens", style.SCRATCH_COLOUR, "d"),
}
"""Looks of runs that belong to no single method."""

LINE = ["panel", "ratio", "budget", "role", "method", "pattern", "runs", "kind"]
"""What one curve is; the points of its seeds are averaged."""
COLUMNS = [*LINE, "tokens", "loss", "low", "high", "seeds"]


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: mean curves of the seeds, at each family's ratio with the most budgets and largest budget.

    ``low`` and ``high`` are the extremes of the seeds. A parent or baseline that all methods of a panel share has no
    method. A published parent has no curve.
    """
    gaps = choose.measured(tables, "equal", "full")
    equal = choose.families(gaps[gaps["setting"] == "equal"])
    equal = equal[equal["budget"] == equal.groupby("panel")["budget"].transform("max")]
    full = gaps[gaps["setting"] == "full"][["retrained", "scratch"]].rename(columns={"scratch": "full"})
    equal = equal.merge(full, on="retrained", how="left").merge(_parents(tables), on="retrained", how="left")
    parts = [equal.assign(role=role, runs=equal[role]).dropna(subset="runs") for role in LINES]
    runs = pd.concat(parts, ignore_index=True)
    shared = (runs["role"] != "retrained") & (runs.groupby(["panel", "role"])["runs"].transform("nunique") == 1)
    runs.loc[shared, ["method", "pattern"]] = None
    runs = runs.drop_duplicates(["panel", "runs"])
    runs = runs.assign(run=runs["runs"].str.split(";")).explode("run").drop_duplicates(["panel", "runs", "run"])
    return _averaged(runs.merge(tables.curves, on="run").dropna(subset="loss"))


def _averaged(points: pd.DataFrame) -> pd.DataFrame:
    """Mean and extremes over seeds: these share a plan, and so the steps at which their losses were recorded."""
    points = points.assign(point=points.groupby(["panel", "run", "kind"]).cumcount())
    grouped = points.groupby([*LINE, "point"], sort=False, dropna=False)
    means = grouped.agg(
        tokens=("tokens", "mean"), loss=("loss", "mean"), low=("loss", "min"), high=("loss", "max"),
        seeds=("run", "nunique"),
    )  # fmt: skip
    return means.reset_index().reindex(columns=COLUMNS)


def _parents(tables: Tables) -> pd.DataFrame:
    """By the retrained runs of a comparison, their parents."""
    by_run = tables.pairs.drop_duplicates("retrained").set_index("retrained")["parent"]
    compared = tables.gaps["retrained"].drop_duplicates()
    parents = [";".join(dict.fromkeys(by_run[run] for run in runs.split(";"))) for runs in compared]
    return pd.DataFrame({"retrained": compared, "parent": parents})


def draw(tables: Tables, study: str) -> Figure:
    """One panel per target family."""
    drawn = data(tables)
    figure, panels = style.panels(drawn, PANEL_HEIGHT, 1.1, "This study compares nothing\nat equal budgets.")
    styles = style.series_styles(tables.gaps)
    for axes, name, rows in panels:
        _draw_panel(axes, name, rows, styles)
    if panels:
        style.legend(figure, _handles(drawn, styles), _note(drawn), 4 if len(panels) > 1 else 1)
    style.name_study(figure, tables, study, findings.training_curves(drawn))
    return figure


def _draw_panel(axes: Axes, name: str, rows: pd.DataFrame, styles: style.Styles) -> None:
    for (role, _), run in rows.groupby(["role", "runs"], sort=False):
        key = (run["method"].iloc[0], run["pattern"].iloc[0])
        _draw_run(axes, run, _line(styles[key] if key in styles else SHARED[str(role)], str(role)))
    axes.set_title(f"{name}, ratio {rows['ratio'].iloc[0]:g}, retraining {token_label(rows['budget'].iloc[0])}")
    axes.set_ylabel("loss (nats per token)")
    style.log_axis(axes, rows["tokens"])
    axes.set_xlabel("tokens since the start of the run (logarithmic)")


def _line(look: style.SeriesStyle, role: str) -> dict[str, Any]:
    return {"color": look.colour, "marker": look.marker, "markerfacecolor": "white", "linestyle": LINES[role]}


def _draw_run(axes: Axes, run: pd.DataFrame, look: dict[str, Any]) -> None:
    """The training loss as a line, validation losses as markers; of several seeds their mean, in a band."""
    training, validation = (run[run["kind"] == kind] for kind in ("training", "validation"))
    if run["seeds"].max() > 1:
        style.band(axes, training["tokens"], training["low"], training["high"], look["color"])
    axes.plot(training["tokens"], training["loss"], **look | {"marker": ""})
    axes.plot(validation["tokens"], validation["loss"], **look | {"linestyle": ""})


def _handles(drawn: pd.DataFrame, styles: style.Styles) -> list[Line2D]:
    looks = [styles[key] for key, _ in style.series(drawn[drawn["role"] == "retrained"])]
    roles = [role for role in SHARED if role in set(drawn["role"])]
    methods = [style.entry(look.label, **_line(look, "retrained")) for look in looks]
    return [*methods, *(style.entry(SHARED[role].label, **_line(SHARED[role], role)) for role in roles)]


def _note(drawn: pd.DataFrame) -> str:
    return (
        "Lines: training loss, averaged over neighbouring steps. Markers: validation loss. "
        f"{style.seeds_shown(drawn['seeds'])}"
    )
