"""Scores of the parent's blocks by structured methods, and the removed blocks: for figures, without the models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import PRUNING_FILE, read_json
from pruning_vs_scratch.pruning.catalogue import methods
from pruning_vs_scratch.pruning.facts import BlockScores, ChannelScores
from pruning_vs_scratch.study import Run, Study
from pruning_vs_scratch.tables.load import COLUMNS
from pruning_vs_scratch.tables.statistics import Matrix

LOW, HIGH = 10, 90
"""Percentiles that represent the range of the channels of a block."""

Row = dict[str, Any]


def importance_table(study: Study) -> pd.DataFrame:
    """One row per pruned parent, measure and block (load.COLUMNS). Methods that do not score blocks are left out.

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
    facts = methods().get(str(run.method))
    for scores in facts.importance if facts is not None else ():
        if isinstance(scores, BlockScores):
            yield from _block_rows(scores, study.paths.model(run.name) / PRUNING_FILE)
        else:
            yield from _channel_rows(scores, study.paths.scores(str(run.start), str(run.method)))


def _block_rows(scores: BlockScores, path: Path) -> Iterator[Row]:
    """Scores of single blocks, or of the runs of blocks that start at them: the last blocks start none."""
    record = read_json(path)
    dropped = record["dropped"]["blocks"]
    name = scores.name.format(dropped=len(dropped))
    if name not in record["scores"]:
        raise UserError(f"{path} holds no scores {name!r}: delete its folder to prune the run again")
    values = dict(enumerate(record["scores"][name]))
    for block in range(record["parent"]["layers"]):
        found = values.get(block)
        value = np.nan if found is None else found
        yield {"measure": scores.measure, "block": block, "value": value, "low": value, "high": value,
               "removed": block in dropped}  # fmt: skip


def _channel_rows(scores: ChannelScores, path: Path) -> Iterator[Row]:
    """The median and the range of the channels of each block."""
    for block, channels in enumerate(_scores(path, scores.name)):
        low, value, high = np.percentile(channels, [LOW, 50, HIGH])
        yield {"measure": scores.measure, "block": block, "value": value, "low": low, "high": high, "removed": False}


def _scores(path: Path, name: str) -> Matrix:
    try:
        with safe_open(path, framework="numpy") as file:
            found: Matrix = file.get_tensor(name)
            return found
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot read {name} of {path} ({error}): delete it to score the run again") from error
