"""Loss against tokens while training: the parent, pruned models as they retrain, and their scratch baselines."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pruning_vs_scratch.figures import choose, style
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

COLUMNS = ["panel", "ratio", "budget", "role", "method", "pattern", "run", "kind", "tokens", "loss"]


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: the curves of the first seed, at each family's ratio with the most budgets and largest budget.

    A parent or baseline that all methods of a panel share has no method. A published parent has no curve.
    """
    gaps = choose.measured(tables, "equal", "full")
    equal = choose.families(gaps[gaps["setting"] == "equal"])
    equal = equal[equal["budget"] == equal.groupby("panel")["budget"].transform("max")]
    full = gaps[gaps["setting"] == "full"][["retrained", "scratch"]].rename(columns={"scratch": "full"})
    equal = equal.merge(full, on="retrained", how="left").merge(_parents(tables), on="retrained", how="left")
    parts = [equal.assign(role=role, run=equal[role]).dropna(subset="run") for role in LINES]
    runs = pd.concat(parts, ignore_index=True)
    runs["run"] = runs["run"].map(choose.first_seed)
    shared = (runs["role"] != "retrained") & (runs.groupby(["panel", "role"])["run"].transform("nunique") == 1)
    runs.loc[shared, ["method", "pattern"]] = None
    runs = runs.drop_duplicates(["panel", "run"])
    return runs.merge(tables.curves, on="run").reindex(columns=COLUMNS).dropna(subset="loss").reset_index(drop=True)


def _parents(tables: Tables) -> pd.DataFrame:
    """By the retrained runs of a comparison, their parents."""
    by_run = tables.pairs.drop_duplicates("retrained").set_index("retrained")["parent"]
    compared = tables.gaps["retrained"].drop_duplicates()
    return pd.DataFrame({"retrained": compared, "parent": compared.map(choose.first_seed).map(by_run)})


def draw(tables: Tables, study: str) -> Figure:
    """One panel per target family."""
    drawn = data(tables)
    figure, panels = style.panels(drawn, PANEL_HEIGHT, 1.1, "This study compares nothing\nat equal budgets.")
    styles = style.series_styles(tables.gaps)
    for axes, name, rows in panels:
        _draw_panel(axes, name, rows, styles)
    if panels:
        style.legend(figure, _handles(drawn, styles), _note(tables), 4 if len(panels) > 1 else 1)
    style.name_study(figure, tables, study)
    return figure


def _draw_panel(axes: Axes, name: str, rows: pd.DataFrame, styles: style.Styles) -> None:
    for (role, _), run in rows.groupby(["role", "run"], sort=False):
        key = (run["method"].iloc[0], run["pattern"].iloc[0])
        _draw_run(axes, run, _line(styles[key] if key in styles else SHARED[str(role)], str(role)))
    axes.set_title(f"{name}, ratio {rows['ratio'].iloc[0]:g}, retraining {token_label(rows['budget'].iloc[0])}")
    axes.set_ylabel("loss (nats per token)")
    style.log_axis(axes, rows["tokens"])
    axes.set_xlabel("tokens since the start of the run (logarithmic)")


def _line(look: style.SeriesStyle, role: str) -> dict[str, Any]:
    return {"color": look.colour, "marker": look.marker, "markerfacecolor": "white", "linestyle": LINES[role]}


def _draw_run(axes: Axes, run: pd.DataFrame, look: dict[str, Any]) -> None:
    """The training loss as a line, validation losses as markers."""
    training, validation = (run[run["kind"] == kind] for kind in ("training", "validation"))
    axes.plot(training["tokens"], training["loss"], **look | {"marker": ""})
    axes.plot(validation["tokens"], validation["loss"], **look | {"linestyle": ""})


def _handles(drawn: pd.DataFrame, styles: style.Styles) -> list[Line2D]:
    looks = [styles[key] for key, _ in style.series(drawn[drawn["role"] == "retrained"])]
    roles = [role for role in SHARED if role in set(drawn["role"])]
    methods = [style.entry(look.label, **_line(look, "retrained")) for look in looks]
    return [*methods, *(style.entry(SHARED[role].label, **_line(SHARED[role], role)) for role in roles)]


def _note(tables: Tables) -> str:
    return (
        f"Lines: training loss, averaged over neighbouring steps. Markers: validation loss. {style.seed_shown(tables)}"
    )
