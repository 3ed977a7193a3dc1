"""Loss against what a model costs: parameters, FLOPs of a forward pass, and tokens read; and the Pareto fronts."""

from collections.abc import Callable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from pruning_vs_scratch.figures import choose, findings, style, words
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.load import Tables

HEIGHT = 3.7
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
"""What the front of each is called in the title."""
WITHOUT_PRETRAINING = "tokens read since the\nparent's pretraining (logarithmic)"
"""Label of the last where nobody says what the parent was trained on."""
MODEL = ["role", "method", "granularity", "pattern", "target_ratio", "tokens_train"]
"""What one model is; its seeds are averaged."""
FRONT_POINTS, HALO_POINTS = 4.0, 9.0
"""Width of a front's line, and of the halo around each model on it."""
ROLES: dict[str, dict[str, Any]] = {
    "parent": {"marker": "h", "markerfacecolor": "black", "label": "parent, unpruned"},
    "scratch": {"marker": "o", "markerfacecolor": "white", "label": "from scratch"},
}
"""Looks of models that no single method makes."""

COLUMNS = [*MODEL, "loss", *COSTS, *(f"front_{cost}" for cost in COSTS), "seeds", "sequences", "dataset", "runs"]


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per model, with its mean loss, its costs, and whether it lies on the front of each."""
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
    """Whether no other model is better in one of the two and at least as good in the other; not where cost is none."""
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
        style.legend(figure, _handles(drawn, styles), _note(drawn), columns=4)
    style.name_study(figure, tables, study, findings.pareto(drawn, FRONTS))
    return figure


def _front() -> dict[str, Any]:
    line, halo = style.scaled(FRONT_POINTS), style.scaled(HALO_POINTS)
    return {"color": "#999999", "alpha": 0.5, "linewidth": line, "marker": "o", "markersize": halo}


def _draw_panel(axes: Axes, drawn: pd.DataFrame, cost: str, styles: style.Styles) -> None:
    front = drawn[drawn[f"front_{cost}"]].sort_values(cost)
    axes.step(front[cost], front["loss"], where="post", label="front", **_front())
    for role, look in ROLES.items():
        rows = drawn[drawn["role"] == role]
        axes.plot(rows[cost], rows["loss"], color="black", linestyle="", **look)
    for key, rows in style.series(drawn[drawn["role"] == "retrained"]):
        axes.plot(rows[cost], rows["loss"], styles[key].marker, color=styles[key].colour, label=styles[key].label)
    if cost == "tokens_total":
        style.log_axis(axes, drawn[cost])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(_formatter(cost))


def _formatter(cost: str) -> EngFormatter | Callable[[float, float], str]:
    """Parameters are counted in thousands, millions, billions; FLOPs in G, T, P."""
    return EngFormatter(sep="") if "flops" in cost else lambda value, _: token_label(max(0, round(value)))


def _handles(drawn: pd.DataFrame, styles: style.Styles) -> list[Line2D]:
    retrained = style.series(drawn[drawn["role"] == "retrained"])
    methods = [styles[key].marker_handle() for key, _ in retrained]
    roles = [style.entry(color="black", linestyle="", **look) for look in ROLES.values()]
    return [*methods, *roles, style.entry("Pareto front", **_front())]


def _note(drawn: pd.DataFrame) -> str:
    return (
        f"Mean loss over {drawn['sequences'].min()} sequences of {drawn['dataset'].iloc[0]} and "
        f"{words.plural(int(drawn['seeds'].max()), 'seed')}. FLOPs at length 2,048, without masked weights."
    )
