"""results.csv: every score of every run, in one long table."""

import numpy as np
import pandas as pd
from scipy import stats

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.manifest import read_manifest
from pruning_vs_scratch.study import Study

TASK_MEAN = "task_mean"
"""Data set name of the mean over tasks, the paper's headline figure."""


def results_table(study: Study, runs: pd.DataFrame, losses: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """The run's columns, then dataset, metric, value, stderr, n.

    Raises:
        UserError: a run was not evaluated.
    """
    unscored = sorted(set(runs["run"]) - set(losses["run"]))
    if unscored:
        raise UserError(f"{len(unscored)} runs have no scores, first {unscored[0]}: run their evaluation again")
    parts = [_validation_rows(study), _loss_rows(losses)]
    if not items.empty:
        parts += [_task_rows(items), _task_mean_rows(items)]
    scores = pd.concat(parts, ignore_index=True)
    table = runs.merge(scores, on="run", how="left", validate="one_to_many")
    table.insert(0, "study", study.name)
    return table


def _validation_rows(study: Study) -> pd.DataFrame:
    """The training loop's own loss on the validation split, at the end of each run."""
    return pd.DataFrame(
        [
            {
                "run": name,
                "dataset": "validation",
                "metric": "loss",
                "value": read_manifest(study.paths.manifest(name))["facts"]["validation_loss"],
                "stderr": None,
                "n": study.config.training.validation.sequences,
            }
            for name in study.trained_runs
        ]
    )


def _loss_rows(losses: pd.DataFrame) -> pd.DataFrame:
    """Mean loss in nats per token with its standard error over windows, and the perplexity (delta method)."""
    grouped = losses.groupby(["run", "dataset"], sort=False)["loss"]
    loss = grouped.agg(value="mean", stderr=stats.sem, n="size").reset_index()
    perplexity = loss.assign(value=np.exp(loss["value"]), stderr=np.exp(loss["value"]) * loss["stderr"])
    return pd.concat([loss.assign(metric="loss"), perplexity.assign(metric="perplexity")], ignore_index=True)


def _task_rows(items: pd.DataFrame) -> pd.DataFrame:
    grouped = items.groupby(["run", "task", "metric"], sort=False)["score"]
    return grouped.agg(value="mean", stderr=stats.sem, n="size").reset_index().rename(columns={"task": "dataset"})


def _task_mean_rows(items: pd.DataFrame) -> pd.DataFrame:
    """Unweighted mean over tasks; its standard error takes tasks as fixed and items as independent."""
    per_task = _task_rows(items)
    per_task["variance"] = per_task["stderr"] ** 2
    grouped = per_task.groupby(["run", "metric"], sort=False)
    mean = grouped.agg(value=("value", "mean"), variance=("variance", "sum"), tasks=("value", "size"), n=("n", "sum"))
    mean["stderr"] = mean["variance"] ** 0.5 / mean["tasks"]
    return mean.reset_index().drop(columns=["variance", "tasks"]).assign(dataset=TASK_MEAN)
