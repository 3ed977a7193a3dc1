"""The cost of every comparison: tokens and operations of each side, and the components of the full budget."""

from typing import Any

import pandas as pd

from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.load import records
from pruning_vs_scratch.tables.published.stored import MISSING, Published, Stored, rates_apart


def make(stored: Stored) -> Published:
    """One row per compared pair, with the tokens from the ledger; those of a published parent may be unknown."""
    ledger = stored.ledger.set_index("run")
    runs = stored.tables.runs.set_index("run")
    rows = [_row(pair, ledger, runs) for pair in records(stored.tables.pairs)]
    numbers = pd.DataFrame(rows).astype({"tokens_beyond": "Int64"})
    printed = pd.DataFrame(
        {
            "setting": numbers["setting"],
            "method": [series_label(row["method"], row["pattern"]) for row in rows],
            "ratio": numbers["ratio"].map("{:g}".format),
            "seed": numbers["seed"],
            **{
                heading: [MISSING if pd.isna(tokens) else token_label(int(tokens)) for tokens in numbers[column]]
                for heading, column in {
                    "parent": "tokens_parent", "pruning": "tokens_prune", "retraining": "tokens_retrain",
                    "pipeline": "tokens_pipeline", "scratch": "tokens_scratch",
                }.items()
            },
            "steps": numbers["steps_scratch"],
            "FLOP of retraining": numbers["flops_retrain"].map("{:.3g}".format),
            "FLOP of scratch": numbers["flops_scratch"].map("{:.3g}".format),
        }
    )  # fmt: skip
    title = (
        "Tokens and operations of each compared pair; the full budget of scratch is parent + pruning + retraining, "
        "rounded up to whole batches or to a budget that methods share"
    )
    beyond = [MISSING if row["tokens_beyond"] is None else f"{row['tokens_beyond']:,}" for row in rows]
    if set(beyond) - {MISSING}:
        printed.insert(list(printed).index("steps"), "beyond the pipeline", beyond)
    if len(rates_apart(stored)):
        for side, heading in {"retrained": "retraining", "scratch": "scratch"}.items():
            rates = numbers[side].map(ledger["peak_lr"])
            numbers[f"peak_lr_{side}"], printed[f"learning rate of {heading}"] = rates, rates.map("{:g}".format)
    return Published(title, numbers, printed)


def _row(pair: dict[str, Any], ledger: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Any]:
    retrained, scratch = ledger.loc[pair["retrained"]], ledger.loc[pair["scratch"]]
    facts = runs.loc[pair["retrained"]]
    parent = None if pd.isna(facts["tokens_parent"]) else int(facts["tokens_parent"])
    pruning, retraining, seen = (
        int(tokens) for tokens in (facts["tokens_prune"], retrained["tokens_seen"], scratch["tokens_seen"])
    )
    pipeline = None if parent is None else parent + pruning + retraining
    names = ("setting", "method", "granularity", "pattern", "ratio", "budget", "seed", "retrained", "scratch")
    return {
        **{name: pair[name] for name in names},
        "tokens_parent": parent,
        "tokens_prune": pruning,
        "tokens_retrain": retraining,
        "tokens_pipeline": pipeline,
        "tokens_scratch": seen,
        "tokens_beyond": seen - pipeline if pair["setting"] == "full" and pipeline is not None else None,
        "steps_scratch": int(scratch["steps"]),
        "flops_retrain": int(retrained["flops"]),
        "flops_scratch": int(scratch["flops"]),
    }
