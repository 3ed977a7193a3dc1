"""Wanda (Sun et al., "A Simple and Effective Pruning Approach for Large Language Models", 2306.11695).

Score (equation 1): S_ij = |W_ij| * ||X_j||_2, with the norm of input channel j over all calibration tokens. It drops
the lowest scores of each output row, or for N:M of each M consecutive inputs. A pruned block runs again, so that the
next one is scored on the inputs it will actually receive. Embeddings and the output projection stay dense. Option
``order: dense``: all norms come from the dense model, so that one calibration serves every ratio.
"""

import torch

from pruning_vs_scratch.models.tensors import Tensors
from pruning_vs_scratch.pruning.masks import mask_by_row, masked
from pruning_vs_scratch.pruning.method import PrunedLayer, PruningSpec, SparseMethod


class InputNorm:
    """Accumulates the L2 norm of each input channel of a linear layer over all tokens."""

    def __init__(self) -> None:
        self._squares: torch.Tensor | float = 0.0

    def see(self, activation: torch.Tensor) -> None:
        """Add a batch of shape (windows, length, channels)."""
        self._squares = self._squares + activation.float().flatten(0, 1).square().sum(dim=0, dtype=torch.float64)

    @property
    def value(self) -> torch.Tensor:
        """Norm of each channel, shape (channels,), fp32."""
        assert isinstance(self._squares, torch.Tensor), "no activation was seen"
        return self._squares.sqrt().float()


def wanda_scores(weight: torch.Tensor, input_norm: torch.Tensor) -> torch.Tensor:
    """|W_ij| * ||X_j||, shape of ``weight`` (rows, columns), fp32."""
    return weight.detach().float().abs() * input_norm


def prune(weights: Tensors, statistic: torch.Tensor | None, spec: PruningSpec) -> dict[str, PrunedLayer]:
    """Zero the lowest-scored weights of the layers that read one input."""
    assert statistic is not None
    pruned = {}
    for name, weight in weights.items():
        mask = mask_by_row(wanda_scores(weight, statistic), spec.target.ratio, spec.target.pattern)
        pruned[name] = PrunedLayer(mask, masked(weight, mask))
    return pruned


METHOD = SparseMethod(prune, statistic=InputNorm)
