"""Results of a sweep: the validation loss of every trial, and the chosen learning rates."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import Study

COLUMNS = ("side", "on", "peak_lr", "validation_loss", "tokens_seen", "flops", "run")


def sweep_table(study: Study) -> pd.DataFrame:
    """One row per trial; diverged trials have infinite loss.

    Raises:
        UserError: the study has no sweep.
    """
    if not study.trials:
        raise UserError(f"study {study.name} has no sweep: give it a section 'sweep' with a grid of learning rates")
    rows = []
    for trial in study.trials.values():
        facts = read_manifest(study.paths.manifest(trial.run.name))["facts"]
        loss = facts["validation_loss"]
        rows.append(
            {
                "side": trial.side,
                "on": trial.on,
                "peak_lr": trial.peak_learning_rate,
                "validation_loss": math.inf if loss is None else loss,
                "tokens_seen": facts["ledger"]["tokens_seen"],
                "flops": facts["ledger"]["flops"],
                "run": trial.run.name,
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def chosen_rates(table: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """By the name of a rate: the one with the lowest mean loss, and whether it is an end of the grid.

    ``groups`` are the trials that each has to be good for (Study.swept_rates). Of equal rates the smaller one is taken.

    Raises:
        UserError: every rate diverged.
    """
    return {name: _best(table[table["run"].isin(trials)], name) for name, trials in groups.items()}


def _best(trials: pd.DataFrame, name: str) -> dict[str, Any]:
    means = trials.groupby("peak_lr")["validation_loss"].mean()
    losses = dict(zip(means.index.tolist(), means.tolist(), strict=True))
    grid = sorted(losses)
    rate = min(grid, key=lambda rate: losses[rate])
    if not math.isfinite(losses[rate]):
        raise UserError(f"sweep.peak_learning_rates: every rate diverged ({name}); add smaller ones")
    return {
        "peak_learning_rate": rate,
        "validation_loss": losses[rate],
        "at_an_end": rate in (grid[0], grid[-1]),
    }
