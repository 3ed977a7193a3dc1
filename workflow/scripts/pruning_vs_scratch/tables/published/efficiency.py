"""The table of size and speed: one row per shape or mask, shared by its runs."""

from collections.abc import Collection

import pandas as pd

from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.load import SKIPPING_ZEROS
from pruning_vs_scratch.tables.published.stored import MISSING, Published, Stored, number

TARGET = ["granularity", "method", "pattern", "target_ratio"]
COLUMNS = {
    "params_total": ("parameters", 1e-6, ".4g", "M"),
    "params_nonembedding": ("outside embeddings", 1e-6, ".4g", "M"),
    "params_nonzero": ("not zero", 1e-6, ".4g", "M"),
    "checkpoint_bytes": ("checkpoint", 1e-6, ".4g", " MB"),
    "forward_flops": ("forward pass", 1e-9, ".4g", " GFLOP"),
    "forward_flops_theoretical": ("without masked weights", 1e-9, ".4g", " GFLOP"),
    "prefill_seconds": ("prefill", 1e3, ".3g", " ms"),
    "decode_tokens_per_second": ("generation", 1.0, ".0f", " tokens/s"),
    "peak_memory_bytes": ("memory", 1e-6, ".3g", " MB"),
    f"prefill_seconds{SKIPPING_ZEROS}": ("prefill, zeros skipped", 1e3, ".3g", " ms"),
    f"decode_tokens_per_second{SKIPPING_ZEROS}": ("generation, zeros skipped", 1.0, ".0f", " tokens/s"),
    f"peak_memory_bytes{SKIPPING_ZEROS}": ("memory, zeros not held", 1e-6, ".3g", " MB"),
}
"""By metric: heading, scale, format and unit."""


def make(stored: Stored) -> Published:
    """Parent and pruned models; a scratch baseline has the size and speed of the pruned model of its target."""
    rows = stored.efficiency[stored.efficiency["role"].isin(["parent", "pruned"])]
    rows = rows[rows["seed"] == rows["seed"].min()]
    numbers = rows[["run", "role", *TARGET, "metric", "value", "low", "high", "n", "hardware"]].reset_index(drop=True)
    there_is = set(numbers["metric"])
    printed = [_row(group, there_is) for _, group in numbers.groupby("run", sort=False)]
    measured = numbers["hardware"].dropna().unique()
    where = f"; measured on {', '.join(measured)}" if len(measured) else ""
    return Published(f"Size and speed; forward pass at length 2,048{where}", numbers, pd.DataFrame(printed))


def _row(rows: pd.DataFrame, there_is: Collection[str]) -> dict[str, str]:
    """The cells that every model has."""
    first, values = rows.iloc[0], rows.set_index("metric")["value"]
    cells = {
        "model": "parent" if first["role"] == "parent" else series_label(first["method"], first["pattern"]),
        "ratio": MISSING if first["role"] == "parent" else number(first["target_ratio"], "g"),
    }
    for metric, (heading, scale, form, unit) in COLUMNS.items():
        if metric in there_is:
            cells[heading] = number(values[metric] * scale, form) + unit if metric in values else MISSING
    return cells
