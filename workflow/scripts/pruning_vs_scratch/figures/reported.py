"""The paper's own figures, redrawn from its numbers, next to the same figures of the study."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy import special

from pruning_vs_scratch.figures import choose, findings, style, words
from pruning_vs_scratch.tables.items import TASK_MEAN, task_mean_rows
from pruning_vs_scratch.tables.load import GROUP, Tables, records
from pruning_vs_scratch.tables.reported import BILLION, GRADES, SIDES, best_graded, with_patterns

SOURCES = ("paper", "study")
PAPER = "paper: Llama-3.1-8B, 10 to 500 billion tokens"
LOSSES = {"depth": "minitron_depth", "width": "minitron_width"}
"""Panels of loss against budget, and the method that the paper shows in each."""
ACCURACY = "full budget"
PANELS = (*LOSSES, ACCURACY)
PANEL_HEIGHT = 2.3
COLOURS = {"pruned": "#0072B2", "scratch": "black", "parent": style.PARENT_COLOUR}
LINES = {"pruned": "-", "scratch": "--", "parent": ":"}
MARKERS = {"pruned": "o", "scratch": "s", "parent": ""}
GRADE_LOOKS: dict[str, dict[str, Any]] = {
    "read_off": {"marker": "D", "markerfacecolor": "white"},
    "secondary": {"markerfacecolor": "white"},
    "preliminary": {"marker": "x"},
}
"""Look of the markers of numbers that their source does not print; the others have that of their side."""
GRADE_SIGNS = {"read_off": "*", "secondary": "†", "preliminary": "‡"}
"""The sign after such a number where it is printed."""
GAP_FLOOR, GAP_HEIGHT = 0.88, 0.95
"""Where the row of gaps begins and where its numbers are, as shares of the panel's height."""
ROW_INCHES, ROW_MARGIN = 0.3, 0.9
"""Height of a row of accuracies, and of the surroundings of all rows."""
ASIDE = 0.2
"""Distance of the two sides of a row of accuracies from its middle; rows are 1 apart."""
PARENT_PLACE = 0.04
"""Position of the parent's marker, if it has one, as a share of the panel's width: left of all budgets."""

