"""How important each input channel of o_proj or down_proj is to FLAP."""

import torch

from pruning_vs_scratch.pruning.methods.flap.facts import Estimator, Metric
from pruning_vs_scratch.pruning.methods.flap.statistics import InputStatistics


def ifv(variance: torch.Tensor) -> torch.Tensor:
    """V_j, shape (channels,), fp64."""
    return variance.double()


def wifv(variance: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """V_j * ||W_:,j||_2^2, shape (channels,), fp64 on the CPU; ``weight`` has shape (out, channels)."""
    return variance.double() * weight.detach().double().square().sum(dim=0).cpu()


def wifn(norm: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """mean_i |W_ij| * ||x_j||, shape (channels,), fp64 on the CPU; ``weight`` has shape (out, channels)."""
    return norm.double() * weight.detach().double().abs().mean(dim=0).cpu()


def channel_metric(
    metric: Metric, seen: InputStatistics, weight: torch.Tensor, estimator: Estimator = "code"
) -> torch.Tensor:
    """Importance of each input channel of a linear layer, shape (channels,), fp64 on the CPU.

    Raises:
        UserError: a variance of fewer than two windows is needed.
    """
    if metric == "WIFN":
        return wifn(seen.norm, weight)
    variance = seen.variance(estimator)
    return ifv(variance) if metric == "IFV" else wifv(variance, weight)
