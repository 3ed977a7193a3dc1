"""Loss against tokens of every trained run, thinned: what the training loop recorded at each step, for figures."""

import numpy as np
import pandas as pd

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.load import COLUMNS

POINTS = 200
"""Points of a curve; a longer record is averaged over neighbouring steps."""
KINDS = {"training": "loss", "validation": "validation_loss"}
"""Kinds of a curve's losses, and their key in metrics.jsonl."""


def curve_table(study: Study) -> pd.DataFrame:
    """One row per run, kind and point (load.COLUMNS).

    Raises:
        UserError: the record of a run is missing or damaged.
    """
    curves = [_curves(study, run) for run in study.trained_runs]
    return pd.concat(curves, ignore_index=True).reindex(columns=list(COLUMNS["curves.parquet"]))


def _curves(study: Study, run: str) -> pd.DataFrame:
    path = study.paths.metrics(run)
    try:
        records = pd.read_json(path, lines=True)
        # A validation is recorded at a step, whose tokens the step's own record has.
        records["tokens"] = records.groupby("step")["tokens"].transform("max")
        return pd.concat([thinned(_of_kind(records, key)).assign(run=run, kind=kind) for kind, key in KINDS.items()])
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"cannot read {path} ({error}): delete it to make its run again") from error


def _of_kind(records: pd.DataFrame, key: str) -> pd.DataFrame:
    chosen = records[records[key].notna()]
    return pd.DataFrame({"tokens": chosen["tokens"].astype(float), "loss": chosen[key].astype(float)})


def thinned(curve: pd.DataFrame, points: int = POINTS) -> pd.DataFrame:
    """A curve with a limited number of points: means of the tokens and losses of neighbouring steps."""
    bins = np.arange(len(curve)) * points // max(len(curve), points)
    return curve.groupby(bins).mean()
