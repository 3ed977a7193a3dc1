"""The paper's own figures, redrawn from its numbers, beside the same figures of the study."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pruning_vs_scratch.figures import choose, style, token_budget
from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.items import TASK_MEAN
from pruning_vs_scratch.tables.load import Tables, records

SOURCES = ("paper", "study")
PAPER = "paper: Llama-3.1-8B, 10 to 500 billion tokens"
LOSSES = {"depth": "minitron_depth", "width": "minitron_width"}
"""Panels of loss against budget, and the method that the paper shows in each."""
ACCURACY = "full budget"
PANELS = (*LOSSES, ACCURACY)
BILLION = 10**9
PANEL_HEIGHT = 2.3
COLOURS = {"pruned": "#0072B2", "scratch": "black", "parent": style.PARENT_COLOUR}
LINES = {"pruned": "-", "scratch": "--", "parent": ":"}
LABELS = {"pruned": "pruned and retrained", "scratch": "from scratch", "parent": "parent, unpruned"}
MARKERS = {"pruned": "o", "scratch": "s", "parent": ""}
READ_OFF: dict[str, Any] = {"marker": "D", "markerfacecolor": "white"}
"""Look of numbers that the paper does not print: they were read off its plot."""
GAP_FLOOR, GAP_HEIGHT = 0.88, 0.95
"""Where the row of gaps begins and where its numbers stand, as shares of the panel's height."""

COLUMNS = ["source", "panel", "setting", "method", "pattern", "ratio", "budget", "quantity", "value", "precision"]


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per source, panel, side, method and budget; losses in nats, accuracies in per cent."""
    parts = [_paper(tables), *(_study_losses(tables, panel) for panel in LOSSES), _study_accuracies(tables)]
    return pd.concat([part.reindex(columns=COLUMNS) for part in parts if len(part)], ignore_index=True)


def _paper(tables: Tables) -> pd.DataFrame:
    """The paper's first figure; a row without a method goes for both panels of losses."""
    rows = tables.reported
    left = [
        rows[(rows["figure"] == "fig1-left") & (rows["method"].isna() | (rows["method"] == method))].assign(panel=panel)
        for panel, method in LOSSES.items()
    ]
    right = rows[rows["figure"] == "fig1-right"].assign(panel=ACCURACY)
    found = pd.concat([*left, right], ignore_index=True)
    names = found["method"].str.extract(r"^(?P<method>.*?)(?:_(?P<pattern>\d+of\d+|unstructured))?$")
    return found.assign(
        source="paper",
        budget=(found["budget_b"] * BILLION).astype("int64"),
        method=names["method"],
        pattern=names["pattern"].str.replace("of", ":").fillna("dense"),
    )


def _study_losses(tables: Tables, panel: str) -> pd.DataFrame:
    """The study's losses of the paper's method or, without it, of the first one; the first and last gap, as there."""
    rows = token_budget.data(tables)
    rows = rows[rows["panel"] == panel]
    chosen = rows[rows["method"] == LOSSES[panel]]
    if chosen.empty:
        chosen = rows[rows["method"] == rows["method"].head(1).squeeze()]
    sides = {"pruned": "loss_retrained", "scratch": "loss_scratch", "parent": "loss_parent", "gap": "gap"}
    long = _long(chosen, sides).assign(quantity="loss")
    ends = long["budget"].isin([long["budget"].min(), long["budget"].max()])
    return long[(long["setting"] != "gap") | ends]


def _study_accuracies(tables: Tables) -> pd.DataFrame:
    rows = tables.task_gaps
    rows = rows[(rows["setting"] == "full") & (rows["dataset"] == TASK_MEAN) & rows["difference"].notna()]
    if len(rows):
        rows = rows[rows["ratio"] == choose.most_common(rows["ratio"])]
        rows = rows[rows["budget"] == choose.most_common(rows["budget"])]
    accuracies = _long(rows.assign(panel=ACCURACY), {"pruned": "accuracy_retrained", "scratch": "accuracy_scratch"})
    return accuracies.assign(quantity="avg_acc", value=100 * accuracies["value"])


def _long(rows: pd.DataFrame, sides: dict[str, str]) -> pd.DataFrame:
    """A row per side of each comparison."""
    facts = rows[["panel", "method", "pattern", "ratio", "budget"]]
    parts = [facts.assign(setting=side, value=rows[column]) for side, column in sides.items()]
    return pd.concat(parts, ignore_index=True).assign(source="study", precision="measured")


