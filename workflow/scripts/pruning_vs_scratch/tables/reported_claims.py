"""The paper's claims applied to its own reported numbers, as to a study's, but without intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from pruning_vs_scratch.pruning.catalogue import facts_of, methods
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.claims import COARSEST, FINENESS, FINEST, RATIO_STEP, kind_of, steps_between
from pruning_vs_scratch.tables.claims_text import steps_text
from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.load import records
from pruning_vs_scratch.tables.reported import BILLION, best_graded, reported_parent, with_patterns, worst_grade
from pruning_vs_scratch.tables.statistics import slope_weights

QUANTITIES = r"val_loss|avg_acc|\w+_ppl"
"""Numbers over a whole corpus or all tasks; single tasks are too close to chance."""
WHAT = ["method", "pattern", "ratio", "budget", "quantity"]
POINTS = "points"
"""Unit of accuracies."""
LEFT_OPEN = "none, the paper leaves this open"
LISTED = 8
"""Most supporting numbers that are listed."""

Standing = Literal["as claimed", "against", "not judged"]


@dataclass(frozen=True)
class Number:
    """One number of the paper, or derived from its numbers, with its result for a claim."""

    text: str
    standing: Standing
    grade: str

    def __str__(self) -> str:
        """The number with its grade in parentheses."""
        return f"{self.text} ({self.grade})"


def with_reported(claims: dict[str, Any], reported: pd.DataFrame) -> dict[str, Any]:
    """The content of claims.json, with the result of the paper's own numbers for each claim as ``reported``."""
    texts = {name: _reading(numbers) for name, numbers in _numbers(reported, claims["margin"]).items()}
    return claims | {"claims": [claim | {"reported": texts.get(claim["id"], LEFT_OPEN)} for claim in claims["claims"]]}


def _numbers(reported: pd.DataFrame, margin: float) -> dict[str, list[Number]]:
    equal, full = reported_gaps(reported, "equal"), reported_gaps(reported, "full")
    by_ratio = [rows for rows in _series(equal, "ratio") if len(rows) > 1]
    return {
        "C1": [_number(row, _sign(row["gap"])) for row in records(equal)],
        "C2": [_budget_trend(rows) for rows in _series(equal, "budget") if len(rows) > 1],
        "C3": [_ratio_trend(rows) for rows in by_ratio],
        "C3-vanishing": [_vanished(records(rows)[-1], margin) for rows in by_ratio],
        "C4": [*(_at_full(row, margin) for row in records(full)), *_rises(full)],
    }


def reported_gaps(reported: pd.DataFrame, setting: Literal["equal", "full"]) -> pd.DataFrame:
    """Gaps by the tokens of retraining, positive where pruning is better: in nats, or in points of accuracy.

    A gap stated by its source is used if its grade is better than that of the difference of both sides. Methods of
    packages that are not installed have no granularity here and are left out.
    """
    rows = with_patterns(reported[reported["quantity"].str.fullmatch(QUANTITIES)])
    rows = rows[rows["method"].isin(list(methods()))]
    rows = rows.assign(budget=(rows["budget_b"] * BILLION).round())
    pruned, scratch = (best_graded(rows[rows["setting"] == side], WHAT) for side in ("pruned", "scratch"))
    if setting == "full":
        scratch = scratch.assign(budget=scratch["budget"] - reported_parent(reported))
    both = pruned.merge(scratch, on=WHAT, suffixes=("_pruned", "_scratch"))
    both = both.assign(
        gap=[_gap(row["quantity"], row["value_pruned"], row["value_scratch"]) for row in records(both)],
        precision=[worst_grade([row["precision_pruned"], row["precision_scratch"]]) for row in records(both)],
    )
    stated = rows[(rows["setting"] == "gap") & (setting == "equal")].rename(columns={"value": "gap"})
    gaps = best_graded(pd.concat([both, stated], ignore_index=True), WHAT)
    kinds = [kind_of(facts_of(row["method"]).granularity, row["pattern"]) for row in records(gaps)]
    order = gaps.assign(kind=kinds, rank=[FINENESS.index(kind) for kind in kinds])
    order = order.sort_values(["rank", *WHAT], kind="stable").reset_index(drop=True)
    return order[["kind", "rank", *WHAT, "gap", "precision"]]


