"""The hard concrete distribution (Louizos et al., "Learning Sparse Neural Networks through L0 Regularization",
1712.01312, section 2.2) with the constants of Sheared-LLaMA (Xia et al., 2310.06694, and its released code).

    s = sigmoid((log u - log(1 - u) + log_alpha) / beta),   u ~ U(0, 1)
    z = clip(1.2 * s - 0.1, 0, 1)

Some of z's mass is at exactly 0 and exactly 1, and z has a gradient to log_alpha elsewhere. All functions work on log
alphas of any shape and dtype. Deviation: the released code draws u from [1e-6, 1 - 1e-6] and bounds the probability of
z > 0 in the same way, neither of which float32 needs.
"""

import math

import torch

BETA = 2 / 3
"""Temperature."""
STRETCH_LOW, STRETCH_HIGH = -0.1, 1.1
"""The interval to which s is stretched before clipping."""
SOFTNESS = 0.8
"""The released code's ``magical_number``: it flattens the values of masks that are no longer sampled."""
INITIAL_MEAN, INITIAL_STD = 5.0, 0.01
"""Initial log alphas: almost every mask is 1."""
LOG_ALPHA_LOW, LOG_ALPHA_HIGH = math.log(0.01), math.log(100)
"""Log alphas are held in this range, where gradients do not vanish; the initial ones are just above it."""


def initial_log_alpha(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Log alphas ~ N(5, 0.01)."""
    return INITIAL_MEAN + INITIAL_STD * torch.randn(shape, generator=generator)


def sample(log_alpha: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """z in [0, 1] for uniform noise in [0, 1) of the same shape."""
    s = torch.sigmoid((torch.logit(uniform) + log_alpha) / BETA)
    return (s * (STRETCH_HIGH - STRETCH_LOW) + STRETCH_LOW).clamp(0, 1)


def open_probability(log_alpha: torch.Tensor) -> torch.Tensor:
    """P(z > 0) = sigmoid(log_alpha - beta * log(0.1 / 1.1))."""
    return torch.sigmoid(log_alpha - BETA * math.log(-STRETCH_LOW / STRETCH_HIGH))


def deterministic(log_alpha: torch.Tensor, kept: int) -> torch.Tensor:
    """z of a model of a given size: exactly ``kept`` entries along the last dimension are open.

    These are the largest log alphas, of equal ones the earlier, each at the soft value sigmoid(log_alpha / beta * 0.8);
    all others are 0.
    """
    largest = log_alpha.argsort(dim=-1, descending=True, stable=True)[..., :kept]
    is_open = torch.zeros_like(log_alpha, dtype=torch.bool).scatter_(-1, largest, True)
    return torch.where(is_open, torch.sigmoid(log_alpha / BETA * SOFTNESS), 0)
