"""How a measure changes with the size of the parent: fitted to all studies except the largest, and tested on that one.

The form is y = a + b ln N + c ln(R/P), by least squares: N is the parent's parameters, R/P the tokens of retraining as
a share of the parent's. For comparison, y = a + c ln(R/P) ignores size: if its error is no larger, the fit says nothing
about size.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pruning_vs_scratch.tables.resampling import FAR
from pruning_vs_scratch.tables.statistics import Matrix

LEAST_STUDIES = 3


@dataclass(frozen=True)
class ScaleFit:
    """The fit, or why there is none; errors are root mean squares over the points of the study left out."""

    reason: str = ""
    left_out: str = ""
    by_params: float = np.nan
    """b: change of the measure when the parent has e times as many parameters."""
    by_share: float = np.nan
    """c: change when retraining reads e times as large a share."""
    points: int = 0
    """Predicted points of the study left out."""
    error: float = np.nan
    error_without_size: float = np.nan


def fit_scales(rows: pd.DataFrame) -> tuple[ScaleFit, pd.DataFrame]:
    """The fit of a measure, and its predictions for the largest study.

    ``rows`` have columns study, params, share_retrained (R/P, above 0) and value. The predictions have the rows of the
    largest study with ``predicted`` and ``without_size``; they are empty if R/P is more than a factor of two outside
    that of the others, and there are no rows if nothing is fitted.
    """
    rows = rows[rows["value"].notna()]
    none = rows.iloc[:0].assign(predicted=np.nan, without_size=np.nan)
    if rows["study"].nunique() < LEAST_STUDIES:
        return ScaleFit(f"a fit needs {LEAST_STUDIES} studies"), none
    largest = rows["params"].max()
    judged, fitted = rows[rows["params"] == largest], rows[rows["params"] < largest]
    left_out = ", ".join(judged["study"].unique())
    if fitted["params"].nunique() < LEAST_STUDIES - 1:
        return ScaleFit("a fit needs three sizes of the parent", left_out), none
    design = _design(fitted)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return ScaleFit("the smaller studies have too few budgets", left_out), none
    elsewhere, without_size = _design(judged), [0, 2]
    coefficients = _coefficients(design, fitted["value"])
    smaller = _coefficients(design[:, without_size], fitted["value"])
    judged = judged.assign(
        predicted=_within(fitted, judged, elsewhere @ coefficients),
        without_size=_within(fitted, judged, elsewhere[:, without_size] @ smaller),
    )
    reached = judged["predicted"].notna()
    if not reached.any():
        return ScaleFit(f"the largest study's R/P is beyond {FAR:g} times that of the others", left_out), none
    return ScaleFit(
        "", left_out, float(coefficients[1]), float(coefficients[2]), int(reached.sum()),
        _root_mean_square(judged["predicted"] - judged["value"]),
        _root_mean_square(judged["without_size"] - judged["value"]),
    ), judged  # fmt: skip


def _design(rows: pd.DataFrame) -> Matrix:
    """Shape (rows, 3)."""
    logs = np.log(rows[["params", "share_retrained"]].to_numpy(dtype=float))
    return np.column_stack([np.ones(len(rows)), logs])


def _coefficients(design: Matrix, values: pd.Series) -> Matrix:
    return np.asarray(np.linalg.lstsq(design, values.to_numpy(dtype=float), rcond=None)[0])


def _within(fitted: pd.DataFrame, judged: pd.DataFrame, predicted: Matrix) -> pd.Series:
    """Predictions where retraining reads about as large a share as in the fitted studies."""
    shares = fitted["share_retrained"]
    return pd.Series(predicted, judged.index).where(
        judged["share_retrained"].between(shares.min() / FAR, shares.max() * FAR)
    )


def _root_mean_square(errors: pd.Series) -> float:
    return float(np.sqrt((errors**2).mean()))