COLUMNS = [
    "source", "panel", "setting", "method", "pattern", "ratio", "budget", "quantity", "value", "low", "high",
    "precision",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per source, panel, side, method and budget; losses in nats, accuracies in per cent."""
    parts = [_paper(tables), *(_study_losses(tables, panel) for panel in LOSSES), _study_accuracies(tables)]
    return pd.concat([part.reindex(columns=COLUMNS) for part in parts if len(part)], ignore_index=True)


def _paper(tables: Tables) -> pd.DataFrame:
    """The paper's first figure, with more methods where known; a row without a method is for both panels of losses."""
    rows = tables.reported
    rows = rows[rows["setting"].isin([*LINES, "gap"])]
    left = [
        rows[(rows["figure"] == "fig1-left") & (rows["method"].isna() | (rows["method"] == method))].assign(panel=panel)
        for panel, method in LOSSES.items()
    ]
    found = with_patterns(pd.concat([*left, _paper_accuracies(rows)], ignore_index=True))
    return found.assign(source="paper", budget=(found["budget_b"] * BILLION).astype("int64"))


def _paper_accuracies(rows: pd.DataFrame) -> pd.DataFrame:
    """Both sides of each method with the whole pipeline's tokens, from any source: of several, the best graded."""
    parent = rows.loc[rows["setting"] == "parent", "budget_b"].max()
    rows = rows[(rows["quantity"] == "avg_acc") & rows["setting"].isin(["pruned", "scratch"])]
    retrained = rows["budget_b"].where(rows["setting"] == "pruned", rows["budget_b"] - parent)
    rows = rows.assign(retrained=retrained.round(3))
    rows = rows[rows.groupby(["method", "ratio", "retrained"])["setting"].transform("nunique") == 2]
    return best_graded(_at_most_common(rows, "ratio", "retrained"), ["method", "setting"]).assign(panel=ACCURACY)


def _study_losses(tables: Tables, panel: str) -> pd.DataFrame:
    """The study's losses of the paper's method or, without it, of the first one; the first and last gap, as there."""
    rows = choose.families(choose.measured(tables, "equal"))
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
    rows = _at_most_common(rows, "ratio", "budget").assign(panel=ACCURACY)
    if rows.empty:
        return rows
    rows = rows.merge(tables.gaps[[*GROUP, "retrained", "scratch", "confidence"]], on=list(GROUP))
    means = task_mean_rows(tables.items).set_index("run")["stderr"]
    for side in ("retrained", "scratch"):
        accuracy, error = rows[f"accuracy_{side}"], rows[side].map(lambda runs: means[runs.split(";")].mean())
        half = special.ndtri((1 + rows["confidence"]) / 2) * error
        rows = rows.assign(**{f"accuracy_{side}_low": accuracy - half, f"accuracy_{side}_high": accuracy + half})
    accuracies = _long(rows, {"pruned": "accuracy_retrained", "scratch": "accuracy_scratch"})
    in_percent = {name: 100 * accuracies[name] for name in ("value", "low", "high")}
    return accuracies.assign(quantity="avg_acc", **in_percent)


def _at_most_common(rows: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The rows at the value of each column, one column after the other, that most of them have."""
    for column in columns if len(rows) else ():
        rows = rows[rows[column] == choose.most_common(rows[column])]
    return rows


def _long(rows: pd.DataFrame, sides: dict[str, str]) -> pd.DataFrame:
    """A row per side of each comparison, with its interval if it has one."""
    facts = rows[["panel", "method", "pattern", "ratio", "budget"]]
    parts = [
        facts.assign(setting=side, value=rows[column], low=rows.get(f"{column}_low"), high=rows.get(f"{column}_high"))
        for side, column in sides.items()
    ]
    return pd.concat(parts, ignore_index=True).assign(source="study", precision="measured")


def draw(tables: Tables, study: str) -> Figure:
    """A row per figure of the paper: the paper's numbers on the left, the study's on the right."""
    drawn = data(tables)
    scales = {"paper": PAPER, "study": f"study {study}: {style.parent_scale(tables)}"}
    methods = drawn[drawn["panel"] == ACCURACY].groupby("source")["setting"].value_counts().max() if len(drawn) else 0
    heights = [PANEL_HEIGHT, PANEL_HEIGHT, max(PANEL_HEIGHT, ROW_INCHES * methods + ROW_MARGIN)]
    figure = style.new_figure(2, sum(heights) + 1.1)
    grid = figure.subplots(len(PANELS), len(SOURCES), height_ratios=heights)
    for line, panel in zip(grid, PANELS, strict=True):
        for axes, source in zip(line, SOURCES, strict=True):
            rows = drawn[(drawn["panel"] == panel) & (drawn["source"] == source)]
            _draw_panel(axes, panel, rows)
            axes.set_title(f"{scales[source]}\n{_subtitle(panel, rows)}")
    style.legend(figure, _handles(drawn), _note(tables), columns=2)
    style.name_study(figure, tables, study, findings.reported(drawn), _of_study(drawn))
    return figure


def _of_study(drawn: pd.DataFrame) -> pd.DataFrame:
    return drawn[drawn["source"] == "study"]


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
    return f"{style.series_label(methods['method'].iloc[0], '')}, ratio {methods['ratio'].iloc[0]:g}"


def _draw_losses(axes: Axes, rows: pd.DataFrame) -> None:
    for side in ("pruned", "scratch"):
        line = rows[rows["setting"] == side]
        axes.plot(line["budget"], line["value"], color=COLOURS[side], linestyle=LINES[side])
        measured = line[line["low"].notna()]
        axes.vlines(measured["budget"], measured["low"], measured["high"], color=COLOURS[side], lw=style.thin())
        for row in records(line):
            _marker(axes, row, row["budget"], row["value"])
    parents = rows[rows["setting"] == "parent"]
    axes.axhline(parents["value"].mean(), color=COLOURS["parent"], linestyle=LINES["parent"])
    for row in records(parents[parents["precision"].isin(GRADE_LOOKS)]):
        _marker(axes, row, PARENT_PLACE, row["value"], transform=axes.get_yaxis_transform())
    axes.set_ylabel("loss (nats per token)")
    style.token_axis(axes, sorted(rows.loc[rows["setting"] == "pruned", "budget"].unique()))
    low, high = axes.get_ylim()
    axes.set_ylim(low - (high - low) / 10, low + (high - low) / GAP_FLOOR)
    for row in records(rows[rows["setting"] == "gap"]):
        axes.text(row["budget"], GAP_HEIGHT, _written(row, ".2f"), ha="center", va="center",
                  fontsize=style.small_points(), transform=axes.get_xaxis_transform())  # fmt: skip


def _marker(axes: Axes, row: dict[str, Any], x: float, y: float, **options: Any) -> None:
    look = {"marker": MARKERS[row["setting"]]} | GRADE_LOOKS.get(row["precision"], {})
    axes.plot([x], [y], color=COLOURS[row["setting"]], **look, **options)


def _written(row: dict[str, Any], form: str) -> str:
    """A number with the sign of its grade."""
    return f"{row['value']:{form}}{GRADE_SIGNS.get(row['precision'], '')}"


def _draw_accuracies(axes: Axes, rows: pd.DataFrame) -> None:
    """A row per method: both sides, each with its number on the far side of the other."""
    methods = style.series(rows)
    for i, (_, both) in enumerate(methods):
        better = both["value"].rank(method="first") > 1
        for row, is_better, place in zip(records(both), better, (i - ASIDE, i + ASIDE), strict=True):
            axes.hlines(place, row["low"], row["high"], color=COLOURS[row["setting"]], lw=style.thin())
            _marker(axes, row, row["value"], place)
            _number(axes, row, place, is_better)
    axes.set_yticks(range(len(methods)), [style.series_label(*key) for key, _ in methods])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.margins(x=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(style.MOST_TICKS))
    axes.set_xlabel("mean zero-shot accuracy (%)")
    axes.set_ylabel(f"method, ratio {rows['ratio'].iloc[0]:g}")
    style.row_grid(axes)


def _number(axes: Axes, row: dict[str, Any], y: float, is_better: bool) -> None:
    away, align = (style.scaled(5), "left") if is_better else (-style.scaled(5), "right")
    axes.annotate(
        _written(row, ".1f"),
        (_end(row, "high" if is_better else "low"), y),
        (away, 0),
        textcoords="offset points",
        ha=align,
        va="center",
        color=COLOURS[row["setting"]],
        fontsize=style.small_points(),
    )


def _end(row: dict[str, Any], end: str) -> float:
    """An end of the interval, or the value if there is none."""
    return float(row["value"] if pd.isna(row[end]) else row[end])


def _handles(drawn: pd.DataFrame) -> list[Line2D]:
    """Entries of the sides, and of the grades that are drawn."""
    sides = [
        style.entry(SIDES[side], color=COLOURS[side], linestyle=LINES[side], marker=MARKERS[side]) for side in LINES
    ]
    signed = set(drawn.loc[(drawn["panel"] == ACCURACY) | (drawn["setting"] == "gap"), "precision"])
    grades = [
        style.entry(
            f"{meaning} ({GRADE_SIGNS[grade]})" if grade in signed else meaning,
            color="black", linestyle="", **{"marker": MARKERS["pruned"]} | GRADE_LOOKS[grade],
        )
        for grade, meaning in GRADES.items()
        if grade in GRADE_LOOKS and grade in set(drawn["precision"])
    ]  # fmt: skip
    return [*sides, *grades]


def _note(tables: Tables) -> str:
    seeds, level = tables.runs["seed"].nunique(), tables.gaps["confidence"].head(1)
    lines = "".join(f" Lines through markers: {value:.0%} intervals over sequences or items" for value in level)
    return (
        "Left and right differ in model, data and tokens by orders of magnitude: compare shapes, not values. "
        f"Numbers in the upper panels: gap, scratch minus pruned.{lines}{'; ' if lines else ' '}"
        f"{words.plural(seeds, 'seed')}. The paper gives no intervals."
    )
