"""Resampled losses: the noise of the evaluation, and the residuals of a study's laws.

Sequences are resampled, the same ones for all models. The residuals of the laws, pooled over a study, represent the
noise of single training runs and the misfit of the laws. They are added to every loss, with a spread that is itself
drawn, since few budgets determine it poorly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pruning_vs_scratch.tables.power_law import PARAMETERS
from pruning_vs_scratch.tables.sides import Series
from pruning_vs_scratch.tables.statistics import BOOTSTRAP_SEED, Matrix

RESAMPLES = 2000
FAR = 2.0
"""Farthest extrapolation of a law, as a factor of the largest or smallest budget."""


@dataclass(frozen=True)
class Misfit:
    """Residuals of a study's laws: a standard deviation in nats with its degrees of freedom."""

    deviation: float
    degrees: int


def pooled_misfit(series: Sequence[Series]) -> Misfit | None:
    """The misfit of the laws with more budgets than parameters; None without one.

    Among laws that share runs, such as those of two methods with the same target, only the first counts.
    """
    counted: set[str] = set()
    squares, degrees = 0.0, 0
    for law in series:
        if law.checks_law and not counted & set(law.runs):
            counted |= set(law.runs)
            squares += float(law.law.squares[0])
            degrees += len(law.tokens) - PARAMETERS
    return Misfit(float(np.sqrt(squares / degrees)), degrees) if degrees else None


class Noise:
    """Resamples of models that were evaluated on the same sequences. Each model must be drawn only once."""

    def __init__(self, sequences: int, misfit: Misfit | None) -> None:
        """Draw the sequences and the spreads of all resamples."""
        self._rng = np.random.default_rng(BOOTSTRAP_SEED)
        even = 1 / sequences
        weights = self._rng.multinomial(sequences, np.full(sequences, even), RESAMPLES) / sequences
        # Plain resamples of a mean spread like a normal variable; few sequences need the wider one of Student.
        stretch = np.sqrt(sequences / self._rng.chisquare(sequences - 1, RESAMPLES))
        self._weights = even + (weights - even) * stretch[:, None]
        self._spreads = np.zeros(RESAMPLES)
        if misfit is not None:
            draws = self._rng.chisquare(misfit.degrees, RESAMPLES)
            self._spreads = misfit.deviation * np.sqrt(misfit.degrees / draws)

    def losses(self, models: Matrix) -> Matrix:
        """Mean losses of models of shape (models, sequences); shape (resamples, models)."""
        means = self._weights @ models.T
        return means + self._spreads[:, None] * self._rng.normal(size=means.shape)


def interval(values: Matrix, confidence: float) -> tuple[float, float]:
    """The quantiles of resampled values, shape (resamples,), which may be infinite."""
    ordered = np.sort(values)
    low, high = (float(ordered[round(q * (len(ordered) - 1))]) for q in ((1 - confidence) / 2, (1 + confidence) / 2))
    return low, high
