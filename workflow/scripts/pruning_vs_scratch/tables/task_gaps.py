"""How much more often a pruned and retrained model is right than its scratch baseline, on the same items."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.tables.gaps import GapGroup
from pruning_vs_scratch.tables.items import HEADLINE, TASK_MEAN, headline_items, score_matrix, with_labels
from pruning_vs_scratch.tables.load import COLUMNS, GROUP
from pruning_vs_scratch.tables.statistics import (
    Estimate,
    Matrix,
    by_cluster,
    estimate_mean,
    estimate_mean_of_means,
    p_different,
)


def task_gap_table(groups: Sequence[GapGroup], items: pd.DataFrame, settings: ClaimsConfig) -> pd.DataFrame:
    """One row per comparison and task, and one for the zero-shot mean over tasks (load.COLUMNS).

    The difference is pruned minus scratch, so that it is positive where pruning is better, like the gap of losses.

    Raises:
        UserError: a run was not scored on the same items as the others.
    """
    quoted = with_labels(headline_items(items))
    tasks = {str(dataset): rows for dataset, rows in quoted.groupby("dataset", sort=False)}
    rows = [row for group in groups for row in _rows(group, tasks, settings)] if tasks else []
    return pd.DataFrame(rows, columns=list(COLUMNS["task_gaps.csv"]))


def _rows(group: GapGroup, tasks: dict[str, pd.DataFrame], settings: ClaimsConfig) -> Iterator[dict[str, Any]]:
    zero_shot: list[tuple[Matrix, Matrix, Matrix]] = []
    counts, guesses = [], []
    for dataset, items in tasks.items():
        chosen = items[items["run"].isin(group.runs)]
        pruned, clusters = score_matrix(chosen, group.retrained)
        scratch, _ = score_matrix(chosen, group.scratch)
        differences = by_cluster(pruned - scratch, clusters)
        facts = {
            "dataset": dataset, "metric": items["metric"].iloc[0], "split": items["split"].iloc[0],
            "items": pruned.shape[1], "chance": chosen["chance"].mean(),
        }  # fmt: skip
        yield _row(group, facts, estimate_mean(differences, settings), pruned.mean(), scratch.mean())
        if items["shots"].iloc[0] == 0:
            zero_shot.append((differences, pruned, scratch))
            counts.append(pruned.shape[1])
            guesses.append(facts["chance"])
    if zero_shot:
        differences_of_tasks, pruned_of_tasks, scratch_of_tasks = zip(*zero_shot, strict=True)
        means = [float(np.mean([m.mean() for m in part])) for part in (pruned_of_tasks, scratch_of_tasks)]
        facts = {"dataset": TASK_MEAN, "metric": HEADLINE, "items": sum(counts), "chance": np.mean(guesses)}
        yield _row(group, facts, estimate_mean_of_means(differences_of_tasks, settings), *means)


def _row(group: GapGroup, facts: dict[str, Any], difference: Estimate, pruned: float, scratch: float) -> dict[str, Any]:
    return {
        **{key: getattr(group, key) for key in GROUP},
        **facts,
        "accuracy_retrained": pruned,
        "accuracy_scratch": scratch,
        "difference": difference.mean,
        "low": difference.low,
        "high": difference.high,
        "p_value": p_different(difference),
        "clusters": difference.sequences,
        "seeds": difference.seeds,
    }
