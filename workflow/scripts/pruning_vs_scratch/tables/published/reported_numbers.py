"""Every number of the paper and of its authors that is known here, with its grade."""

import pandas as pd

from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.load import records
from pruning_vs_scratch.tables.published.stored import MISSING, Published, Stored, number
from pruning_vs_scratch.tables.reported import BILLION, GRADES, QUANTITY, SIDES, with_patterns

QUANTITIES = {"val_loss": "validation loss (nats per token)", "avg_acc": "mean zero-shot accuracy (%)"}
KINDS = {"ppl": "perplexity, {}", "acc": "accuracy (%), {}"}


def make(stored: Stored) -> Published:
    """One row per number, in the order of the file."""
    rows = with_patterns(stored.tables.reported)
    numbers = rows.assign(tokens=rows["budget_b"] * BILLION).rename(columns={"figure": "source", "precision": "grade"})
    columns = ["source", "quantity", "method", "pattern", "ratio", "setting", "tokens", "value", "grade"]
    printed = pd.DataFrame(
        {
            "quantity": numbers["quantity"].map(_quantity),
            "method": [
                MISSING if pd.isna(row["method"]) else series_label(row["method"], row["pattern"])
                for row in records(numbers)
            ],
            "ratio": numbers["ratio"].map("{:g}".format),
            "model": numbers["setting"].map(SIDES),
            "tokens": [MISSING if pd.isna(count) else token_label(round(count)) for count in numbers["tokens"]],
            "value": [number(value, "g") for value in numbers["value"]],
            "grade": numbers["grade"],
            "source": numbers["source"],
        }
    )
    meanings = "; ".join(f"{grade}: {meaning}" for grade, meaning in GRADES.items())
    return Published(f"Numbers of the paper and its authors, one per row ({meanings})", numbers[columns], printed)


def _quantity(name: str) -> str:
    found = QUANTITY.fullmatch(name)
    return QUANTITIES.get(name) or (KINDS[found["kind"]].format(found["on"]) if found else name)
