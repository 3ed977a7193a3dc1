"""results.csv: every score of every run, in one long table."""

import math

import numpy as np
import pandas as pd

from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.items import CHANCE, chance_rows, task_mean_rows, task_rows
from pruning_vs_scratch.tables.statistics import error_of_mean


def results_table(study: Study, runs: pd.DataFrame, losses: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """The run's columns, then dataset, metric, value, stderr, n, split; and the chance level as run "chance".

    Raises:
        UserError: a run was not evaluated.
    """
    unscored = sorted(set(runs["run"]) - set(losses["run"]))
    if unscored:
        raise UserError(f"{len(unscored)} runs have no scores, first {unscored[0]}: run their evaluation again")
    parts = [_validation_rows(study), _loss_rows(losses)]
    guesses = [_uniform_rows(losses, next(iter(study.targets.values())).shape.vocab_size)]
    if not items.empty:
        parts += [task_rows(items), task_mean_rows(items)]
        guesses.append(chance_rows(items))
    table = runs.merge(pd.concat(parts, ignore_index=True), on="run", how="left", validate="one_to_many")
    # The chance level has no parameters or tokens, and is the same for every seed.
    counts = {name: 0 for name in runs.columns if pd.api.types.is_integer_dtype(runs[name])}
    guessing = pd.concat(guesses, ignore_index=True).assign(run=CHANCE, role=CHANCE, **counts)
    table = pd.concat([table, guessing], ignore_index=True)
    if items.empty:
        table = table.assign(split=None)
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
    grouped = losses.groupby(["run", "dataset", "mode"], sort=False)["loss"]
    loss = grouped.agg(value="mean", stderr=error_of_mean, n="size").reset_index()
    perplexity = loss.assign(value=np.exp(loss["value"]), stderr=np.exp(loss["value"]) * loss["stderr"])
    both = pd.concat([_labelled(loss, "loss"), _labelled(perplexity, "perplexity")], ignore_index=True)
    return both.drop(columns="mode")


def _labelled(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Add the metric's name, which marks text that is read as in the paper's released code."""
    return scores.assign(metric=np.where(scores["mode"] == "authors", f"{metric}_authors", metric))


def _uniform_rows(losses: pd.DataFrame, vocab_size: int) -> pd.DataFrame:
    """The loss and perplexity of a model that knows nothing: all tokens are as likely."""
    corpora = losses.groupby(["dataset", "mode"], sort=False)["sequence"].nunique().rename("n").reset_index()
    rows = [_labelled(corpora.assign(value=math.log(vocab_size)), "loss")]
    rows.append(_labelled(corpora.assign(value=float(vocab_size)), "perplexity"))
    return pd.concat(rows, ignore_index=True).drop(columns="mode")
