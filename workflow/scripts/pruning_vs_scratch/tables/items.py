"""Per-item scores of tasks: the quoted metric, the number of independent items, and the chance level."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pruning_vs_scratch.data.benchmarks import headline_metric
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study.evaluation import task_label
from pruning_vs_scratch.tables.statistics import Matrix, by_cluster, error_of_mean

TASK_MEAN = "task_mean"
"""Data set name of the mean over tasks, the paper's headline figure."""
HEADLINE = "accuracy"
"""Its metric: for each task the score that the paper quotes, acc or acc_norm."""
CHANCE = "chance"
"""Run and role of the rows with the chance level."""


def with_labels(items: pd.DataFrame) -> pd.DataFrame:
    """The items with a column ``dataset``: the task, its shots if there are any, and whether it is in-domain."""
    facts = ["task", "shots", "in_domain"]
    labels = {key: task_label(*key) for key in items[facts].drop_duplicates().itertuples(index=False, name=None)}
    return items.assign(dataset=[labels[key] for key in items[facts].itertuples(index=False, name=None)])


def headline_items(items: pd.DataFrame) -> pd.DataFrame:
    """The items under each task's quoted metric."""
    return items[items["metric"] == items["task"].map(headline_metric)]


def mean_accuracy(items: pd.DataFrame) -> pd.Series:
    """Each run's zero-shot accuracy, averaged over tasks with equal weight; indexed by run."""
    quoted = headline_items(items)
    by_task = quoted[quoted["shots"] == 0].groupby(["run", "task"])["score"].mean()
    return by_task.groupby("run").mean()


def task_rows(items: pd.DataFrame) -> pd.DataFrame:
    """One row per run, task, shots and metric: dataset, metric, value, stderr, n, split. Errors are over clusters."""
    rows = []
    for (run, dataset, metric), group in with_labels(items).groupby(["run", "dataset", "metric"], sort=False):
        scores = group["score"].to_numpy(dtype=float)
        clustered = by_cluster(scores[None], group["cluster"])
        rows.append(
            (run, dataset, metric, scores.mean(), error_of_mean(clustered[0]), len(scores), group["split"].iloc[0])
        )
    return pd.DataFrame(rows, columns=["run", "dataset", "metric", "value", "stderr", "n", "split"])


def task_mean_rows(items: pd.DataFrame) -> pd.DataFrame:
    """One row per run: the unweighted mean over tasks, zero-shot. Tasks are fixed, so errors add up over them."""
    rows = task_rows(headline_items(items[items["shots"] == 0]))
    rows["variance"] = rows["stderr"] ** 2
    mean = rows.groupby("run", sort=False).agg(
        value=("value", "mean"), variance=("variance", "sum"), tasks=("value", "size"), n=("n", "sum")
    )
    mean["stderr"] = mean["variance"] ** 0.5 / mean["tasks"]
    return mean.reset_index().drop(columns=["variance", "tasks"]).assign(dataset=TASK_MEAN, metric=HEADLINE)


def chance_rows(items: pd.DataFrame) -> pd.DataFrame:
    """The chance level of each task and of their mean; the same for every run."""
    guesses = with_labels(items[items["run"] == items["run"].iloc[0]])
    rows = guesses.groupby(["dataset", "metric"], sort=False).agg(
        value=("chance", "mean"), n=("chance", "size"), split=("split", "first")
    )
    quoted = headline_items(guesses[guesses["shots"] == 0])
    mean = {"dataset": TASK_MEAN, "metric": HEADLINE, "value": quoted.groupby("task")["chance"].mean().mean()}
    return pd.concat([rows.reset_index(), pd.DataFrame([mean | {"n": len(quoted)}])], ignore_index=True)


def score_matrix(items: pd.DataFrame, runs: Sequence[str]) -> tuple[Matrix, Matrix]:
    """Scores of some runs on one task, shape (runs, items), and the cluster of each item.

    Raises:
        UserError: a run was not scored on the same items as the others.
    """
    table = items.pivot(index="run", columns="item", values="score").reindex(list(runs))
    incomplete = table.index[table.isna().any(axis=1)]
    if len(incomplete):
        task = items["task"].iloc[0]
        raise UserError(f"run {incomplete[0]} was not scored on all items of {task}: evaluate it again")
    clusters = items.drop_duplicates("item").set_index("item")["cluster"].reindex(table.columns)
    return table.to_numpy(dtype=float), np.asarray(clusters)
