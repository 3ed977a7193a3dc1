"""What the paper leaves open: cost and loss of both sides of each arm."""

from typing import Any

import pandas as pd

from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.arms import MATCHES
from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.load import ARM_GROUP, records
from pruning_vs_scratch.tables.published.stored import Published, Stored, number, with_interval

BASELINES = {
    "distilled": "random start, distilled",
    "gradual": "pruned once",
    "joint": "new schedule",
    "early": "whole parent pruned",
}
SIDES = {"": "run", " compared with": "baseline"}
"""How the columns of a side end, here and in arms.csv."""
NUMBERS = (
    "tokens_run", "tokens_baseline", "tokens_prune_run", "tokens_prune_baseline", "flops_run", "flops_baseline",
    "params_mean_run", "params_mean_baseline", "loss_run", "loss_baseline", "gap", "low", "high", "run", "baseline",
)  # fmt: skip


def make(stored: Stored) -> Published:
    """One row per comparison of an arm, in the order of the study."""
    arms = stored.tables.arms
    printed = pd.DataFrame([_row(row) for row in records(arms)])
    title = (
        "What the paper leaves open: training tokens and operations of both sides, their losses, and the difference, "
        "positive where the arm is better. Costs of distilled sides are those of retraining with the parent's forward "
        "passes, costs of the others those of the whole way from the parent's first token"
    )
    return Published(title, arms[[*ARM_GROUP, *NUMBERS]], printed)


def _row(row: dict[str, Any]) -> dict[str, str]:
    return {
        "arm": _arm(row),
        "method": series_label(row["method"], row["pattern"]),
        "ratio": f"{row['ratio']:g}",
        "compared with": BASELINES[row["arm"]],
        **{f"tokens{end}": token_label(int(row[f"tokens_{side}"])) for end, side in SIDES.items()},
        **{f"FLOP{end}": f"{row[f'flops_{side}']:.3g}" for end, side in SIDES.items()},
        **{f"loss{end}": number(row[f"loss_{side}"], ".3f") for end, side in SIDES.items()},
        "difference": with_interval(row["gap"], row["low"], row["high"]),
    }


def _arm(row: dict[str, Any]) -> str:
    """'gradual, 0.25 then 0.5', 'early, 25%', 'distilled, equal FLOPs'."""
    details = {
        "distilled": MATCHES[row["match"]],
        "gradual": str(row["steps"]).replace("+", " then "),
        "early": f"{row['share']:.0%}",
    }
    return f"{row['arm']}, {details[row['arm']]}" if row["arm"] in details else str(row["arm"])
