"""Facts of every run: what it is, how large, and what it read."""

from typing import Any

import pandas as pd

from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.ledger import LedgerRow
from pruning_vs_scratch.study import Run, Study
from pruning_vs_scratch.tables.chosen_shapes import made_shape

EFFICIENCY_LENGTH = 2048
"""Sequence length of the paper's efficiency table."""


MEASURED_COLUMNS = ("metric", "value", "low", "high", "n", "hardware")


def run_table(study: Study) -> pd.DataFrame:
    """One row per run; results.csv and efficiency.csv begin with the same columns.

    If the training tokens of a published parent are unknown, tokens_parent and tokens_total are empty.
    """
    parents = {run.seed: run for run in study.runs.values() if run.role == "parent"}
    table = pd.DataFrame([_run_row(study, run, parents[run.seed]) for run in study.runs.values()])
    return table.astype({"tokens_parent": "Int64", "tokens_total": "Int64"})


def _run_row(study: Study, run: Run, parent: Run) -> dict[str, Any]:
    tokens_train = run.plan.tokens if run.plan else 0
    nonzero = params_nonzero(study, run)
    read_here = run.tokens_prune + run.tokens_retrained + tokens_train
    return {
        "run": run.name,
        "role": run.role,
        "method": run.method,
        "granularity": run.target.granularity,
        "pattern": run.target.pattern,
        "target_ratio": run.target.ratio,
        "achieved_ratio": 1 - nonzero / parent.target.shape.params_total,
        "params_total": made_shape(study, run).params_total,
        "params_nonzero": nonzero,
        "tokens_parent": run.tokens_parent,
        "tokens_prune": run.tokens_prune,
        "tokens_train": tokens_train,
        "tokens_distinct": _tokens_distinct(study, run) if run.plan else 0,
        "tokens_total": None if run.tokens_parent is None else run.tokens_parent + read_here,
        "seed": run.seed,
    }


def _tokens_distinct(study: Study, run: Run) -> int:
    path = study.paths.manifest(run.name)
    return LedgerRow.of(read_manifest(path), path).tokens_distinct


def params_nonzero(study: Study, run: Run) -> int:
    """Parameters that the mask keeps; all of them for a dense model."""
    return made_shape(study, run).params_total - _masked(study, run)


def _masked(study: Study, run: Run) -> int:
    if run.mask is None:
        return 0
    return int(read_manifest(study.paths.manifest(run.mask))["facts"]["masked_weights"])


def efficiency_table(study: Study, runs: pd.DataFrame, speed: pd.DataFrame | None = None) -> pd.DataFrame:
    """Size and cost of every run, long form: the run's columns, then metric, value, low, high, n, hardware.

    For counts, the last four are empty. ``speed`` has the measurements of each target (measure_speed.py): the median of
    n, the minimum and maximum, and the machine; they apply to all runs of the target.
    """
    counted = pd.DataFrame(
        [(name, *row) for name in runs["run"] for row in _efficiency(study, study.runs[name]).items()],
        columns=["run", "metric", "value"],
    )
    parts = [counted]
    if speed is not None:
        targets = pd.DataFrame({"run": runs["run"], "target": [study.runs[run].target.name for run in runs["run"]]})
        parts.append(targets.merge(speed, on="target").drop(columns="target"))
    table = runs.merge(pd.concat(parts, ignore_index=True), on="run", validate="one_to_many")
    table.insert(0, "study", study.name)
    return table.reindex(columns=["study", *runs.columns, *MEASURED_COLUMNS]).astype({"n": "Int64"})


def _efficiency(study: Study, run: Run) -> dict[str, int]:
    shape, masked = made_shape(study, run), _masked(study, run)
    density = 1 - masked / (shape.layers * shape.block_linear_params)
    return {
        "params_total": shape.params_total,
        "params_nonembedding": shape.params_nonembedding,
        "params_nonzero": shape.params_total - masked,
        "checkpoint_bytes": _checkpoint_bytes(study, run),
        "forward_flops": shape.forward_flops(1, EFFICIENCY_LENGTH),
        "forward_flops_theoretical": shape.forward_flops(1, EFFICIENCY_LENGTH, density),
    }


def _checkpoint_bytes(study: Study, run: Run) -> int:
    path = study.paths.manifest(run.name)
    try:
        return int(read_manifest(path)["facts"]["checkpoint_bytes"])
    except KeyError as error:
        raise UserError(
            f"{path} does not record the size of the weights: it is from an older version; delete its folder, run again"
        ) from error
