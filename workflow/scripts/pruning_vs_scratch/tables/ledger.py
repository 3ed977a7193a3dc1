"""ledger.csv: one row per run and phase, and the check that every compared pair is matched."""

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

import pandas as pd

from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.ledger import COLUMNS_OF_A_MATCH, COLUMNS_OF_A_TRUNK, COLUMNS_OF_AN_EQUAL_MATCH, LedgerRow
from pruning_vs_scratch.study import Pair, Run, Study
from pruning_vs_scratch.study.full_budget import least_budget, most_budget
from pruning_vs_scratch.study.plan import TRIAL_PHASES

Rows = dict[str, dict[Any, Any]]
"""Ledger rows by run."""


def ledger_table(study: Study) -> pd.DataFrame:
    """The rows that runs report in their manifests; trunks come last."""
    paths = map(study.paths.manifest, study.recorded_runs)
    rows = [LedgerRow.of(read_manifest(path), path) for path in paths]
    return pd.DataFrame([row.to_dict() for row in rows], columns=[field.name for field in fields(LedgerRow)])


def rows_of(ledger: pd.DataFrame) -> Rows:
    """The ledger's rows by run."""
    return {str(row["run"]): row for row in ledger.to_dict("records")}


def verified_pairs(study: Study, ledger: pd.DataFrame) -> pd.DataFrame:
    """The study's pairs, one row each, after checking each in the ledger.

    Raises:
        UserError: lists every difference in tokens, windows or recipe between the two sides of a pair, and between a
            run and the trunk that it went on from.
    """
    rows = rows_of(ledger)
    problems = [*_short_runs(ledger)]
    for run in study.recorded_runs.values():
        problems += _trunk_differences(run, rows)
    for pair in study.pairs:
        problems += _full_differences(study, pair, rows) if pair.setting == "full" else []
        columns = COLUMNS_OF_A_MATCH if pair.setting == "full" else (*COLUMNS_OF_A_MATCH, *COLUMNS_OF_AN_EQUAL_MATCH)
        free = {"peak_lr"} if rates_apart(study, pair.retrained, pair.scratch) else set()
        problems += unequal(pair.retrained, pair.scratch, rows, [column for column in columns if column not in free])
        problems += _unplanned_rates(study, pair, rows)
    if problems:
        raise UserError("the ledger shows runs that are not matched:\n" + "\n".join(f"  {p}" for p in problems))
    return pd.DataFrame([asdict(pair) for pair in study.pairs])


def _short_runs(ledger: pd.DataFrame) -> list[str]:
    # A trial may diverge; its own table records it.
    short = ledger[(ledger["tokens_seen"] != ledger["tokens_planned"]) & ~ledger["phase"].isin(TRIAL_PHASES)]
    return [
        f"{row.run} ({row.phase}) saw {row.tokens_seen} of {row.tokens_planned} planned tokens"
        for row in short.itertuples()
    ]


def _trunk_differences(run: Run, rows: Rows) -> list[str]:
    """A run's trunk tokens are those that its trunk saw, from the same start by the same recipe; else none."""
    row, trunk = rows[run.name], rows.get(str(run.trunk), {"run": "no trunk", "tokens_seen": 0})
    expected = {"tokens_trunk": trunk["tokens_seen"]}
    if run.trunk is not None:
        expected |= {column: trunk[column] for column in COLUMNS_OF_A_TRUNK}
    return [
        f"{column}: {row[column]} for {run.name}, {value} for {trunk['run']}"
        for column, value in expected.items()
        if row[column] != value
    ]


def rates_apart(study: Study, first: str, second: str) -> bool:
    """Whether the configuration sets separate learning rates for the sides of a pair, by a sweep or by rules."""
    if study.config.sweep is not None and study.config.sweep.by_side:
        return True
    return _planned_rate(study, first) != _planned_rate(study, second)


def _unplanned_rates(study: Study, pair: Pair, rows: Rows) -> list[str]:
    """If rules give the sides of a pair different learning rates, each side has exactly its rule's rate."""
    sides = (pair.retrained, pair.scratch)
    planned = {name: _planned_rate(study, name) for name in sides}
    if len(set(planned.values())) == 1:
        return []
    return [
        f"peak_lr: {rows[name]['peak_lr']} for {name}, {rate} by its plan"
        for name, rate in planned.items()
        if rows[name]["peak_lr"] != rate
    ]


def _planned_rate(study: Study, name: str) -> float:
    plan = study.run(name).plan
    assert plan is not None, f"{name} is of a pair, and so is trained"
    return plan.peak_learning_rate


def _full_differences(study: Study, pair: Pair, rows: Rows) -> list[str]:
    """The full-budget side saw what the parent, pruning and retraining saw, rounded up to a global batch, or more.

    More by at most the tolerance of the study, with which pipelines share a baseline. What a published parent saw was
    not counted here, but is given by its publisher.
    """
    retrained, scratch, parent = (rows[name] for name in (pair.retrained, pair.scratch, pair.parent))
    before = study.runs[pair.parent].tokens_parent or parent["tokens_seen"]
    pruning = sum(rows[step]["tokens_seen"] for step in study.pruning_steps(pair.retrained))
    batch = scratch["global_batch_size"] * scratch["sequence_length"]
    spent = before + pruning + retrained["tokens_seen"]
    least, most = least_budget(spent, batch), most_budget(spent, batch, study.config.baselines.full_tolerance)
    tokens, start = min(max(scratch["tokens_seen"], least), most), parent["window_start"]
    expected = {
        "tokens_seen": (tokens, str(least) if least == most else f"{least} to {most}"),
        "window_start": (start, str(start)),
        "window_end": (end := start + tokens // scratch["sequence_length"], str(end)),
    }
    return [
        f"{column}: {scratch[column]} for {pair.scratch}, {told} for the full pipeline of {pair.retrained}"
        for column, (value, told) in expected.items()
        if scratch[column] != value
    ]


def unequal(first: str, second: str, rows: Rows, columns: Iterable[str]) -> list[str]:
    """The columns in which two runs differ, with both values."""
    one, other = rows[first], rows[second]
    return [
        f"{column}: {one[column]} for {first}, {other[column]} for {second}"
        for column in columns
        if one[column] != other[column]
    ]
