"""Atomic writing of tables."""

from pathlib import Path

import pandas as pd

from pruning_vs_scratch.files import atomic_file


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as text."""
    with atomic_file(path) as temporary:
        table.to_csv(temporary, index=False)


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a table of many rows."""
    with atomic_file(path) as temporary:
        table.to_parquet(temporary, index=False)
