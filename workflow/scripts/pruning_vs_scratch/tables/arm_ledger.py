"""The check that both sides of every arm are matched, as the ledger counts them, and what each side spent."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pandas as pd

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.ledger import COLUMNS_OF_A_MATCH, COLUMNS_OF_AN_EQUAL_MATCH
from pruning_vs_scratch.study import ArmPair, Study
from pruning_vs_scratch.tables.ledger import Rows, rates_apart, rows_of, unequal

COLUMNS_OF_A_WAY = ("sequence_length", "global_batch_size", "objective", "precision", "seed")
"""What all training of both sides shares, where the sides include their parents."""


def verified_arms(study: Study, ledger: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The comparisons of a study's arms, one row each, with the cost of both sides, after checking each in the ledger.

    Costs of distilled sides are those of retraining; of all others, those of the whole way from the parent's first
    token, over which their tokens are matched. ``params_mean`` is the number of non-zero parameters of ``runs``,
    averaged over the training tokens (2501.12486).

    Raises:
        UserError: lists every difference between the two sides of a pair that it should not have.
    """
    rows = rows_of(ledger)
    problems = [problem for pair in study.arms for problem in _problems(study, pair, rows)]
    if problems:
        raise UserError("the ledger shows arms that are not matched:\n" + "\n".join(f"  {p}" for p in problems))
    params = dict(zip(runs["run"], runs["params_nonzero"].astype(int), strict=True))
    return pd.DataFrame([asdict(pair) | _costs(study, pair, rows, params) for pair in study.arms])


def _problems(study: Study, pair: ArmPair, rows: Rows) -> Iterator[str]:
    if pair.arm == "distilled":
        yield from _distilled_problems(study, pair, rows)
        return
    ways = [_trained(study, name, rows) for name in (pair.run, pair.baseline)]
    yield from _way_problems(pair, *ways)
    last, usual = rows[pair.run], rows[pair.baseline]
    if pair.arm == "joint":
        yield from unequal(pair.run, ways[0][0]["run"], rows, ["peak_lr"])
        yield from _apart("FLOPs", pair, *(sum(row["flops"] for row in way) for way in ways))
    else:
        columns = ["schedule"] if rates_apart(study, pair.run, pair.baseline) else ["schedule", "peak_lr"]
        yield from unequal(last["run"], usual["run"], rows, columns)
    if pair.arm != "gradual":
        yield from _apart("tokens of pruning", pair, *(_pruning_tokens(study, name, rows) for name in _sides(pair)))


def _distilled_problems(study: Study, pair: ArmPair, rows: Rows) -> Iterator[str]:
    """Both sides share tokens and FLOPs with each other, and one of them with what models language alone."""
    free = {"peak_lr"} if rates_apart(study, pair.run, pair.baseline) else set()
    columns = {*COLUMNS_OF_A_MATCH, *COLUMNS_OF_AN_EQUAL_MATCH, "objective", "flops", "flops_teacher"} - free
    yield from unequal(pair.run, pair.baseline, rows, sorted(columns))
    run, usual = rows[pair.run], rows[pair.usual]
    if not run["flops_teacher"]:
        yield f"flops_teacher: none for {pair.run}, which learns from a teacher"
    if pair.match == "tokens":
        yield from unequal(pair.run, pair.usual, rows, COLUMNS_OF_AN_EQUAL_MATCH)
        return
    spent, step = _work(run), _work(run) / max(run["steps"], 1)
    if not spent <= usual["flops"] < spent + step:
        yield (
            f"FLOPs: {spent} for {pair.run}, {usual['flops']} for {pair.usual}; one more step of {step:.0f} must not "
            "fit in between"
        )


def _way_problems(pair: ArmPair, way: list[dict[Any, Any]], other: list[dict[Any, Any]]) -> Iterator[str]:
    """Both ways read the same windows in one go, by the same recipe."""
    yield from _apart("tokens", pair, *(sum(row["tokens_seen"] for row in side) for side in (way, other)))
    for key, at in (("window_start", 0), ("window_end", -1)):
        yield from _apart(key, pair, way[at][key], other[at][key])
    for before, after in pairwise(way):
        if after["window_start"] != before["window_end"]:
            yield (
                f"window_start: {after['window_start']} for {after['run']}, {before['window_end']} is where "
                f"{before['run']} ends"
            )
    for column in COLUMNS_OF_A_WAY:
        if len(values := {row[column] for row in (*way, *other)}) > 1:
            yield f"{column}: {', '.join(sorted(map(str, values)))} on the ways to {pair.run} and {pair.baseline}"


def _apart(what: str, pair: ArmPair, run: int, baseline: int) -> Iterator[str]:
    if run != baseline:
        yield f"{what}: {run} for {pair.run}, {baseline} for {pair.baseline}"


def _sides(pair: ArmPair) -> tuple[str, str]:
    return pair.run, pair.baseline


def _trained(study: Study, name: str, rows: Rows) -> list[dict[Any, Any]]:
    """The ledger's rows of all training on the way to a model."""
    return [rows[run] for run in study.way(name) if study.run(run).plan is not None]


def _pruning_tokens(study: Study, name: str, rows: Rows) -> int:
    return sum(int(rows[run]["tokens_seen"]) for run in study.pruning_steps(name))


def _work(row: dict[Any, Any]) -> int:
    """FLOPs of a run, its teacher's included."""
    return int(row["flops"] + row["flops_teacher"])


def _costs(study: Study, pair: ArmPair, rows: Rows, params: dict[str, int]) -> dict[str, Any]:
    costs: dict[str, Any] = {}
    for side, name in zip(("run", "baseline"), _sides(pair), strict=True):
        trained = [rows[name]] if pair.arm == "distilled" else _trained(study, name, rows)
        costs |= {
            f"tokens_{side}": sum(row["tokens_seen"] for row in trained),
            f"tokens_prune_{side}": _pruning_tokens(study, name, rows),
            f"flops_{side}": sum(map(_work, trained)),
            f"params_mean_{side}": _mean_params(trained, params),
        }
    return costs | {"tokens_usual": rows[pair.usual]["tokens_seen"], "flops_usual": _work(rows[pair.usual])}


def _mean_params(trained: Iterable[dict[Any, Any]], params: dict[str, int]) -> float:
    """Non-zero parameters, averaged over the tokens of training."""
    counted = [(int(row["tokens_seen"]), params[row["run"]]) for row in trained]
    return sum(tokens * count for tokens, count in counted) / sum(tokens for tokens, _ in counted)
