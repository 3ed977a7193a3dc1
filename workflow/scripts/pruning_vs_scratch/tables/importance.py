"""What structured methods thought of the parent's blocks, and which blocks went: for figures, without the models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import PRUNING_FILE, read_json
from pruning_vs_scratch.study import Run, Study
from pruning_vs_scratch.tables.load import COLUMNS
from pruning_vs_scratch.tables.statistics import Matrix

CHANNELS = {"ffn": "neuron_importance", "heads": "attention_importance"}
"""Scores of a width method that have a row a block, and what they are called here."""
LOW, HIGH = 10, 90
"""Percentiles that stand for the range of the channels of a block."""

Row = dict[str, Any]


def importance_table(study: Study) -> pd.DataFrame:
    """A row per pruned parent, measure and block (load.COLUMNS). Methods that score no blocks are not in it.

    Raises:
        UserError: a record or scores are missing or damaged.
    """
    parents = {run.name for run in study.runs.values() if run.role == "parent"}
    pruned = [study.run(name) for name in study.pruned_runs if study.run(name).start in parents]
    rows = [_facts(run) | row for run in pruned for row in _rows(study, run)]
    return pd.DataFrame(rows, columns=list(COLUMNS["importance.parquet"]))


def _facts(run: Run) -> Row:
    return {"run": run.name, "method": run.method, "ratio": run.target.ratio, "seed": run.seed}


def _rows(study: Study, run: Run) -> Iterator[Row]:
    if run.target.granularity == "depth":
        yield from _block_rows(str(run.method), read_json(study.paths.model(run.name) / PRUNING_FILE))
    elif run.method == "minitron_width":
        yield from _channel_rows(study.paths.scores(str(run.start), run.method))


def _block_rows(method: str, record: dict[str, Any]) -> Iterator[Row]:
    """Scores of single blocks, or of the runs of blocks that start at them: the last blocks start none."""
    dropped = record["dropped"]["blocks"]
    score = f"loss_without_{len(dropped)}" if method == "minitron_depth" else "block_influence"
    values = dict(enumerate(record["scores"].get(score, [])))
    measure = "loss_without" if method == "minitron_depth" else score
    for block in range(record["parent"]["layers"]):
        value = values.get(block, np.nan)
        yield {"measure": measure, "block": block, "value": value, "low": value, "high": value,
               "removed": block in dropped}  # fmt: skip


def _channel_rows(path: Path) -> Iterator[Row]:
    """The median and the range of the channels of each block."""
    for name, measure in CHANNELS.items():
        for block, channels in enumerate(_scores(path, name)):
            low, value, high = np.percentile(channels, [LOW, 50, HIGH])
            yield {"measure": measure, "block": block, "value": value, "low": low, "high": high, "removed": False}


def _scores(path: Path, name: str) -> Matrix:
    try:
        with safe_open(path, framework="numpy") as file:
            return file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot read {name} of {path} ({error}): delete it, and the run is scored again") from error
