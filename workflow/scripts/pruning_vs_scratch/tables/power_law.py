"""Loss against training tokens as a power law, L(D) = E + A D^-alpha.

The form is that of Hoffmann et al. ("Training Compute-Optimal Large Language Models", 2203.15556, equation 2) for a
model of one size. Many laws are fitted at once, one per resample of the losses.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pruning_vs_scratch.tables.statistics import Matrix

PARAMETERS = 3
"""Parameters of a law. With this many budgets it fits every loss exactly, and the fit cannot be checked."""
EXPONENTS = np.geomspace(0.01, 4.0, 80)
REFINEMENTS = (np.geomspace(0.92, 1.08, 25), np.geomspace(0.993, 1.007, 11))
"""Grids around the best exponent so far, each finer than the last."""


@dataclass(frozen=True, eq=False)
class PowerLaws:
    """Laws of shape (laws,): L(D) = floor + scale (D / unit)^-exponent."""

    unit: float
    """Unit of tokens: the geometric mean of the budgets, for precision."""
    floor: Matrix
    scale: Matrix
    exponent: Matrix
    squares: Matrix
    """Sums of squared residuals."""

    def loss(self, tokens: float) -> Matrix:
        """Losses at a budget, shape (laws,)."""
        return self.floor + self.scale * (tokens / self.unit) ** -self.exponent

    def tokens(self, losses: ArrayLike) -> Matrix:
        """Budgets at which losses of shape (laws,) are reached; infinite if a law's floor is above its loss."""
        above = np.asarray(losses, dtype=float) - self.floor
        reached = (above > 0) & (self.scale > 0)
        share = np.where(reached, above, 1.0) / np.where(reached, self.scale, 1.0)
        with np.errstate(over="ignore"):
            return np.where(reached, self.unit * share ** (-1 / self.exponent), np.inf)


def fit_power_laws(tokens: ArrayLike, losses: ArrayLike) -> PowerLaws:
    """Least-squares laws that fall and have no floor below zero.

    ``tokens`` has shape (budgets,), ``losses`` (laws, budgets). For each exponent of a grid the best floor and scale
    are known in closed form; the best exponent is then looked for again on finer grids around it.

    Raises:
        ValueError: fewer than three different budgets.
    """
    budgets, values = np.asarray(tokens, dtype=float), np.atleast_2d(np.asarray(losses, dtype=float))
    if len(np.unique(budgets)) < PARAMETERS:
        raise ValueError(f"a power law needs {PARAMETERS} different budgets, not {len(np.unique(budgets))}")
    unit = float(np.exp(np.log(budgets).mean()))
    laws = _best_of(budgets, values, unit, EXPONENTS[None])
    for refinement in REFINEMENTS:
        laws = _best_of(budgets, values, unit, laws.exponent[:, None] * refinement)
    return laws


def _best_of(budgets: Matrix, losses: Matrix, unit: float, exponents: Matrix) -> PowerLaws:
    """The law of each row of losses, with the exponent of the smallest residuals.

    ``exponents`` has shape (laws, exponents), or (1, exponents) where all laws try the same.
    """
    floors, scales, squares = _given_exponents(budgets / unit, losses, exponents)
    laws, best = np.arange(len(losses)), squares.argmin(axis=1)
    tried = np.broadcast_to(exponents, squares.shape)
    return PowerLaws(unit, floors[laws, best], scales[laws, best], tried[laws, best], squares[laws, best])


def _given_exponents(budgets: Matrix, losses: Matrix, exponents: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Floors, scales and sums of squared residuals, each of shape (laws, exponents)."""
    powers = budgets ** -exponents[..., None]  # (laws or 1, exponents, budgets)
    values = losses[:, None, :]
    centred = powers - powers.mean(axis=-1, keepdims=True)
    slopes = (centred * values).sum(axis=-1) / (centred**2).sum(axis=-1)
    floors = values.mean(axis=-1) - slopes * powers.mean(axis=-1)
    through_zero = (powers * values).sum(axis=-1) / (powers**2).sum(axis=-1)
    scales = np.where(slopes < 0, 0.0, np.where(floors < 0, through_zero, slopes))
    floors = np.where(slopes < 0, values.mean(axis=-1), np.maximum(floors, 0.0))
    residuals = values - floors[..., None] - scales[..., None] * powers
    return floors, scales, (residuals**2).sum(axis=-1)
