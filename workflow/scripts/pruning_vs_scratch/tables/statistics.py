"""Intervals and tests of a mean difference, over evaluation sequences and, where there are several, over seeds.

Values come as a matrix of shape (seeds, sequences). Every run is evaluated on the same sequences, so seeds and
sequences are crossed, and both are taken as random samples.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from pruning_vs_scratch.errors import UserError

BOOTSTRAP_SEED = 0
BOOTSTRAP_BATCH = 500
"""Resamples held in memory together."""

Matrix = NDArray[np.float64]


class Precision(Protocol):
    """What an interval needs to know: a part of config.evaluation.ClaimsConfig."""

    @property
    def confidence(self) -> float:
        """Level of the interval."""

    @property
    def resamples(self) -> int:
        """Bootstrap resamples."""


@dataclass(frozen=True)
class Estimate:
    """A mean, its interval, and what a t test needs."""

    mean: float
    low: float
    high: float
    standard_error: float
    degrees: float
    """Degrees of freedom of the standard error."""
    seeds: int
    sequences: int


def estimate_mean(values: Matrix, precision: Precision) -> Estimate:
    """The mean of a (seeds, sequences) matrix with a two-sided interval.

    One seed: BCa bootstrap over sequences; the interval says nothing about other seeds.
    Several seeds: t interval from crossed random effects, so that it covers other seeds and other sequences.
    Resampling two or three seeds is no substitute: where seeds matter most, such 95 % intervals hold the truth
    in 75 to 80 % of simulations, and these in about 90 %.

    Raises:
        UserError: fewer than two sequences.
    """
    seeds, sequences = values.shape
    if sequences < 2:
        raise UserError(
            f"an interval needs at least two evaluation sequences, not {sequences}: "
            "raise evaluation.perplexity.corpora in the configuration"
        )
    mean = float(values.mean())
    error, degrees = _one_seed_error(values[0]) if seeds == 1 else _crossed_error(values)
    if seeds == 1:
        low, high = _bootstrap_interval(values[0], precision)
    else:
        half = float(stats.t.ppf((1 + precision.confidence) / 2, degrees)) * error
        low, high = mean - half, mean + half
    return Estimate(mean, low, high, error, degrees, seeds, sequences)


def _one_seed_error(values: Matrix) -> tuple[float, float]:
    return float(stats.sem(values)), len(values) - 1.0


def _crossed_error(values: Matrix) -> tuple[float, float]:
    """Standard error of the grand mean of crossed random effects, with Satterthwaite's (1946) degrees of freedom.

    The variance of the mean over seeds and that over sequences are added. Both hold the part that belongs to
    neither, so the sum is slightly too large; subtracting it once would be too small where seeds are few.
    Why both must count as random: Clark, "The language-as-fixed-effect fallacy", 1973.
    """
    seeds, sequences = values.shape
    parts = np.array([values.mean(axis=1).var(ddof=1) / seeds, values.mean(axis=0).var(ddof=1) / sequences])
    degrees = np.array([seeds - 1.0, sequences - 1.0])
    total = parts.sum()
    if total == 0:
        return 0.0, float(degrees[0])
    return math.sqrt(total), float(total**2 / (parts**2 / degrees).sum())


def _bootstrap_interval(values: Matrix, precision: Precision) -> tuple[float, float]:
    if np.ptp(values) == 0:  # nothing to resample, and BCa is not defined
        return float(values[0]), float(values[0])
    interval = stats.bootstrap(
        (values,),
        np.mean,
        vectorized=True,
        confidence_level=precision.confidence,
        n_resamples=precision.resamples,
        batch=BOOTSTRAP_BATCH,
        method="BCa",
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def p_above(estimate: Estimate, bound: float) -> float:
    """One-sided p-value of a t test: small if the mean lies above the bound."""
    distance = estimate.mean - bound
    if estimate.standard_error == 0:
        return float(distance <= 0)
    return float(stats.t.sf(distance / estimate.standard_error, estimate.degrees))


def p_below(estimate: Estimate, bound: float) -> float:
    """One-sided p-value of a t test: small if the mean lies below the bound."""
    distance = estimate.mean - bound
    if estimate.standard_error == 0:
        return float(distance >= 0)
    return float(stats.t.cdf(distance / estimate.standard_error, estimate.degrees))


def p_equivalent(estimate: Estimate, margin: float) -> float:
    """Two one-sided tests (TOST, Schuirmann 1987): small if the mean lies between -margin and +margin."""
    return max(p_above(estimate, -margin), p_below(estimate, margin))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's (1979) step-down adjustment: compare the result with the family-wise level, in the given order."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def slope_weights(x: ArrayLike) -> NDArray[np.float64]:
    """Weights whose sum with y is the least-squares slope of y on x.

    A slope is thus a weighted sum of differences: one slope per sequence, tested like any other mean.
    """
    centred = np.asarray(x, dtype=float) - np.mean(np.asarray(x, dtype=float))
    return centred / (centred**2).sum()
