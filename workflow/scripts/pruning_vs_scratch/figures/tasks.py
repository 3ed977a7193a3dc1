"""Accuracy of pruned and retrained models minus that of scratch baselines, task by task."""

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import special

from pruning_vs_scratch.figures import choose, findings, style
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.items import TASK_MEAN, headline_items, mean_accuracy, with_labels
from pruning_vs_scratch.tables.load import GROUP, Tables, records

MARKER_INCHES = 0.11
"""Height of a marker's line; a task has one for each method, and one between tasks."""
LEAST_MARKERS = 3
"""A task's name has two lines, and needs as much."""

COLUMNS = [
    "setting", "dataset", "metric", "method", "pattern", "granularity", "ratio", "budget", "task", "y", "difference",
    "low", "high", "accuracy_retrained", "accuracy_scratch", "accuracy_parent", "chance", "at_chance", "items",
    "clusters", "seeds", "confidence",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per setting, task and method, at the ratio and budget with the most comparisons.

    ``task`` counts the tasks from the top; ``y`` is that number, moved aside for the method. ``at_chance`` says whether
    guessing explains what both models score.
    """
    gaps = tables.task_gaps
    gaps = gaps[gaps["setting"].isin(style.SETTING_TITLES) & gaps["difference"].notna()]
    if gaps.empty:
        return gaps.reindex(columns=COLUMNS)
    gaps = gaps[gaps["budget"] == choose.most_common(gaps["budget"])]
    gaps = gaps[gaps["ratio"] == choose.most_common(gaps["ratio"])].reset_index(drop=True)
    series = gaps.groupby(["method", "pattern"], sort=False).ngroup()
    task = gaps.groupby("dataset", sort=False).ngroup()
    zero_shot = set(with_labels(headline_items(tables.items[tables.items["shots"] == 0]))["dataset"])
    confidence = float(tables.gaps["confidence"].iloc[0])
    rows: pd.DataFrame = gaps.assign(
        task=task,
        y=task + (series - series.max() / 2) / max(series.max() + 2, LEAST_MARKERS),
        accuracy_parent=gaps["dataset"].map(_parent_accuracy(tables)),
        at_chance=at_chance(gaps, zero_shot, confidence),
        confidence=confidence,
    ).reindex(columns=COLUMNS)
    return rows


def _parent_accuracy(tables: Tables) -> dict[str, float]:
    """By task, the accuracy of the parents of all seeds."""
    parents = tables.runs.loc[tables.runs["role"] == "parent", "run"]
    items = headline_items(tables.items[tables.items["run"].isin(parents)])
    by_task = {str(task): rows["score"].mean() for task, rows in with_labels(items).groupby("dataset")}
    return by_task | {TASK_MEAN: mean_accuracy(items).mean()}


def at_chance(gaps: pd.DataFrame, zero_shot: Collection[str], confidence: float) -> "pd.Series[bool]":
    """Whether both accuracies are as close to chance as those of random guessing, at some level of confidence.

    A guesser's accuracy on n independent items has the variance c (1 - c) / n, where c is chance; the mean over T tasks
    has the sum of theirs over T squared. ``zero_shot`` names the tasks of the mean.
    """
    variance = gaps["chance"] * (1 - gaps["chance"]) / gaps["clusters"]
    comparison = [gaps[column] for column in GROUP]
    of_tasks = variance.where(gaps["dataset"].isin(zero_shot)).groupby(comparison)
    of_mean = of_tasks.transform("sum") / of_tasks.transform("count") ** 2
    reach = special.ndtri((1 + confidence) / 2) * variance.where(gaps["dataset"] != TASK_MEAN, of_mean) ** 0.5
    both = gaps[["accuracy_retrained", "accuracy_scratch"]]
    value: pd.Series[bool] = both.sub(gaps["chance"], axis=0).abs().max(axis=1) <= reach
    return value


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
        settings = style.settings_of(drawn)
        panels = figure.subplots(1, len(settings), sharey=True, sharex=True, squeeze=False)[0]
        for axes, setting in zip(panels, settings, strict=True):
            _draw_panel(axes, drawn[drawn["setting"] == setting], styles, style.SETTING_TITLES[setting])
        _name_tasks(panels[0], drawn)
        style.legend(figure, _handles(series, drawn), _note(drawn), columns=4)
    style.name_study(figure, tables, study, findings.tasks(drawn), drawn)
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, styles: style.Styles, title: str) -> None:
    axes.set_title(title)
    axes.axvline(0, color="black", lw=0.6)
    for row in records(rows):
        in_points = row | {name: 100 * row[name] for name in ("difference", "low", "high")}
        fill = "white" if row["at_chance"] else None
        style.interval(axes, in_points, "difference", row["y"], styles[(row["method"], row["pattern"])], fill)
    axes.set_xlabel("pruned minus scratch (percentage points)\n← scratch better      pruning better →")
    style.row_grid(axes)


def _name_tasks(axes: Axes, drawn: pd.DataFrame) -> None:
    tasks = drawn.drop_duplicates("task").assign(guessed=drawn.groupby("task")["at_chance"].all().to_numpy())
    axes.set_yticks(list(tasks["task"]), [_task_name(row) for row in records(tasks)])
    axes.set_ylim(tasks["task"].max() + 0.5, -0.5)
    axes.set_ylabel("task")


def _task_name(row: dict[str, Any]) -> str:
    name = "mean of zero-shot tasks" if row["dataset"] == TASK_MEAN else f"{row['dataset']} ({row['metric']})"
    name += ", at chance" if row["guessed"] else ""
    return f"{name}\nparent {row['accuracy_parent']:.0%}, guessing {row['chance']:.0%}"


def _handles(series: Sequence[style.SeriesStyle], drawn: pd.DataFrame) -> list[Line2D]:
    handles = [look.marker_handle() for look in series]
    if drawn["at_chance"].any():
        hollow = {"color": style.PARENT_COLOUR, "marker": "o", "mfc": "white", "linestyle": ""}
        handles.append(style.entry("hollow: both at chance", **hollow))
    return handles


def _note(drawn: pd.DataFrame) -> str:
    first = drawn.iloc[0]
    return (
        f"Ratio {first['ratio']:g}, retraining on {token_label(first['budget'])} tokens; {drawn['items'].min()} to "
        f"{drawn['items'].max()} items, {style.coverage(drawn, 'items')}"
    )
