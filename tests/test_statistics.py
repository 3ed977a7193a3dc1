"""Intervals cover the truth as often as they say, and tests agree with scipy and with brute force."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.tables.statistics import (
    estimate_mean,
    holm,
    p_above,
    p_below,
    p_equivalent,
    slope_weights,
)


@dataclass(frozen=True)
class Settings:
    confidence: float = 0.95
    resamples: int = 300


def test_one_seed_interval_covers_the_mean_near_the_nominal_rate() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        estimate = estimate_mean(rng.normal(0.3, 1, (1, 60)), Settings())
        hits += estimate.low <= 0.3 <= estimate.high
    assert 0.91 <= hits / 400 <= 0.98


@pytest.mark.parametrize("seed_spread", [0.0, 0.02, 0.05])
def test_interval_of_three_seeds_covers_other_seeds(seed_spread: float) -> None:
    """Seeds and sequences share effects, as they do in evaluations."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(500):
        values = rng.normal(0, seed_spread, (3, 1)) + rng.normal(0, 0.1, (1, 64)) + rng.normal(0, 0.1, (3, 64))
        estimate = estimate_mean(values, Settings())
        hits += estimate.low <= 0 <= estimate.high
    assert hits / 500 >= 0.89


def test_interval_of_several_seeds_is_wider_where_seeds_disagree() -> None:
    rng = np.random.default_rng(2)
    agreeing = rng.normal(0, 0.1, (3, 64))
    apart = agreeing + np.array([[-0.2], [0.0], [0.2]])
    near, far = estimate_mean(agreeing, Settings()), estimate_mean(apart, Settings())
    assert far.high - far.low > 3 * (near.high - near.low)


def test_estimates_are_deterministic() -> None:
    values = np.random.default_rng(3).normal(size=(1, 30))
    assert estimate_mean(values, Settings()) == estimate_mean(values, Settings())


def test_one_seed_p_values_are_those_of_the_paired_t_test() -> None:
    values = np.random.default_rng(4).normal(0.2, 1, (1, 40))
    estimate = estimate_mean(values, Settings())
    assert p_above(estimate, 0.1) == pytest.approx(stats.ttest_1samp(values[0], 0.1, alternative="greater").pvalue)
    assert p_below(estimate, 0.1) == pytest.approx(stats.ttest_1samp(values[0], 0.1, alternative="less").pvalue)


def test_equivalence_needs_both_bounds() -> None:
    rng = np.random.default_rng(5)
    inside = estimate_mean(rng.normal(0.0, 0.01, (1, 100)), Settings())
    outside = estimate_mean(rng.normal(0.1, 0.01, (1, 100)), Settings())
    unsure = estimate_mean(rng.normal(0.0, 1.0, (1, 100)), Settings())
    assert p_equivalent(inside, 0.02) < 0.001
    assert p_equivalent(outside, 0.02) > 0.99
    assert p_equivalent(unsure, 0.02) > 0.3


@pytest.mark.parametrize("seeds", [1, 3])
def test_constant_differences_have_no_interval_and_certain_tests(seeds: int) -> None:
    estimate = estimate_mean(np.full((seeds, 10), 0.5), Settings())
    assert (estimate.low, estimate.high) == (0.5, 0.5)
    assert (p_above(estimate, 0.0), p_below(estimate, 0.0), p_above(estimate, 0.5)) == (0.0, 1.0, 1.0)


def test_one_sequence_is_an_error() -> None:
    with pytest.raises(UserError, match="at least two evaluation sequences"):
        estimate_mean(np.ones((2, 1)), Settings())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closure_of_bonferroni(p_values: list[float]) -> None:
    """By definition: the largest Bonferroni p-value of all subfamilies that a comparison belongs to."""
    indices = range(len(p_values))
    subsets = [s for size in range(1, len(p_values) + 1) for s in combinations(indices, size)]
    expected = [max(min(1.0, len(s) * min(p_values[j] for j in s)) for s in subsets if i in s) for i in indices]
    assert holm(p_values) == pytest.approx(expected)


def test_holm_of_an_empty_family_is_empty() -> None:
    assert holm([]).size == 0


@given(st.lists(st.floats(-10, 10), min_size=3, max_size=8, unique=True).filter(lambda x: np.ptp(x) > 0.1))
def test_slope_weights_give_the_least_squares_slope(x: list[float]) -> None:
    y = np.sin(x)
    assert slope_weights(x) @ y == pytest.approx(stats.linregress(x, y).slope, abs=1e-9)
