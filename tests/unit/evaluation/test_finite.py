"""Scores that are not finite are refused where they are made and where they are read."""

import numpy as np
import pandas as pd
import pytest

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.evaluation.finite import require_finite


def losses(*values: float) -> pd.DataFrame:
    return pd.DataFrame({"run": "P", "dataset": "test", "sequence": range(len(values)), "loss": values, "mode": "x"})


def test_finite_scores_pass() -> None:
    require_finite(losses(1.0, 2.0), "P")
    require_finite(losses(), "P")
    require_finite(pd.DataFrame({"task": ["piqa"], "item": [3], "score": [0.0]}), "P")


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused_with_its_place(wrong: float) -> None:
    with pytest.raises(UserError, match=r"^P on test: 2 of 4 values of loss are not finite, .* sequence 2: "):
        require_finite(losses(1.0, 2.0, wrong, wrong), "P on test")
    with pytest.raises(UserError, match=r"1 of 1 values of score .* task piqa, item 3"):
        require_finite(pd.DataFrame({"task": ["piqa"], "item": [3], "score": [wrong]}), "P")
