"""When to prune: the final loss against the share of its tokens that the parent has read, at the same tokens in all."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pruning_vs_scratch.figures import choose, findings, style
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.load import Tables

HEIGHT = 3.3
KEYS = ["method", "pattern", "granularity", "ratio", "budget"]
PANELS = {
    "share": "share of its tokens after which the parent is pruned",
    "params_mean": "average parameters over all training tokens\n(non-zero, in millions)",
}
"""The horizontal axis of each panel, by its column."""
MILLION = 1e6

COLUMNS = [
    *KEYS, "share", "tokens", "params_mean", "loss", "low", "high", "seeds", "sequences", "dataset", "confidence",
    "runs",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per method and moment of pruning. Share 1 is the paper's, a whole parent; share 0 is the
    target from random weights on the tokens of the whole pipeline, if the study has it.
    """
    early = tables.arms[tables.arms["arm"] == "early"]
    if early.empty:
        return pd.DataFrame(columns=COLUMNS)
    moments = [
        _side(early, "run").assign(share=early["share"]),
        _side(early, "baseline").assign(share=1.0),
        _from_scratch(tables, early),
    ]
    found = pd.concat([rows.reindex(columns=COLUMNS) for rows in moments if len(rows)])
    return found.drop_duplicates([*KEYS, "share"]).sort_values([*KEYS, "share"], ignore_index=True)


def _side(early: pd.DataFrame, side: str) -> pd.DataFrame:
    columns = {
        f"tokens_{side}": "tokens", f"params_mean_{side}": "params_mean", f"loss_{side}": "loss",
        f"loss_{side}_low": "low", f"loss_{side}_high": "high", side: "runs",
    }  # fmt: skip
    return early.drop(columns=["low", "high"]).rename(columns=columns)


def _from_scratch(tables: Tables, early: pd.DataFrame) -> pd.DataFrame:
    full = choose.measured(tables, "full").merge(early[KEYS].drop_duplicates(), on=KEYS)
    runs = tables.runs.set_index("run")
    first = full["scratch"].str.split(";").str[0]
    columns = {"loss_scratch": "loss", "loss_scratch_low": "low", "loss_scratch_high": "high", "scratch": "runs"}
    return (
        full.drop(columns=["low", "high"])
        .rename(columns=columns)
        .assign(share=0.0, tokens=first.map(runs["tokens_train"]), params_mean=first.map(runs["params_nonzero"]))
    )


def draw(tables: Tables, study: str) -> Figure:
    """The loss of each method against the moment, and against the average parameter count."""
    drawn = data(tables)
    figure = style.new_figure(2, HEIGHT)
    if drawn.empty:
        style.say_nothing_to_draw(figure.subplots(), "This study prunes no younger parents.")
    else:
        styles = style.series_styles(tables.gaps)
        for axes, column in zip(figure.subplots(1, 2, sharey=True), PANELS, strict=True):
            _draw_panel(axes, column, drawn, styles)
        handles = [styles[key].handle_without_colour() for key, _ in style.series(drawn)]
        style.explain(figure, drawn, handles, _note(drawn), columns=4)
    style.name_study(figure, tables, study, findings.moments(drawn), drawn)
    return figure


def _draw_panel(axes: Axes, column: str, drawn: pd.DataFrame, styles: style.Styles) -> None:
    for _, rows in drawn.groupby(KEYS, sort=False):
        look = styles[(rows["method"].iloc[0], rows["pattern"].iloc[0])]
        line = rows.sort_values(column)
        x = line[column] / (MILLION if column == "params_mean" else 1)
        axes.plot(x, line["loss"], **look.without_colour)
    axes.set_xlabel(PANELS[column])
    if column == "share":
        shares = sorted(drawn["share"].unique())
        axes.set_xticks(shares, ["scratch" if share == 0 else f"{share:.0%}" for share in shares])
        axes.set_ylabel("final loss (nats per token)")


def _note(drawn: pd.DataFrame) -> str:
    ratios = drawn["ratio"].unique()
    ratio = f"Ratio {ratios[0]:g}. " if len(ratios) == 1 else ""
    tokens = drawn.loc[drawn["share"] > 0, "tokens"].unique()
    total = f"Every model and its parent read {token_label(int(tokens[0]))} tokens. " if len(tokens) == 1 else ""
    scratch = "Scratch: the target from random weights on as many. " if (drawn["share"] == 0).any() else ""
    shared = "Intervals of losses, which are mostly shared, are in the figure's data."
    return f"{ratio}{total}{scratch}{style.lines_named(drawn)} {shared}"
