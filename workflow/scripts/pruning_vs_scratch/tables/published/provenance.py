"""The table of where the numbers come from: code, hardware, time and memory of each phase."""

from typing import Any

import pandas as pd

from pruning_vs_scratch.tables.load import records
from pruning_vs_scratch.tables.published.stored import Published, Stored
from pruning_vs_scratch.tables.summary import duration

HASH_SIGNS = 12
"""Printed digits of the code's hash; the .csv has all."""


def make(stored: Stored) -> Published:
    """One row per phase and environment."""
    numbers = stored.provenance
    printed = pd.DataFrame(
        {
            "phase": numbers["phase"],
            "jobs": numbers["jobs"],
            "all jobs": numbers["seconds"].map(duration),
            "longest job": numbers["longest_seconds"].map(duration),
            "memory": (numbers["peak_memory_bytes"] * 1e-9).map("{:.2f} GB".format),
            "hardware": [_hardware(row) for row in records(numbers)],
            "code": numbers["source_hash"].str[:HASH_SIGNS],
        }
    )
    title = (
        "Where the numbers come from: time of each phase (jobs may have run in parallel), "
        "most resident memory of one process, hardware, and hash of the code"
    )
    return Published(title, numbers, printed)


def _hardware(row: dict[str, Any]) -> str:
    """'AMD EPYC (x86_64, AVX512), 2 cores, 1 x NVIDIA H100'."""
    kind = ", ".join(str(row[name]) for name in ("machine", "cpu_capability") if pd.notna(row[name]))
    gpus = f", {row['gpus']}" if pd.notna(row["gpus"]) else ""
    return f"{row['processor']} ({kind}), {row['cores']} cores{gpus}"
