"""Where series that share an axis are placed side by side, so that their markers and intervals do not overlap."""

import numpy as np
import pandas as pd

LONE_SPAN = 4.0
"""Length of a logarithmic axis around a single value, as a factor."""
ROOM_SHARE = 0.8
"""Largest share of the distance of two neighbouring values that the series around one of them fill."""


def places(drawn: pd.DataFrame, panel: str) -> "pd.Series[float]":
    """The place of each row's method and pattern among those of its panel: 1 apart, with 0 in the middle."""
    series = drawn.groupby(["method", "pattern"], sort=False).ngroup()
    place = series.groupby(drawn[panel]).transform(lambda numbers: pd.factorize(numbers)[0])
    centred: pd.Series[float] = place - place.groupby(drawn[panel]).transform("max") / 2
    return centred


def moved(drawn: pd.DataFrame, values: pd.Series, panel: str, share: float, alone: float = 0.0) -> "pd.Series[float]":
    """Values of a logarithmic axis, each moved aside for its method and pattern.

    Neighbouring series are ``share`` of their panel's axis apart, or less if values are so close that their series
    would mix. Around a value that is alone they are at least ``alone`` divided by their number apart.
    """
    place = places(drawn, panel)
    steps = pd.Series(0.0, drawn.index)
    for _, rows in drawn.groupby(panel):
        steps[rows.index] = _step(values[rows.index], 2 * place[rows.index].max() + 1, share, alone)
    aside: pd.Series[float] = values * np.exp(steps * place)
    return aside


def _step(values: pd.Series, count: float, share: float, alone: float) -> float:
    """Distance of neighbouring series in logarithms."""
    logs = np.log(np.sort(values.unique()))
    if len(logs) == 1:
        return float(np.log(LONE_SPAN) * max(share, alone / count))
    return float(min(share * (logs[-1] - logs[0]), ROOM_SHARE * np.diff(logs).min() / count))
