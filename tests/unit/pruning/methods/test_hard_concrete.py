"""The hard concrete distribution agrees with its closed forms, and its deterministic masks have exact sizes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.integrate import quad

from pruning_vs_scratch.pruning.methods.sheared_llama.hard_concrete import (
    LOG_ALPHA_HIGH,
    LOG_ALPHA_LOW,
    deterministic,
    initial_log_alpha,
    open_probability,
    sample,
)

DRAWS = 200_000
each_log_alpha = pytest.mark.parametrize("log_alpha", [-4.0, -1.5, 0.0, 0.7, 3.0])
ROWS = arrays.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=9).flatmap(
    lambda shape: arrays.arrays(np.float32, shape, elements=st.integers(-4, 4).map(float))
)
"""Log alphas of few values, so that ties are the rule."""


def draws(log_alpha: float) -> torch.Tensor:
    """One z for each of evenly spread noises."""
    uniform = (torch.arange(DRAWS, dtype=torch.float64) + 0.5) / DRAWS
    return sample(torch.full((DRAWS,), log_alpha, dtype=torch.float64), uniform)


def survival(t: float, log_alpha: float) -> float:
    """P(z > t) for 0 <= t < 1, from the noise at which z is t."""
    odds = (t + 0.1) / (1.1 - t)
    noise = 1 / (1 + math.exp(log_alpha - 2 / 3 * math.log(odds)))
    return 1 - noise


@each_log_alpha
def test_the_share_of_open_masks_is_the_closed_form(log_alpha: float) -> None:
    expected = open_probability(torch.tensor(log_alpha)).item()
    assert (draws(log_alpha) > 0).double().mean().item() == pytest.approx(expected, abs=2 / DRAWS)
    assert survival(0, log_alpha) == pytest.approx(expected, abs=1e-6)


@each_log_alpha
def test_the_mean_is_the_integral_of_the_survival_function(log_alpha: float) -> None:
    expected, _ = quad(survival, 0, 1, args=(log_alpha,))
    assert draws(log_alpha).mean().item() == pytest.approx(expected, abs=1e-5)


@each_log_alpha
def test_random_noise_gives_the_share_and_the_mean(log_alpha: float) -> None:
    uniform = torch.rand(DRAWS, generator=torch.Generator().manual_seed(0))
    z = sample(torch.full((DRAWS,), log_alpha), uniform)
    mean, _ = quad(survival, 0, 1, args=(log_alpha,))
    assert (z > 0).float().mean().item() == pytest.approx(survival(0, log_alpha), abs=0.004)
    assert z.mean().item() == pytest.approx(mean, abs=0.004)


@each_log_alpha
def test_both_ends_have_mass(log_alpha: float) -> None:
    z = draws(log_alpha)
    assert z.min() == 0
    assert z.max() == 1
    assert ((z > 0) & (z < 1)).any()


@given(st.floats(LOG_ALPHA_LOW, 5), st.floats(0, 1, exclude_max=True, width=32))
def test_masks_lie_between_0_and_1_and_have_finite_gradients(log_alpha: float, noise: float) -> None:
    values = torch.tensor([log_alpha], requires_grad=True)
    z = sample(values, torch.tensor([noise]))
    z.sum().backward()
    assert 0 <= z.item() <= 1
    assert torch.isfinite(values.grad).all()


def test_masks_open_as_log_alpha_grows() -> None:
    log_alpha = torch.linspace(-4, 5, 50, dtype=torch.float64)
    for noise in (0.1, 0.5, 0.9):
        z = sample(log_alpha, torch.full_like(log_alpha, noise))
        inside = (z > 0) & (z < 1)
        assert inside.sum() > 5
        assert (z.diff() >= 0).all()
        assert (z[inside].diff() > 0).all()
    assert (open_probability(log_alpha).diff() > 0).all()


def test_gradients_are_those_of_finite_differences() -> None:
    log_alpha = torch.linspace(-1.2, 1.2, 7, dtype=torch.float64, requires_grad=True)
    uniform = torch.full_like(log_alpha, 0.5).detach()
    z = sample(log_alpha, uniform)
    assert ((z > 0) & (z < 1)).all()
    assert torch.autograd.gradcheck(lambda values: sample(values, uniform), log_alpha)
    assert torch.autograd.gradcheck(open_probability, log_alpha)
    assert torch.autograd.gradcheck(lambda values: deterministic(values, 3), log_alpha)


@given(ROWS, st.data())
def test_deterministic_masks_keep_exactly_the_largest_and_the_earlier_of_equals(
    values: np.ndarray, data: st.DataObject
) -> None:
    kept = data.draw(st.integers(0, values.shape[-1]))
    z = deterministic(torch.from_numpy(values), kept)
    assert z.shape == values.shape
    for row, masks in zip(values.reshape(-1, values.shape[-1]), z.reshape(-1, values.shape[-1]), strict=True):
        best = sorted(range(len(row)), key=lambda i: (-row[i], i))[:kept]
        assert masks.nonzero().flatten().tolist() == sorted(best)


def test_many_equal_log_alphas_keep_the_first() -> None:
    z = deterministic(torch.zeros(3, 1000), 10)
    assert (z > 0).tolist() == [[True] * 10 + [False] * 990] * 3


def test_open_deterministic_masks_have_the_released_codes_soft_values() -> None:
    log_alpha = torch.tensor([0.0, 2.0, -1.0, 4.0])
    expected = [0.0, 1 / (1 + math.exp(-2.4)), 0.0, 1 / (1 + math.exp(-4.8))]
    assert deterministic(log_alpha, 2).tolist() == pytest.approx(expected)


def test_initial_log_alphas_are_near_5_and_above_the_range() -> None:
    log_alpha = initial_log_alpha((100, 100), torch.Generator().manual_seed(0))
    assert log_alpha.shape == (100, 100)
    assert log_alpha.mean().item() == pytest.approx(5, abs=1e-3)
    assert log_alpha.std().item() == pytest.approx(0.01, rel=0.05)
    assert (math.exp(LOG_ALPHA_LOW), math.exp(LOG_ALPHA_HIGH)) == pytest.approx((0.01, 100))
    again = initial_log_alpha((100, 100), torch.Generator().manual_seed(0))
    assert torch.equal(log_alpha, again)
