"""What every comparison cost: the tokens and operations of each side, and what the full budget is made of."""

from typing import Any

import pandas as pd

from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.load import records
from pruning_vs_scratch.tables.published.stored import Published, Stored


def accounting_table(stored: Stored) -> Published:
    """A row per compared pair, with the tokens that the ledger counted."""
    ledger = stored.ledger.set_index("run")
    runs = stored.tables.runs.set_index("run")
    rows = [_row(pair, ledger, runs) for pair in records(stored.tables.pairs)]
    numbers = pd.DataFrame(rows)
    printed = pd.DataFrame(
        {
            "setting": numbers["setting"],
            "method": [series_label(row["method"], row["pattern"]) for row in rows],
            "ratio": numbers["ratio"].map("{:g}".format),
            "seed": numbers["seed"],
            **{
                heading: numbers[column].map(token_label)
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
        "rounded up to whole batches"
    )
    return Published(title, numbers, printed)


def _row(pair: dict[str, Any], ledger: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Any]:
    retrained, scratch = ledger.loc[pair["retrained"]], ledger.loc[pair["scratch"]]
    facts = runs.loc[pair["retrained"]]
    parts = {
        "tokens_parent": int(facts["tokens_parent"]),
        "tokens_prune": int(facts["tokens_prune"]),
        "tokens_retrain": int(retrained["tokens_seen"]),
    }
    names = ("setting", "method", "granularity", "pattern", "ratio", "budget", "seed", "retrained", "scratch")
    return {
        **{name: pair[name] for name in names},
        **parts,
        "tokens_pipeline": sum(parts.values()),
        "tokens_scratch": int(scratch["tokens_seen"]),
        "steps_scratch": int(scratch["steps"]),
        "flops_retrain": int(retrained["flops"]),
        "flops_scratch": int(scratch["flops"]),
    }
