"""Results of a shape search: the validation loss of every candidate, and the shape chosen for each ratio."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import read_json
from pruning_vs_scratch.study import ModelShape, Run, Study, Target
from pruning_vs_scratch.study.paths import Paths
from pruning_vs_scratch.tables.load import COLUMNS

Searches = Mapping[str, Mapping[str, Target]]
"""By searched target, the candidates' targets by the runs that tried them."""


def search_table(paths: Paths, searches: Searches) -> pd.DataFrame:
    """One row per candidate (load.COLUMNS). Diverged candidates have infinite loss; one per target is chosen.

    The lowest loss is chosen; of equal ones the first candidate, which is the one nearest to the parent's proportions
    where they were solved.

    Raises:
        UserError: every candidate of a target diverged.
    """
    rows = [
        _row(name, run, target, read_manifest(paths.manifest(run))["facts"])
        for name, candidates in searches.items()
        for run, target in candidates.items()
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS["shape_search.csv"]))
    table["chosen"] = False
    for name, losses in table.groupby("target", sort=False)["validation_loss"]:
        if not math.isfinite(losses.min()):
            raise UserError(f"shape_search: every candidate of {name} diverged; lower training.peak_learning_rate")
        table.loc[losses.idxmin(), "chosen"] = True
    return table


def searches_of(study: Study) -> dict[str, dict[str, Target]]:
    """The searched targets of a study; empty without a search."""
    searches: dict[str, dict[str, Target]] = {name: {} for name in study.searched_targets}
    for candidate in study.candidates.values():
        searches[candidate.target][candidate.run.name] = candidate.run.target
    return searches


def made_shape(study: Study, run: Run) -> ModelShape:
    """The actual shape of a run: that of its target's file if it was searched.

    Raises:
        UserError: the search has not chosen yet.
    """
    if run.target.name not in study.searched_targets:
        return run.target.shape
    return Target.from_dict(read_json(study.paths.target(run.target.name))).shape


def _row(name: str, run: str, target: Target, facts: dict[str, Any]) -> dict[str, Any]:
    loss, shape = facts["validation_loss"], target.shape
    return {
        "target": name,
        "ratio": target.ratio,
        "hidden_size": shape.hidden_size,
        "ffn_size": shape.ffn_size,
        "heads": shape.heads,
        "params_decoder": shape.params_nonembedding,
        "validation_loss": math.inf if loss is None else loss,
        "tokens_seen": facts["ledger"]["tokens_seen"],
        "flops": facts["ledger"]["flops"],
        "run": run,
    }


def chosen_targets(table: pd.DataFrame, searches: Searches) -> Sequence[Target]:
    """The targets with the shapes that were chosen, under the names of the searched ones."""
    chosen = table[table["chosen"]]
    return [_renamed(searches[name][run], name) for name, run in zip(chosen["target"], chosen["run"], strict=True)]


def _renamed(target: Target, name: str) -> Target:
    return Target.from_dict(target.to_dict() | {"name": name})