def _gap(quantity: str, pruned: float, scratch: float) -> float:
    if quantity == "val_loss":
        return scratch - pruned
    return pruned - scratch if quantity == "avg_acc" else float(np.log(scratch / pruned))


def _series(gaps: pd.DataFrame, along: str) -> list[pd.DataFrame]:
    """The gaps that differ only in one column, in its order."""
    others = [name for name in WHAT if name != along]
    return [rows.sort_values(along) for _, rows in gaps.groupby(others, sort=False)]


def _budget_trend(rows: pd.DataFrame) -> Number:
    slope = _slope(rows, np.log2(rows["budget"].to_numpy(dtype=float)))
    steps = steps_between(dict(zip(rows["budget"], rows["gap"], strict=True)))
    each = steps_text([vars(step) for step in steps])
    first = records(rows)[0]
    text = f"{_label(first)}: {slope:+.3g} {_unit(first)} per doubling, {each}"
    return Number(text, _sign(-slope), worst_grade(rows["precision"]))


def _ratio_trend(rows: pd.DataFrame) -> Number:
    slope = _slope(rows, rows["ratio"].to_numpy(dtype=float) / RATIO_STEP)
    first = records(rows)[0]
    where = f"{_method(first)}, {token_label(int(first['budget']))} tokens"
    text = f"{where}: {slope:+.3g} {_unit(first)} per {RATIO_STEP:g} of ratio"
    return Number(text, _sign(-slope), worst_grade(rows["precision"]))


def _vanished(row: dict[str, Any], margin: float) -> Number:
    """The margin is in nats and does not apply to accuracies."""
    if _unit(row) == POINTS:
        return _number(row, "not judged")
    return _number(row, _sign(margin - abs(row["gap"])))


def _at_full(row: dict[str, Any], margin: float) -> Number:
    if row["kind"] == FINEST:
        return _number(row, _sign(row["gap"]))
    if row["kind"] == COARSEST:
        return _number(row, _sign((0.0 if _unit(row) == POINTS else margin) - row["gap"]))
    return _number(row, "not judged")


def _rises(full: pd.DataFrame) -> Iterator[Number]:
    """The slope of the gap on the rank of fineness, over methods."""
    for (ratio, _, quantity), rows in full.groupby(["ratio", "budget", "quantity"], sort=False):
        if rows["rank"].nunique() > 1:
            slope = _slope(rows, rows["rank"].to_numpy(dtype=float))
            unit = _unit({"quantity": quantity})
            text = f"rise over {len(rows)} methods at {ratio:g}: {slope:+.3g} {unit} per step of fineness"
            yield Number(text, _sign(slope), worst_grade(rows["precision"]))


def _slope(rows: pd.DataFrame, x: Sequence[float] | np.ndarray) -> float:
    return float(slope_weights(x) @ rows["gap"].to_numpy(dtype=float))


def _sign(room: float) -> Standing:
    return "as claimed" if room > 0 else "against"


def _number(row: dict[str, Any], standing: Standing) -> Number:
    return Number(
        f"{_label(row)}, {token_label(int(row['budget']))}: {row['gap']:+.3g} {_unit(row)}",
        standing,
        row["precision"],
    )


def _label(row: dict[str, Any]) -> str:
    return f"{_method(row)} {row['ratio']:g}"


def _method(row: dict[str, Any]) -> str:
    return series_label(row["method"], row["pattern"])


def _unit(row: dict[str, Any]) -> str:
    if row["quantity"] == "avg_acc":
        return POINTS
    return "nats" if row["quantity"] == "val_loss" else f"nats on {row['quantity'].removesuffix('_ppl')}"


def _reading(numbers: Sequence[Number]) -> str:
    """The verdict that these numbers would give, with the counts, and the numbers themselves unless there are many."""
    judged = [number for number in numbers if number.standing != "not judged"]
    if not judged:
        return "no numbers reported"
    claimed, against, others = (
        [number for number in numbers if number.standing == standing] for standing in get_args(Standing)
    )
    parts = [f"{'contradicted' if against else 'supported'}, {len(claimed)} of {len(judged)} as claimed"]
    listed = {"As claimed": claimed if len(claimed) <= LISTED else [], "Against": against, "Not judged": others}
    parts += [f"{name}: {'; '.join(map(str, found))}" for name, found in listed.items() if found]
    return ". ".join(parts)
