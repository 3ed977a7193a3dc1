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
    by_cluster,
    estimate_mean,
    estimate_mean_of_means,
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


@pytest.mark.slow
def test_an_interval_over_clusters_covers_where_one_over_items_does_not() -> None:
    """Accuracy differences of -1, 0 or 1 on items of which up to nine share a passage, and much of their luck."""
    rng = np.random.default_rng(8)
    hits = {"items": 0, "clusters": 0}
    for _ in range(400):
        sizes = rng.integers(1, 10, 40)
        clusters = np.repeat(np.arange(40), sizes)
        difficulty = np.repeat(rng.normal(0, 0.5, 40), sizes)
        values = np.clip(np.round(difficulty + rng.normal(0, 0.5, len(clusters))), -1, 1)[None]
        for name, matrix in {"items": values, "clusters": by_cluster(values, clusters)}.items():
            estimate = estimate_mean(matrix, Settings())
            hits[name] += estimate.low <= 0 <= estimate.high
    assert 0.90 <= hits["clusters"] / 400 <= 0.98
    assert hits["items"] / 400 < 0.85


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_of_a_mean_over_tasks_covers_it_near_the_nominal_rate(seeds: int) -> None:
    """Tasks of different size and spread, with different true differences; seeds differ too."""
    rng = np.random.default_rng(9)
    truths, counts, spreads = (0.1, -0.05, 0.4), (30, 100, 60), (0.5, 1.0, 0.2)
    hits = 0
    for _ in range(400):
        seed_effect = rng.normal(0, 0.02, (seeds, 1)) if seeds > 1 else 0
        strata = [
            truth + seed_effect + rng.normal(0, spread, (1, count)) + rng.normal(0, spread, (seeds, count))
            for truth, count, spread in zip(truths, counts, spreads, strict=True)
        ]
        estimate = estimate_mean_of_means(strata, Settings())
        hits += estimate.low <= np.mean(truths) <= estimate.high
    assert 0.91 <= hits / 400 <= (0.98 if seeds == 1 else 1.0)


def test_a_mean_over_tasks_weighs_every_task_the_same() -> None:
    rng = np.random.default_rng(10)
    few, many = rng.normal(0, 1, (1, 10)), rng.normal(5, 1, (1, 1000))
    estimate = estimate_mean_of_means([few, many], Settings())
    assert estimate.mean == pytest.approx((few.mean() + many.mean()) / 2)
    assert estimate.standard_error == pytest.approx(np.hypot(stats.sem(few[0]), stats.sem(many[0])) / 2)
    assert estimate.sequences == 1010


def test_a_task_on_which_nothing_differs_narrows_the_mean() -> None:
    values = np.random.default_rng(11).normal(1, 1, (1, 50))
    alone, beside = estimate_mean(values, Settings()), estimate_mean_of_means([values, np.zeros((1, 9))], Settings())
    assert (beside.mean, beside.low, beside.high) == pytest.approx((alone.mean / 2, alone.low / 2, alone.high / 2))


@given(
    items=st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2), st.integers(0, 4)), min_size=2, max_size=20),
)
def test_clusters_keep_the_mean_of_every_seed(items: list[tuple[float, float, int]]) -> None:
    values = np.array([[first, second] for first, second, _ in items]).T
    clusters = [cluster for _, _, cluster in items]
    found = by_cluster(values, clusters)
    assert found.shape == (2, len(set(clusters)))
    np.testing.assert_allclose(found.mean(axis=1), values.mean(axis=1), atol=1e-12)


def test_clusters_of_one_size_are_their_means_and_single_items_stay() -> None:
    values = np.random.default_rng(12).normal(size=(1, 12))
    np.testing.assert_allclose(by_cluster(values, np.repeat(np.arange(4), 3)), values.reshape(4, 3).mean(axis=1)[None])
    np.testing.assert_allclose(by_cluster(values, np.arange(12)), values)


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
