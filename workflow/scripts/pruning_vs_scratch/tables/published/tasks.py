"""The table of tasks: every run's accuracy on each, next to chance, the parent, and the models before retraining."""

from typing import Any, get_args

import pandas as pd

from pruning_vs_scratch.data.benchmarks import headline_metric
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.study.runs import Arm
from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.items import CHANCE, HEADLINE, TASK_MEAN
from pruning_vs_scratch.tables.load import records
from pruning_vs_scratch.tables.published.stored import MISSING, Published, Stored, number

ORDER = (CHANCE, "parent", "pruned", "retrained", "scratch", "rewind", *get_args(Arm))


def make(stored: Stored) -> Published:
    """A row per run: the quoted metric of each task in percent, with its standard error, and the mean over tasks."""
    scores = stored.results
    scores = scores[[_is_quoted(row["dataset"], row["metric"]) for row in records(scores)]]
    facts = ["run", "role", "granularity", "method", "pattern", "target_ratio", "tokens_train", "seed"]
    numbers = scores[[*facts, "dataset", "split", "metric", "value", "stderr", "n"]]
    numbers = numbers.sort_values("role", key=lambda roles: roles.map(ORDER.index), kind="stable", ignore_index=True)
    printed = pd.DataFrame([_row(records(rows)) for _, rows in numbers.groupby("run", sort=False)]).fillna(MISSING)
    return Published("Accuracy on each task in percent, zero-shot unless named otherwise", numbers, printed)


def _is_quoted(dataset: str, metric: str) -> bool:
    if dataset == TASK_MEAN:
        return metric == HEADLINE
    return metric.startswith("acc") and metric == headline_metric(dataset.split("@")[0])


def _label(row: dict[str, Any]) -> str:
    """Method and pattern, or the granularity for a baseline that several methods share."""
    return series_label(row["method"], row["pattern"]) if isinstance(row["method"], str) else str(row["granularity"])


def _row(rows: list[dict[str, Any]]) -> dict[str, str]:
    first = rows[0]
    guesses, whole = first["role"] == CHANCE, first["role"] in (CHANCE, "parent")
    cells = {
        "model": first["role"],
        "method": MISSING if whole else _label(first),
        "ratio": MISSING if whole else number(first["target_ratio"], "g"),
        "tokens": token_label(first["tokens_train"]) if first["tokens_train"] else MISSING,
        "seed": MISSING if guesses else str(first["seed"]),
    }
    for row in rows:
        error = "" if pd.isna(row["stderr"]) else f" ± {100 * row['stderr']:.1f}"
        cells["mean" if row["dataset"] == TASK_MEAN else row["dataset"]] = f"{100 * row['value']:.1f}{error}"
    return cells
