"""The table of size and speed, in units that suit the study's models."""

from collections.abc import Callable, Collection

import pandas as pd

from pruning_vs_scratch.report.grids import Grid, grid
from pruning_vs_scratch.report.scaled import operations, scaled
from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.load import SKIPPING_ZEROS
from pruning_vs_scratch.tables.published.catalogue import PUBLISHED
from pruning_vs_scratch.tables.published.stored import MISSING, Stored

SMALL_COUNT = 10**6
"""Counts below are given to the last digit."""


def _count(value: float) -> str:
    return f"{value:,.0f}" if value < SMALL_COUNT else scaled(value, "").replace("G", "B")


def _bytes(value: float) -> str:
    return scaled(value, "B")


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _speed(value: float) -> str:
    return f"{value:,.0f}"


METRICS: dict[str, tuple[str, Callable[[float], str]]] = {
    "params_total": ("parameters", _count),
    "params_nonembedding": ("parameters outside embeddings", _count),
    "params_nonzero": ("parameters that are not zero", _count),
    "checkpoint_bytes": ("size of the checkpoint", _bytes),
    "forward_flops": ("operations of a forward pass over 2,048 tokens", operations),
    "forward_flops_theoretical": ("the same without masked weights", operations),
    "prefill_seconds": ("time to read a prompt", _time),
    "decode_tokens_per_second": ("tokens generated per second", _speed),
    "peak_memory_bytes": ("most memory while generating", _bytes),
    f"prefill_seconds{SKIPPING_ZEROS}": ("time to read a prompt, zeros skipped", _time),
    f"decode_tokens_per_second{SKIPPING_ZEROS}": ("tokens generated per second, zeros skipped", _speed),
    f"peak_memory_bytes{SKIPPING_ZEROS}": ("most memory while generating, zeros not held", _bytes),
}
"""By metric: what its column is called, and how a value is written."""


def sizes_grid(stored: Stored) -> Grid:
    """A row per shape or mask, with what there is of any model."""
    published = PUBLISHED["efficiency"].make(stored)
    numbers = published.numbers
    there_is = [metric for metric in METRICS if metric in set(numbers["metric"])]
    rows = [_row(group, there_is) for _, group in numbers.groupby("run", sort=False)]
    return grid(published.title, pd.DataFrame(rows), "efficiency")


def _row(rows: pd.DataFrame, there_is: Collection[str]) -> dict[str, str]:
    first, values = rows.iloc[0], rows.set_index("metric")["value"].dropna()
    is_parent = first["role"] == "parent"
    cells = {
        "model": "parent" if is_parent else series_label(first["method"], first["pattern"]),
        "pruning ratio": MISSING if is_parent else f"{first['target_ratio']:g}",
    }
    for metric in there_is:
        heading, written = METRICS[metric]
        cells[heading] = written(values[metric]) if metric in values else MISSING
    return cells
