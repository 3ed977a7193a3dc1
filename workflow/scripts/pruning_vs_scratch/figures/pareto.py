"""Loss against what a model costs: parameters, FLOPs of a forward pass, and tokens read; and the Pareto fronts."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from pruning_vs_scratch.figures import choose, findings, style, words
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.load import Tables, records

Fill = Literal["full", "left", "right", "bottom", "top", "none"]
HEIGHT = 4.1
COSTS = {
    "params_nonzero": "parameters kept",
    "forward_flops_theoretical": "FLOPs of a forward pass",
    "tokens_total": "tokens read, pretraining\nincluded (logarithmic)",
}
FRONTS = {
    "front_params_nonzero": "parameters",
    "front_forward_flops_theoretical": "FLOPs",
    "front_tokens_total": "tokens read",
}
"""The name of each front in the title."""
WITHOUT_PRETRAINING = "tokens read since the\nparent's pretraining (logarithmic)"
"""Label of the last one if the parent's training tokens are unknown."""
MODEL = ["role", "method", "granularity", "pattern", "target_ratio", "tokens_train"]
"""What one model is; its seeds are averaged."""
FRONT_POINTS, HALO_POINTS = 4.0, 9.0
"""Width of a front's line, and of the halo around each model on it."""
ROLES: dict[str, dict[str, Any]] = {
    "parent": {"marker": "h", "label": "parent, unpruned"},
    "scratch": {"marker": "x", "label": "from scratch"},
}
"""Looks of models that do not belong to a single method."""
FAINT = 0.45
"""Opacity of models that are not on the front, which lie close together."""
LEAST_POINTS, MOST_POINTS = 3.0, 6.5
"""Sizes of the markers of the smallest and the largest budget of retraining."""
FILLS: tuple[Fill, ...] = ("full", "none", "left", "bottom", "right", "top")
"""How markers of the ratios are filled, from the smallest ratio on."""

