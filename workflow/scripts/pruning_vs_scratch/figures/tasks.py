"""Accuracy of pruned and retrained models minus that of scratch baselines, task by task."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pruning_vs_scratch.figures import choose, findings, style
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.items import TASK_MEAN, headline_items, mean_accuracy, with_labels
from pruning_vs_scratch.tables.load import Tables, records

MARKER_INCHES = 0.11
"""Height of a marker's line; a task has one for each method, and one between tasks."""
LEAST_MARKERS = 3
"""A task's name has two lines, and needs as much."""

COLUMNS = [
    "setting", "dataset", "metric", "method", "pattern", "granularity", "ratio", "budget", "task", "y", "difference",
    "low", "high", "accuracy_retrained", "accuracy_scratch", "accuracy_parent", "chance", "items", "clusters", "seeds",
    "confidence",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per setting, task and method, at the ratio and budget with the most comparisons.

    ``task`` counts the tasks from the top; ``y`` is that number, moved aside for the method.
    """
    gaps = tables.task_gaps
    gaps = gaps[gaps["setting"].isin(style.SETTING_TITLES) & gaps["difference"].notna()]
    if gaps.empty:
        return gaps.reindex(columns=COLUMNS)
    gaps = gaps[gaps["budget"] == choose.most_common(gaps["budget"])]
    gaps = gaps[gaps["ratio"] == choose.most_common(gaps["ratio"])].reset_index(drop=True)
    series = gaps.groupby(["method", "pattern"], sort=False).ngroup()
    task = gaps.groupby("dataset", sort=False).ngroup()
    return gaps.assign(
        task=task,
        y=task + (series - series.max() / 2) / max(series.max() + 2, LEAST_MARKERS),
        accuracy_parent=gaps["dataset"].map(_parent_accuracy(tables)),
        confidence=tables.gaps["confidence"].iloc[0],
    ).reindex(columns=COLUMNS)


def _parent_accuracy(tables: Tables) -> dict[str, float]:
    """By task, the accuracy of the parents of all seeds."""
    parents = tables.runs.loc[tables.runs["role"] == "parent", "run"]
    items = headline_items(tables.items[tables.items["run"].isin(parents)])
    by_task = {str(task): rows["score"].mean() for task, rows in with_labels(items).groupby("dataset")}
    return by_task | {TASK_MEAN: mean_accuracy(items).mean()}


def draw(tables: Tables, study: str) -> Figure:
    """A panel per setting, a row per task, a marker per method."""
    drawn = data(tables)
    if drawn.empty:
        figure = style.new_figure(2, 2.5)
        style.say_nothing_to_draw(figure.subplots(), "This study compares no models on tasks.")
    else:
        styles = style.series_styles(tables.gaps)
        series = [styles[key] for key, _ in style.series(drawn)]
        markers = max(len(series) + 1, LEAST_MARKERS)
        figure = style.new_figure(2, 1.7 + MARKER_INCHES * markers * (drawn["task"].max() + 1))
        panels = figure.subplots(1, 2, sharey=True, sharex=True)
        for axes, (setting, title) in zip(panels, style.SETTING_TITLES.items(), strict=True):
            _draw_panel(axes, drawn[drawn["setting"] == setting], styles, title)
        _name_tasks(panels[0], drawn)
        style.legend(figure, [look.marker_handle() for look in series], _note(drawn), columns=4)
    style.name_study(figure, tables, study, findings.tasks(drawn))
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, styles: style.Styles, title: str) -> None:
    axes.set_title(title)
    axes.axvline(0, color="black", lw=0.6)
    for row in records(rows):
        in_points = row | {name: 100 * row[name] for name in ("difference", "low", "high")}
        style.interval(axes, in_points, "difference", row["y"], styles[(row["method"], row["pattern"])])
    axes.set_xlabel("pruned minus scratch (percentage points)\n← scratch better      pruning better →")
    style.row_grid(axes)
    if rows.empty:
        style.say_empty(axes)


def _name_tasks(axes: Axes, drawn: pd.DataFrame) -> None:
    tasks = drawn.drop_duplicates("task")
    axes.set_yticks(list(tasks["task"]), [_task_name(row) for row in records(tasks)])
    axes.set_ylim(tasks["task"].max() + 0.5, -0.5)
    axes.set_ylabel("task")


def _task_name(row: dict) -> str:
    name = "mean of zero-shot tasks" if row["dataset"] == TASK_MEAN else f"{row['dataset']} ({row['metric']})"
    return f"{name}\nparent {row['accuracy_parent']:.0%}, guessing {row['chance']:.0%}"


def _note(drawn: pd.DataFrame) -> str:
    first = drawn.iloc[0]
    return (
        f"Ratio {first['ratio']:g}, retraining on {token_label(first['budget'])} tokens; {drawn['items'].min()} to "
        f"{drawn['items'].max()} items, {style.coverage(drawn, 'items')}"
    )
