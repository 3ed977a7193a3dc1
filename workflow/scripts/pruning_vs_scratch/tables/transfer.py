"""The worth of a pruned start in tokens of training from scratch.

A pruned model that was retrained on R tokens has some loss. D* is how many tokens the same target needs from random
weights to reach it, and D_T = D* - R the effective tokens transferred (Hernandez et al., "Scaling Laws for Transfer",
2102.01293, section 1.1). As a share of the parent's tokens P it says what the parent was worth: where the share exceeds
one, scratch with the whole pipeline's tokens falls behind, and where it does not, scratch catches up (C4).

D* comes from a power law through the scratch losses of the target at all its budgets, with intervals from resamples
(resampling.py). Above twice the largest budget or below half the smallest, only a bound is stated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.tables.gaps import GapGroup
from pruning_vs_scratch.tables.load import COLUMNS
from pruning_vs_scratch.tables.power_law import PARAMETERS, fit_power_laws
from pruning_vs_scratch.tables.reported import BILLION, best_graded, reported_parent, with_patterns, worst_grade
from pruning_vs_scratch.tables.resampling import FAR, Misfit, Noise, interval, pooled_misfit
from pruning_vs_scratch.tables.sides import Series, Sides, all_sides
from pruning_vs_scratch.tables.statistics import Matrix

TransferStatus = Literal[
    "within the data", "beyond the data", "below the data", "far beyond the data", "far below the data",
    "between two budgets", "one budget of scratch",
]  # fmt: skip

ONE_BUDGET: TransferStatus = "one budget of scratch"
SERIES = ("method", "pattern", "ratio")
REPORTED_COLUMNS = (
    "budget", "loss_retrained", "status", "scratch_tokens", "transferred", "tokens_parent", "share", "grade",
)  # fmt: skip


@dataclass(frozen=True)
class Worth:
    """D* with its interval; None if open."""

    status: TransferStatus
    tokens: float | None
    low: float | None
    high: float | None


def worths(sides: Sides, misfit: Misfit | None, confidence: float) -> list[Worth]:
    """How many tokens from scratch reach the loss of each retrained model of a method."""
    scratch, retrained = sides.scratch, sides.retrained
    if len(scratch.tokens) == 1:
        return [Worth(ONE_BUDGET, None, None, None) for _ in retrained.tokens]
    noise = Noise(scratch.losses.shape[1], misfit)
    yardstick, losses = noise.losses(scratch.losses), noise.losses(retrained.losses)
    if not scratch.has_law:
        means = scratch.losses.mean(axis=1)
        return [
            _between(scratch, means - model.mean(), yardstick - drawn[:, None], confidence)
            for model, drawn in zip(retrained.losses, losses.T, strict=True)
        ]
    points = scratch.law.tokens(retrained.losses.mean(axis=1))
    laws = fit_power_laws(scratch.tokens, yardstick)
    return [
        _bounded(float(point), laws.tokens(drawn), scratch.tokens, confidence)
        for point, drawn in zip(points, losses.T, strict=True)
    ]


def _bounded(point: float, resampled: Matrix, budgets: Sequence[int], confidence: float) -> Worth:
    """A point and its interval, as far as they are within reach of the data."""
    least, most = budgets[0] / FAR, budgets[-1] * FAR
    low, high = interval(resampled, confidence)
    return Worth(
        _status(point, budgets),
        point if least <= point <= most else None,
        None if low < least else min(low, most),
        None if high > most else max(high, least),
    )


def _status(point: float, budgets: Sequence[int]) -> TransferStatus:
    if point > budgets[-1]:
        return "far beyond the data" if point > budgets[-1] * FAR else "beyond the data"
    if point < budgets[0]:
        return "far below the data" if point < budgets[0] / FAR else "below the data"
    return "within the data"


def _between(scratch: Series, above: Matrix, resampled: Matrix, confidence: float) -> Worth:
    """D* from two budgets, without a law: between them if scratch passes the loss there; the interval is no narrower.
    ``above``, of shape (2,), is how far scratch is above the pruned model; ``resampled`` has shape (resamples, 2).
    """
    first, last = scratch.tokens
    surely_worse, surely_better = (resampled > 0).mean(axis=0), (resampled < 0).mean(axis=0)
    low = last if surely_worse[1] >= confidence else first if surely_worse[0] >= confidence else None
    high = first if surely_better[0] >= confidence else last if surely_better[1] >= confidence else None
    before, after = above
    if before > 0 >= after:
        share = before / (before - after)
        return Worth("between two budgets", float(first * (last / first) ** share), low, high)
    return Worth("beyond the data" if after > 0 else "below the data", None, low, high)


def transfer_table(groups: Sequence[GapGroup], runs: pd.DataFrame, settings: ClaimsConfig) -> pd.DataFrame:
    """One row per method, pattern, ratio and retraining budget (load.COLUMNS); open ends are empty."""
    found = all_sides(groups, runs)
    misfit = pooled_misfit([sides.scratch for sides in found])
    rows = [row for sides in found for row in _rows(sides, misfit, parent_tokens(runs), settings)]
    return pd.DataFrame(rows, columns=list(COLUMNS["transfer.csv"]))


def parent_tokens(runs: pd.DataFrame) -> int | None:
    """Tokens that the parent was trained on, here or by its publisher; None if unknown."""
    tokens = runs["tokens_parent"].max()
    return int(tokens) if pd.notna(tokens) and tokens > 0 else None


def _rows(sides: Sides, misfit: Misfit | None, parent: int | None, settings: ClaimsConfig) -> Iterator[dict[str, Any]]:
    facts = {name: getattr(sides, name) for name in ("method", "granularity", "pattern", "ratio")}
    scratch = sides.scratch
    about = {
        "budgets": len(scratch.tokens), "least_tokens": scratch.tokens[0], "most_tokens": scratch.tokens[-1],
        "misfit": None if misfit is None else misfit.deviation, "seeds": sides.seeds,
        "sequences": scratch.losses.shape[1], "dataset": settings.dataset, "confidence": settings.confidence,
    }  # fmt: skip
    found = zip(sides.retrained.tokens, sides.retrained.losses, worths(sides, misfit, settings.confidence), strict=True)
    for budget, losses, worth in found:
        yield {**facts, "budget": budget, "loss_retrained": losses.mean(), **_measures(worth, budget, parent), **about}


def _measures(worth: Worth, budget: float, parent: float | None) -> dict[str, Any]:
    """D*, D_T and its share of the parent's tokens, each with its interval."""
    ends = {"": worth.tokens, "_low": worth.low, "_high": worth.high}
    transferred = {end: None if value is None else value - budget for end, value in ends.items()}
    shares = {end: None if value is None or parent is None else value / parent for end, value in transferred.items()}
    return {
        "status": worth.status,
        **{f"scratch_tokens{end}": value for end, value in ends.items()},
        **{f"transferred{end}": value for end, value in transferred.items()},
        "tokens_parent": parent,
        **{f"share{end}": value for end, value in shares.items()},
    }  # fmt: skip