def draw(tables: Tables, study: str) -> Figure:
    """A row per figure of the paper: the paper's numbers on the left, the study's on the right."""
    drawn = data(tables)
    scales = {"paper": PAPER, "study": f"study {study}: {style.parent_scale(tables)}"}
    figure = style.new_figure(2, PANEL_HEIGHT * len(PANELS) + 1.1)
    grid = figure.subplots(len(PANELS), len(SOURCES))
    for line, panel in zip(grid, PANELS, strict=True):
        for axes, source in zip(line, SOURCES, strict=True):
            rows = drawn[(drawn["panel"] == panel) & (drawn["source"] == source)]
            _draw_panel(axes, panel, rows)
            axes.set_title(f"{scales[source]}\n{_subtitle(panel, rows)}")
    style.legend(figure, _handles(), _note(tables), columns=2)
    style.name_study(figure, tables, study)
    return figure


def _draw_panel(axes: Axes, panel: str, rows: pd.DataFrame) -> None:
    if rows.empty:
        style.say_nothing_to_draw(axes, "not in this study")
    elif panel == ACCURACY:
        _draw_accuracies(axes, rows)
    else:
        _draw_losses(axes, rows)


def _subtitle(panel: str, rows: pd.DataFrame) -> str:
    if panel == ACCURACY:
        return "scratch on the whole pipeline's tokens"
    methods = rows.dropna(subset="method")
    if methods.empty:
        return panel
    return f"{series_label(methods['method'].iloc[0], '')}, ratio {methods['ratio'].iloc[0]:g}"


def _draw_losses(axes: Axes, rows: pd.DataFrame) -> None:
    for side in ("pruned", "scratch"):
        line = rows[rows["setting"] == side]
        axes.plot(line["budget"], line["value"], color=COLOURS[side], linestyle=LINES[side])
        for row in records(line):
            _marker(axes, row, row["budget"], row["value"])
    axes.axhline(rows.loc[rows["setting"] == "parent", "value"].mean(), color=COLOURS["parent"], linestyle=":")
    axes.set_ylabel("loss (nats per token)")
    style.token_axis(axes, sorted(rows.loc[rows["setting"] == "pruned", "budget"].unique()))
    low, high = axes.get_ylim()
    axes.set_ylim(low - (high - low) / 10, low + (high - low) / GAP_FLOOR)
    for row in records(rows[rows["setting"] == "gap"]):
        axes.text(row["budget"], GAP_HEIGHT, f"{row['value']:.2f}", ha="center", va="center",
                  fontsize=style.small_points(), transform=axes.get_xaxis_transform())  # fmt: skip


def _marker(axes: Axes, row: dict[str, Any], x: float, y: float) -> None:
    look = READ_OFF if row["precision"] == "read_off" else {"marker": MARKERS[row["setting"]]}
    axes.plot([x], [y], color=COLOURS[row["setting"]], **look)


def _draw_accuracies(axes: Axes, rows: pd.DataFrame) -> None:
    """A row per method: both sides, each with its number on the far side of the other."""
    methods = style.series(rows)
    for i, (_, both) in enumerate(methods):
        better = both["value"].rank(method="first") > 1
        for row, is_better in zip(records(both), better, strict=True):
            _marker(axes, row, row["value"], i)
            _number(axes, row, i, is_better)
    axes.set_yticks(range(len(methods)), [series_label(*key) for key, _ in methods])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.margins(x=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(style.MOST_TICKS))
    axes.set_xlabel("mean zero-shot accuracy (%)")
    axes.set_ylabel(f"method, ratio {rows['ratio'].iloc[0]:g}")
    style.row_grid(axes)


def _number(axes: Axes, row: dict[str, Any], y: float, is_better: bool) -> None:
    away, align = (5, "left") if is_better else (-5, "right")
    axes.annotate(
        f"{row['value']:.1f}",
        (row["value"], y),
        (away, 0),
        textcoords="offset points",
        ha=align,
        va="center",
        color=COLOURS[row["setting"]],
        fontsize=style.small_points(),
    )


def _handles() -> list[Line2D]:
    sides = [
        style.entry(LABELS[side], color=COLOURS[side], linestyle=LINES[side], marker=MARKERS[side]) for side in LINES
    ]
    return [*sides, style.entry("read off the paper's plot: not exact", color="black", linestyle="", **READ_OFF)]


def _note(tables: Tables) -> str:
    seeds = tables.runs["seed"].nunique()
    return (
        "Left and right differ in model, data and tokens by orders of magnitude: compare shapes, not values. "
        "Numbers in the upper panels: gap, scratch minus pruned. The paper gives no intervals; those of the study "
        f"({style.plural(seeds, 'seed')}) are in its other figures."
    )
