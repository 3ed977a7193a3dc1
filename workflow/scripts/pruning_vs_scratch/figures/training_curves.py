"""Loss against tokens during training: pruned models in retraining, their scratch baselines, and the parent's end."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pruning_vs_scratch.figures import choose, findings, style
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.gaps import series_label as gap_label
from pruning_vs_scratch.tables.load import Tables

PANEL_HEIGHT, BESIDE = 1.55, 3
ROLES = ("parent", "retrained", "scratch", "full")
"""``full`` is the baseline on the whole pipeline's tokens."""
LOOKS: dict[str, dict[str, Any]] = {
    "retrained": {"linestyle": "-", "marker": "o"},
    "scratch": {"linestyle": "--", "marker": "s", "markerfacecolor": "white", "color": style.SCRATCH_COLOUR},
    "full": {"linestyle": "-.", "marker": "d", "markerfacecolor": "white", "color": "#999999"},
    "parent": {"linestyle": ":", "color": style.PARENT_COLOUR},
}
LABELS = {
    "retrained": "pruned, while retraining",
    "scratch": "from scratch, same tokens",
    "full": "from scratch, whole pipeline's tokens",
    "parent": "parent, at its end",
}
CURVE_POINTS, MARKER_POINTS = 0.6, 3.0
"""Width of a curve, and size of a marker."""

LINE = ["panel", "method", "pattern", "ratio", "budget", "role", "runs", "kind"]
"""The identity of a curve; the points of its seeds are averaged."""
COLUMNS = [*LINE, "tokens", "loss", "low", "high", "seeds"]


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: mean curves of the seeds, at each family's ratio with the most budgets and largest budget.

    ``low`` and ``high`` are the extremes of the seeds. A panel shows one method, and the last loss of the parent, which
    a published parent lacks.
    """
    gaps = choose.measured(tables, "equal", "full")
    equal = choose.families(gaps[gaps["setting"] == "equal"])
    equal = equal[equal["budget"] == equal.groupby("panel")["budget"].transform("max")]
    equal = equal.assign(panel=[gap_label(*key) for key in zip(equal["method"], equal["pattern"], strict=True)])
    full = gaps[gaps["setting"] == "full"][["retrained", "scratch"]].rename(columns={"scratch": "full"})
    equal = equal.merge(full, on="retrained", how="left").merge(_parents(tables), on="retrained", how="left")
    parts = [equal.assign(role=role, runs=equal[role]).dropna(subset="runs") for role in ROLES]
    runs = pd.concat(parts, ignore_index=True).drop_duplicates(["panel", "role"])
    runs = runs.assign(run=runs["runs"].str.split(";")).explode("run").drop_duplicates(["panel", "runs", "run"])
    points = runs.merge(tables.curves, on="run").dropna(subset="loss")
    return _averaged(points[(points["role"] != "parent") | _is_last(points)])


def _is_last(points: pd.DataFrame) -> "pd.Series[bool]":
    """Whether a point is the last of its run: of validation, if there is any."""
    ordered = points.sort_values(["tokens", "kind"])
    last = ordered.groupby(["panel", "role", "run"]).tail(1).index
    return pd.Series(points.index.isin(last), index=points.index)


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
    """One panel per method and pattern, on the same axes."""
    drawn = data(tables)
    nothing = "This study compares nothing\nat equal budgets."
    figure, panels = style.panels(drawn, PANEL_HEIGHT, 1.1, nothing, beside=BESIDE, shared=("x", "y"))
    styles = style.series_styles(tables.gaps)
    for axes, _, rows in panels:
        _draw_panel(axes, rows, styles)
    if panels:
        style.log_axis(panels[0][0], drawn.loc[drawn["role"] != "parent", "tokens"])
        style.legend(figure, _handles(drawn), _note(drawn), 2 if len(panels) > 1 else 1)
    style.name_study(figure, tables, study, findings.training_curves(drawn), drawn)
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, styles: style.Styles) -> None:
    first = rows.iloc[0]
    look = styles[(first["method"], first["pattern"])]
    for role in reversed(LOOKS):  # pruned models last, where they end at the loss of scratch
        run = rows[rows["role"] == role]
        if role == "parent" and len(run):
            axes.axhline(run["loss"].iloc[0], lw=style.thin(), **LOOKS["parent"])
        elif len(run):
            _draw_run(axes, run, {"color": look.colour} | LOOKS[role])
    axes.set_title(f"{look.label} {first['ratio']:g}, {token_label(first['budget'])}", fontsize=style.small_points())
    style.label_left(axes, "loss (nats per token)")
    style.label_below(axes, "tokens of the run (logarithmic)")


def _draw_run(axes: Axes, run: pd.DataFrame, look: dict[str, Any]) -> None:
    """The training loss as a line, validation losses as markers; of several seeds their mean, in a band."""
    training, validation = (run[run["kind"] == kind] for kind in ("training", "validation"))
    if run["seeds"].max() > 1:
        style.band(axes, training["tokens"], training["low"], training["high"], look["color"])
    axes.plot(training["tokens"], training["loss"], **look | {"marker": "", "lw": style.scaled(CURVE_POINTS)})
    axes.plot(validation["tokens"], validation["loss"], **look | {"linestyle": "", "ms": style.scaled(MARKER_POINTS)})


def _handles(drawn: pd.DataFrame) -> list[Line2D]:
    roles = [role for role in LOOKS if role in set(drawn["role"])]
    return [style.entry(LABELS[role], **{"color": style.COLOURS[0]} | LOOKS[role]) for role in roles]


def _note(drawn: pd.DataFrame) -> str:
    return (
        "Titles: ratio, tokens of retraining. Lines: training loss, averaged over neighbouring steps. Markers: "
        f"validation loss. {style.seeds_shown(drawn['seeds'])}"
    )
