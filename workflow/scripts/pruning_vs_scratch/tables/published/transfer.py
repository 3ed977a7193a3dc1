"""The table of the worth of pruned starts in tokens from scratch: the study's, then from the paper's losses."""

from typing import Any

import pandas as pd

from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.load import records
from pruning_vs_scratch.tables.published.stored import MISSING, Published, Stored, number
from pruning_vs_scratch.tables.transfer import ONE_BUDGET, reported_transfer

OPEN = "open"
COLUMNS = [
    "source", "method", "pattern", "ratio", "budget", "loss_retrained", "status", "scratch_tokens",
    "scratch_tokens_low", "scratch_tokens_high", "transferred", "transferred_low", "transferred_high",
    "tokens_parent", "share", "share_low", "share_high", "grade",
]  # fmt: skip


def make(stored: Stored) -> Published:
    """One row per source, method, ratio and retraining budget."""
    study = stored.tables.transfer.assign(source="study", grade="measured")
    paper = reported_transfer(stored.tables.reported).assign(source="paper")
    parts = [part.reindex(columns=COLUMNS) for part in (study, paper) if len(part)]
    numbers = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)
    rows = records(numbers)
    printed = pd.DataFrame(
        {
            "source": numbers["source"],
            "method": [series_label(row["method"], row["pattern"]) for row in rows],
            "ratio": numbers["ratio"].map("{:g}".format),
            "retrained on": [_tokens(row["budget"]) for row in rows],
            "from scratch": [_with_ends(row, "scratch_tokens") for row in rows],
            "share of the parent's": [_with_ends(row, "share") for row in rows],
            "where": numbers["status"],
            "grade": numbers["grade"],
        }
    )
    title = (
        "Tokens of training from scratch that reach the loss of a pruned and retrained model, and their excess over "
        "the retraining tokens as a share of the parent's tokens"
    )
    return Published(title, numbers, printed)


def _with_ends(row: dict[str, Any], name: str) -> str:
    """A number with its interval, whose ends may be open."""
    say = _tokens if name == "scratch_tokens" else _share
    point = say(row[name])
    unknown = name == "share" and pd.isna(row["tokens_parent"])
    if unknown or row["source"] == "paper" or row["status"] == ONE_BUDGET:
        return point
    ends = (row[f"{name}_low"], row[f"{name}_high"])
    low, high = (OPEN if pd.isna(end) else say(end) for end in ends)
    return f"{point} [{low}, {high}]"


def _tokens(count: float | None) -> str:
    return MISSING if count is None or pd.isna(count) else token_label(round(count))


def _share(value: float | None) -> str:
    return number(value, ".2f")
