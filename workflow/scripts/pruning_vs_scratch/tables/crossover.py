"""The gap at equal tokens as the difference of two power laws, and the budget from which scratch is ahead.

Each side of a method has a law, through the losses of three or more budgets. Intervals come from resamples
(resampling.py). Nothing is stated beyond twice the largest budget or below half of the smallest, nor where the fitted
gap is known too poorly even at the budgets that were run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.gaps import GapGroup
from pruning_vs_scratch.tables.load import COLUMNS
from pruning_vs_scratch.tables.power_law import PowerLaws, fit_power_laws
from pruning_vs_scratch.tables.resampling import FAR, Misfit, Noise, interval, pooled_misfit
from pruning_vs_scratch.tables.sides import Sides, all_sides
from pruning_vs_scratch.tables.statistics import Matrix, estimate_mean

WIDEST = 0.2
"""Nats per token. A fit is too imprecise if the interval of its gap is wider than this at a budget that was run."""
CURVE_POINTS = 49
"""Budgets at which a fitted gap is recorded and a crossover looked for, evenly spaced in the logarithm."""
TOO_FEW = "fewer than three budgets"
TOO_IMPRECISE = "the fit is too imprecise"
NOTHING_RULED_OUT = "no budget is ruled out"

CrossoverStatus = Literal["before the data", "within the data", "beyond the data", "not within reach", "not determined"]


@dataclass(frozen=True, eq=False)
class GapFit:
    """The gap of a method at a ratio: the difference of two laws. ``extra`` is what scratch reads in addition."""

    sides: Sides
    point: tuple[PowerLaws, PowerLaws]
    """Laws of scratch and of the retrained models, through their mean losses."""
    drawn: tuple[PowerLaws, PowerLaws]
    """One law of each side per resample."""

    def gap(self, tokens: float, extra: int = 0) -> float:
        """The fitted gap at some retraining tokens."""
        return float(_difference(self.point, tokens, extra)[0])

    def interval(self, tokens: float, confidence: float, extra: int = 0) -> tuple[float, float]:
        """The interval of the fitted gap."""
        return interval(_difference(self.drawn, tokens, extra), confidence)

    def beyond(self, tokens: float, extra: int = 0) -> float:
        """Factor by which a budget is outside the range that was run, on the worse side; 1 inside."""
        ranges = ((self.sides.retrained.tokens, tokens), (self.sides.scratch.tokens, tokens + extra))
        return max(1.0, *(max(asked / run[-1], run[0] / asked) for run, asked in ranges))

    @property
    def reach(self) -> tuple[float, float]:
        """The smallest and the largest equal budget with a statement."""
        series = (self.sides.retrained.tokens, self.sides.scratch.tokens)
        return max(tokens[0] for tokens in series) / FAR, min(tokens[-1] for tokens in series) * FAR

    def is_precise(self, confidence: float, extra: int = 0) -> bool:
        """Whether the interval of the fitted gap is narrow enough at every budget that was run."""
        groups = self.sides.full if extra else self.sides.equal
        ends = (self.interval(group.budget, confidence, extra) for group in groups)
        return all(high - low <= WIDEST for low, high in ends)


def _difference(laws: tuple[PowerLaws, PowerLaws], tokens: float, extra: int) -> Matrix:
    scratch, retrained = laws
    return scratch.loss(tokens + extra) - retrained.loss(tokens)


def study_misfit(sides: Sequence[Sides]) -> Misfit | None:
    """Residuals of a study's laws, those of scratch and of retrained models together."""
    return pooled_misfit([series for side in sides for series in (side.scratch, side.retrained)])


def fit_gap(sides: Sides, misfit: Misfit | None) -> GapFit | None:
    """The laws of both sides; None if one has fewer than three budgets."""
    series = (sides.scratch, sides.retrained)
    if not all(models.has_law for models in series):
        return None
    noise = Noise(sides.scratch.losses.shape[1], misfit)
    drawn = tuple(fit_power_laws(models.tokens, noise.losses(models.losses)) for models in series)
    return GapFit(sides, (sides.scratch.law, sides.retrained.law), (drawn[0], drawn[1]))


@dataclass(frozen=True)
class Crossover:
    """The budget from which scratch is ahead, as far as the fit reaches. Ends are None where they are open."""

    status: CrossoverStatus
    tokens: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    """Reason, if it is not determined."""

    def __str__(self) -> str:
        """For people."""
        if self.status == "not determined":
            return f"not determined ({self.reason})"
        low, high = (token_label(round(end)) if end else "open" for end in (self.low, self.high))
        if self.status == "not within reach":
            return f"scratch is not ahead before {low}"
        if self.tokens is None:
            return f"scratch is ahead from {high} at the latest"
        return f"scratch is ahead from {token_label(round(self.tokens))} [{low}, {high}]"