COLUMNS = [*MODEL, "loss", *COSTS, *(f"front_{cost}" for cost in COSTS), "seeds", "sequences", "dataset", "runs"]


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per model, with its mean loss, its costs, and whether it is on the front of each."""
    compared = choose.measured(tables, "equal", "full")
    if compared.empty:
        return pd.DataFrame(columns=COLUMNS)
    models = _models(tables, compared["dataset"].iloc[0])
    fronts = {f"front_{cost}": on_front(models[cost], models["loss"]) for cost in COSTS}
    return models.assign(**fronts).reindex(columns=COLUMNS)


def _models(tables: Tables, dataset: str) -> pd.DataFrame:
    losses = tables.losses[tables.losses["dataset"] == dataset].groupby("run")["loss"]
    efficiency = tables.efficiency[tables.efficiency["metric"].isin(COSTS)].pivot(
        index="run", columns="metric", values="value"
    )
    runs = tables.runs[["run", "seed", "tokens_total", *MODEL]]
    if not _pretraining_is_known(tables):
        since = tables.runs["tokens_prune"] + tables.runs["tokens_train"]
        runs = runs.assign(tokens_total=since.where(since > 0))
    runs = runs[runs["role"].isin(["parent", "retrained", "scratch"])]
    runs = runs.merge(losses.agg(loss="mean", sequences="size"), on="run")
    runs = runs.merge(efficiency.reset_index(), on="run").dropna(subset=["loss", *efficiency.columns])
    by_model = runs.groupby(MODEL, sort=False, dropna=False)
    means = by_model.agg(
        loss=("loss", "mean"), sequences=("sequences", "min"), seeds=("seed", "nunique"), runs=("run", ";".join),
        **{cost: (cost, "mean") for cost in COSTS},
    )  # fmt: skip
    return means.reset_index().assign(dataset=dataset)


def _pretraining_is_known(tables: Tables) -> bool:
    return bool(tables.runs["tokens_parent"].notna().all())


def on_front(cost: pd.Series, loss: pd.Series) -> pd.Series:
    """Whether no other model is better in one of the two and at least as good in the other; false without a cost."""
    at_most = [(cost <= c) & (loss <= q) & ((cost < c) | (loss < q)) for c, q in zip(cost, loss, strict=True)]
    return pd.Series([not better.any() for better in at_most], index=cost.index, dtype=bool) & cost.notna()


def draw(tables: Tables, study: str) -> Figure:
    """A panel per cost."""
    drawn = data(tables)
    figure = style.new_figure(2, HEIGHT)
    if drawn.empty:
        style.say_nothing_to_draw(figure.subplots(), "This study compares nothing at equal or full budgets.")
    else:
        styles = style.series_styles(tables.gaps)
        panels = figure.subplots(1, len(COSTS), sharey=True)
        for axes, (cost, label) in zip(panels, COSTS.items(), strict=True):
            _draw_panel(axes, drawn, cost, styles)
            axes.set_xlabel(label if cost != "tokens_total" or _pretraining_is_known(tables) else WITHOUT_PRETRAINING)
        panels[0].set_ylabel(f"loss on {drawn['dataset'].iloc[0]} (nats per token)")
        style.legend(figure, _handles(drawn, styles), _note(drawn), columns=5)
    style.name_study(figure, tables, study, findings.pareto(drawn, FRONTS), _budgets(drawn))
    return figure


def _budgets(drawn: pd.DataFrame) -> pd.DataFrame:
    """The budgets of retraining that are drawn."""
    return drawn.assign(budget=drawn["tokens_train"].where(drawn["role"] == "retrained"))


def _front() -> dict[str, Any]:
    line, halo = style.scaled(FRONT_POINTS), style.scaled(HALO_POINTS)
    return {"color": "#999999", "alpha": 0.5, "linewidth": line, "marker": "o", "markersize": halo}


def _draw_panel(axes: Axes, drawn: pd.DataFrame, cost: str, styles: style.Styles) -> None:
    front = drawn[drawn[f"front_{cost}"]].sort_values(cost)
    axes.step(front[cost], front["loss"], where="post", label="front", **_front())
    sizes, fills = _sizes(drawn), _fills(drawn)
    for row in records(drawn.sort_values(f"front_{cost}", kind="stable")):
        size = style.scaled(sizes.get(row["tokens_train"], MOST_POINTS))
        look = ROLES.get(row["role"], {}) | {"color": "black"}
        if row["role"] == "retrained":
            method = styles[(row["method"], row["pattern"])]
            look = {"color": method.colour, "marker": method.marker, "fillstyle": fills[row["target_ratio"]]}
        axes.plot([row[cost]], [row["loss"]], markersize=size, alpha=None if row[f"front_{cost}"] else FAINT, **look)
    if cost == "tokens_total":
        style.log_axis(axes, drawn[cost])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(_formatter(cost))


def _sizes(drawn: pd.DataFrame) -> dict[float, float]:
    """Size of a marker by the tokens of retraining."""
    budgets = sorted(drawn.loc[drawn["role"] == "retrained", "tokens_train"].unique())
    return dict(zip(budgets, np.linspace(LEAST_POINTS, MOST_POINTS, len(budgets) + 1)[1:], strict=True))


def _fills(drawn: pd.DataFrame) -> dict[float, Fill]:
    """How a marker is filled, by the ratio."""
    ratios = sorted(drawn.loc[drawn["role"] == "retrained", "target_ratio"].unique())
    return {ratio: FILLS[i % len(FILLS)] for i, ratio in enumerate(ratios)}


def _formatter(cost: str) -> EngFormatter | Callable[[float, float], str]:
    """Parameters are counted in thousands, millions, billions; FLOPs in G, T, P."""
    return EngFormatter(sep="") if "flops" in cost else lambda value, _: token_label(max(0, round(value)))


def _handles(drawn: pd.DataFrame, styles: style.Styles) -> list[Line2D]:
    retrained = style.series(drawn[drawn["role"] == "retrained"])
    methods = [styles[key].marker_handle() for key, _ in retrained]
    roles = [style.entry(color="black", linestyle="", **look) for look in ROLES.values()]
    grey: dict[str, Any] = {"color": style.PARENT_COLOUR, "linestyle": "", "marker": "o"}
    ratios = [style.entry(f"ratio {ratio:g}", fillstyle=fill, **grey) for ratio, fill in _fills(drawn).items()]
    budgets = [
        style.entry(f"{token_label(int(budget))} tokens", markersize=style.scaled(size), **grey)
        for budget, size in _sizes(drawn).items()
    ]
    return [*methods, *roles, *ratios, *budgets, style.entry("Pareto front", **_front())]


def _note(drawn: pd.DataFrame) -> str:
    return (
        "Shapes: methods. Sizes: tokens of retraining or, from scratch, of training. Faint: not on the front. "
        f"Mean loss over {drawn['sequences'].min()} sequences of {drawn['dataset'].iloc[0]} and "
        f"{words.plural(int(drawn['seeds'].max()), 'seed')}. FLOPs at length 2,048, without masked weights."
    )