def reported_transfer(reported: pd.DataFrame) -> pd.DataFrame:
    """The same from the validation losses that the paper reports, without intervals. ``grade`` is the worst.

    A row per method, pattern, ratio and retraining budget, with the columns of transfer.csv that do not need windows.
    """
    parent = reported_parent(reported)
    losses = with_patterns(reported[(reported["quantity"] == "val_loss") & reported["method"].notna()])
    losses = best_graded(losses, ["setting", *SERIES, "budget_b"]).sort_values("budget_b", kind="stable")
    rows = [
        row | dict(zip(SERIES, key, strict=True))
        for key, models in losses.groupby(list(SERIES))
        for row in _reported(models, parent)
    ]
    return pd.DataFrame(rows, columns=[*SERIES, *REPORTED_COLUMNS])


def _reported(models: pd.DataFrame, parent: float) -> Iterator[dict[str, Any]]:
    """The same for one method and ratio; nothing if its scratch losses do not determine a law."""
    pruned, scratch = (models[models["setting"] == side] for side in ("pruned", "scratch"))
    budgets = tuple(scratch["budget_b"] * BILLION)
    if len(budgets) < PARAMETERS:
        return
    law = fit_power_laws(budgets, scratch["value"])
    for budget, loss, grade in zip(pruned["budget_b"] * BILLION, pruned["value"], pruned["precision"], strict=True):
        point = float(law.tokens([loss])[0])
        reached = budgets[0] / FAR <= point <= budgets[-1] * FAR
        worth = Worth(_status(point, budgets), point if reached else None, None, None)
        grades = worst_grade([grade, *scratch["precision"]])
        yield {"budget": budget, "loss_retrained": loss, **_measures(worth, budget, parent), "grade": grades}
