"""The budget at which training from scratch overtakes pruning, if the trend of the gap goes on.

The gap of a method and ratio is fitted by a straight line in the logarithm of the tokens. The crossover is where the
line meets zero. Its interval holds every budget at which a gap of zero is not ruled out (Fieller, "Some problems in
interval estimation", 1954): it may have no upper end. It takes the line for granted; residuals show whether the gap
follows one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import optimize

from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.tables.gaps import GapGroup, series_label
from pruning_vs_scratch.tables.load import COLUMNS
from pruning_vs_scratch.tables.statistics import Matrix, line_weights, slope_weights, standard_error, t_quantile

DOUBLINGS = 40
"""How far beyond the data a crossover is looked for; what lies farther is called endless."""

Status = Literal["before the data", "within the data", "beyond the data", "none on this trend"]


@dataclass(frozen=True, eq=False)
class GapLine:
    """The gap of one method and ratio as a line in log2 of the retraining tokens, of one parent."""

    method: str
    granularity: str
    pattern: str
    ratio: float
    budgets: tuple[int, ...]
    gaps: Matrix
    """Shape (budgets, seeds, sequences): loss of scratch minus loss of pruned."""

    @property
    def label(self) -> str:
        """For people: 'Wanda 2:4 0.5'."""
        return f"{series_label(self.method, self.pattern)} {self.ratio:g}"

    @property
    def doublings(self) -> Matrix:
        """log2 of the budgets."""
        return np.log2(np.asarray(self.budgets, dtype=float))

    @property
    def slope(self) -> float:
        """Change of the gap per doubling."""
        return float(np.tensordot(slope_weights(self.doublings), self.gaps, axes=1).mean())

    def height(self, tokens: float) -> float:
        """The fitted gap at a budget."""
        return float(self._at(np.log2(tokens)).mean())

    def interval(self, tokens: float, confidence: float) -> tuple[float, float]:
        """Of the fitted gap at a budget: t, over sequences, and over seeds where there are several."""
        values = self._at(np.log2(tokens))
        error, degrees = standard_error([values])
        half = t_quantile((1 + confidence) / 2, degrees) * error
        return float(values.mean()) - half, float(values.mean()) + half

    @property
    def residuals(self) -> Matrix:
        """Measured less fitted gap at each budget; zero by nature where there are two budgets."""
        fitted = [self.height(budget) for budget in self.budgets]
        return self.gaps.mean(axis=(1, 2)) - np.asarray(fitted)

    def _at(self, doublings: float) -> Matrix:
        return np.tensordot(line_weights(self.doublings, doublings), self.gaps, axes=1)


def gap_lines(groups: Sequence[GapGroup]) -> list[GapLine]:
    """A line per method, pattern and ratio that was compared at two or more equal budgets.

    Raises:
        UserError: budgets of one method were run with different seeds.
    """
    series: dict[tuple, list[GapGroup]] = {}
    for group in groups:
        if group.setting == "equal":
            series.setdefault((group.method, group.granularity, group.pattern, group.ratio), []).append(group)
    return [_line(members) for members in series.values() if len(members) > 1]


def _line(members: list[GapGroup]) -> GapLine:
    members = sorted(members, key=lambda group: group.budget)
    if len({group.seeds for group in members}) > 1:
        raise UserError(
            f"the budgets of {members[0].series} {members[0].ratio:g} were run with different seeds: run the missing "
            "ones, then make the tables again"
        )
    first = members[0]
    return GapLine(
        first.method,
        first.granularity,
        first.pattern,
        first.ratio,
        tuple(group.budget for group in members),
        np.stack([group.differences for group in members]),
    )


@dataclass(frozen=True)
class Crossover:
    """Where a line meets zero. Tokens are None where nothing is met within 40 doublings of the data."""

    status: Status
    tokens: float | None
    low: float | None
    """None: any budget may be beyond it."""
    high: float | None


def crossover(line: GapLine, confidence: float) -> Crossover:
    """The budget from which scratch is ahead, with the budgets that are not ruled out."""
    first, last = (float(value) for value in line.doublings[[0, -1]])
    tokens = _power(_root(line.height, first - DOUBLINGS, last + DOUBLINGS)) if line.slope < 0 else None

    def sure(tokens: float) -> float:
        """Above zero where pruning is surely ahead."""
        return line.interval(tokens, confidence)[0]

    def possible(tokens: float) -> float:
        """Above zero where pruning may be ahead."""
        return line.interval(tokens, confidence)[1]

    low = _power(_root(sure, first - DOUBLINGS, last + DOUBLINGS, start=last))
    high = _power(_root(possible, first - DOUBLINGS, last + DOUBLINGS, start=last))
    return Crossover(_status(line, tokens), tokens, low, high)


def _status(line: GapLine, tokens: float | None) -> Status:
    if tokens is None:
        return "none on this trend" if line.height(line.budgets[-1]) > 0 else "before the data"
    if tokens < line.budgets[0]:
        return "before the data"
    return "within the data" if tokens <= line.budgets[-1] else "beyond the data"


def _root(height: Callable[[float], float], low: float, high: float, start: float | None = None) -> float | None:
    """Where a height changes from above to below zero, in log2 tokens: the change that is nearest to ``start``."""
    points = np.linspace(low, high, 8 * DOUBLINGS)
    signs = np.sign([height(2.0**point) for point in points])
    falls = [i for i in range(len(points) - 1) if signs[i] > 0 >= signs[i + 1]]
    if not falls:
        return None
    nearest = min(falls, key=lambda i: abs(points[i] - (points[i] if start is None else start)))
    return float(optimize.brentq(lambda point: height(2.0**point), points[nearest], points[nearest + 1]))


def _power(doublings: float | None) -> float | None:
    return None if doublings is None else float(2.0**doublings)


def crossover_table(groups: Sequence[GapGroup], settings: ClaimsConfig) -> pd.DataFrame:
    """A row per line and budget: what was measured, what is fitted, and where the line meets zero (load.COLUMNS)."""
    rows = [row for line in gap_lines(groups) for row in _rows(line, settings)]
    return pd.DataFrame(rows, columns=list(COLUMNS["crossover.csv"]))


def _rows(line: GapLine, settings: ClaimsConfig) -> Iterator[dict[str, Any]]:
    found = crossover(line, settings.confidence)
    for budget, measured, residual in zip(line.budgets, line.gaps.mean(axis=(1, 2)), line.residuals, strict=True):
        low, high = line.interval(budget, settings.confidence)
        yield {
            "method": line.method, "granularity": line.granularity, "pattern": line.pattern, "ratio": line.ratio,
            "budget": budget, "gap": measured, "fitted": line.height(budget), "fitted_low": low, "fitted_high": high,
            "residual": residual, "slope_per_doubling": line.slope, "status": found.status,
            "crossover_tokens": found.tokens, "crossover_low": found.low, "crossover_high": found.high,
            "seeds": line.gaps.shape[1], "sequences": line.gaps.shape[2], "dataset": settings.dataset,
            "confidence": settings.confidence,
        }  # fmt: skip
