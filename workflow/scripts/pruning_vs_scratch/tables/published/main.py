"""The main table: pruned against scratch, at equal tokens and at the whole pipeline's tokens."""

import pandas as pd

from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.items import TASK_MEAN
from pruning_vs_scratch.tables.load import GROUP, records
from pruning_vs_scratch.tables.published.stored import Published, Stored, number, with_interval

ROW = [key for key in GROUP if key != "setting"]
LOSSES = ("loss_retrained", "loss_scratch", "gap", "low", "high", "seeds")
ACCURACIES = ("accuracy_retrained", "accuracy_scratch", "difference", "difference_low", "difference_high")


def make(stored: Stored) -> Published:
    """One row per method, pattern, ratio and budget: losses, gaps and mean accuracies in both settings."""
    numbers = _both_settings(stored)
    printed = pd.DataFrame(
        {
            "method": [series_label(row["method"], row["pattern"]) for row in records(numbers)],
            "ratio": numbers["ratio"].map("{:g}".format),
            "tokens": numbers["budget"].map(token_label),
            "pruned": _numbers(numbers["loss_retrained_equal"], ".3f"),
            "scratch": _numbers(numbers["loss_scratch_equal"], ".3f"),
            "gap": _intervals(numbers, "gap", "low", "high", "equal"),
            "scratch, full budget": _numbers(numbers["loss_scratch_full"], ".3f"),
            "gap, full budget": _intervals(numbers, "gap", "low", "high", "full"),
        }
    )
    if numbers["difference_equal"].notna().any():
        printed["accuracy"] = _numbers(numbers["accuracy_retrained_equal"], ".1%")
        printed["of scratch"] = _numbers(numbers["accuracy_scratch_equal"], ".1%")
        printed["of scratch, full budget"] = _numbers(numbers["accuracy_scratch_full"], ".1%")
    corpus = stored.config.claims.dataset
    title = f"Pruned against scratch: loss on {corpus} (nats per token), gap = scratch - pruned"
    return Published(title, numbers, printed)


def _both_settings(stored: Stored) -> pd.DataFrame:
    """One row per comparison, with the columns of both settings side by side."""
    gaps = stored.tables.gaps[["setting", *ROW, *LOSSES]]
    means = stored.tables.task_gaps
    means = means[means["dataset"] == TASK_MEAN].rename(columns={"low": "difference_low", "high": "difference_high"})
    both = gaps.merge(means[["setting", *ROW, *ACCURACIES]], on=["setting", *ROW], how="left")
    sides = [
        both[both["setting"] == setting].drop(columns="setting").set_index(ROW).add_suffix(f"_{setting}")
        for setting in ("equal", "full")
    ]
    order = gaps.loc[gaps["setting"] == "equal", ROW]
    return order.merge(sides[0].join(sides[1]).reset_index(), on=ROW, how="left")


def _numbers(values: pd.Series, form: str) -> list[str]:
    return [number(value, form) for value in values]


def _intervals(table: pd.DataFrame, value: str, low: str, high: str, setting: str) -> list[str]:
    columns = [f"{name}_{setting}" for name in (value, low, high)]
    return [with_interval(*row.values()) for row in records(table[columns])]