def crossover(fit: GapFit | None, confidence: float) -> Crossover:
    """Where the fitted gap falls below zero and stays there, with the budgets that are not ruled out."""
    if fit is None:
        return Crossover("not determined", reason=TOO_FEW)
    if not fit.is_precise(confidence):
        return Crossover("not determined", reason=TOO_IMPRECISE)
    least, most = fit.reach
    budgets = np.geomspace(least, most, CURVE_POINTS)
    low, high = interval(_crossings(fit.drawn, budgets), confidence)
    point = float(_crossings(fit.point, budgets)[0])
    if (low == 0 and np.inf in (point, high)) or (point == 0 and high == np.inf):
        return Crossover("not determined", reason=NOTHING_RULED_OUT)
    return Crossover(
        _status(point, fit.sides.retrained.tokens),
        point if least <= point <= most else None,
        None if low == 0 else min(low, most),
        None if high == np.inf else max(high, least),
    )


def _crossings(laws: tuple[PowerLaws, PowerLaws], budgets: Matrix) -> Matrix:
    """Shape (laws,): zero where scratch is ahead at all budgets, infinite where it is not ahead at the last."""
    gaps = np.stack([_difference(laws, float(budget), 0) for budget in budgets], axis=1)
    above = gaps > 0
    last = len(budgets) - 1 - above[:, ::-1].argmax(axis=1)
    before = np.minimum(last, len(budgets) - 2)
    rows = np.arange(len(gaps))
    start, end = gaps[rows, before], gaps[rows, before + 1]
    falls = above.any(axis=1) & ~above[:, -1]
    share = np.where(falls, start, 0.0) / np.where(falls, start - end, 1.0)
    between = budgets[before] * (budgets[1] / budgets[0]) ** share
    return np.where(falls, between, np.where(above[:, -1], np.inf, 0.0))


def _status(point: float, budgets: Sequence[int]) -> CrossoverStatus:
    if point == np.inf:
        return "not within reach"
    if point < budgets[0]:
        return "before the data"
    return "within the data" if point <= budgets[-1] else "beyond the data"


def crossover_table(groups: Sequence[GapGroup], runs: pd.DataFrame, settings: ClaimsConfig) -> pd.DataFrame:
    """One row per budget that was run and per point of the fitted curve (load.COLUMNS)."""
    found = all_sides(groups, runs)
    misfit = study_misfit(found)
    rows = [row for sides in found if sides.equal for row in _rows(sides, misfit, settings)]
    return pd.DataFrame(rows, columns=list(COLUMNS["crossover.csv"]))


def _rows(sides: Sides, misfit: Misfit | None, settings: ClaimsConfig) -> Iterator[dict[str, Any]]:
    fit = fit_gap(sides, misfit)
    found = crossover(fit, settings.confidence)
    about = {
        **{name: getattr(sides, name) for name in ("method", "granularity", "pattern", "ratio")},
        "status": found.status, "reason": found.reason, "crossover_tokens": found.tokens, "crossover_low": found.low,
        "crossover_high": found.high, "misfit": None if misfit is None else misfit.deviation, "seeds": sides.seeds,
        "sequences": sides.scratch.losses.shape[1], "dataset": settings.dataset, "confidence": settings.confidence,
    }  # fmt: skip
    for group in sides.equal:
        measured = estimate_mean(group.differences, settings)
        fitted = _fitted(fit, group.budget, settings.confidence)
        residual = measured.mean - fitted["fitted"] if fitted else None
        yield {
            "kind": "measured", "budget": group.budget, "measured": measured.mean, "low": measured.low,
            "high": measured.high, "residual": residual, **fitted, **about,
        }  # fmt: skip
    if fit is not None:
        for budget in np.geomspace(*fit.reach, CURVE_POINTS):
            yield {"kind": "curve", "budget": budget, **_fitted(fit, budget, settings.confidence), **about}


def _fitted(fit: GapFit | None, tokens: float, confidence: float) -> dict[str, float]:
    if fit is None:
        return {}
    low, high = fit.interval(tokens, confidence)
    return {"fitted": fit.gap(tokens), "fitted_low": low, "fitted_high": high}
