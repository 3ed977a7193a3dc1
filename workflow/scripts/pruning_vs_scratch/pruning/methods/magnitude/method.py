"""Magnitude pruning (Han et al., "Learning both Weights and Connections for Efficient Neural Networks", 1506.02626).

The baseline of every sparse method: it drops the smallest |W|, with one threshold for the whole matrix, or for N:M the
smallest of each M consecutive inputs. Deviations: one round, without alternating pruning and retraining; of n weights
exactly int(n * ratio) are dropped, where a threshold would drop one more and all its ties. Option ``cut: row``: one
threshold for each output row.
"""

import torch

from pruning_vs_scratch.models.tensors import Tensors
from pruning_vs_scratch.pruning.masks import keep_largest, mask_by_row, masked
from pruning_vs_scratch.pruning.method import PrunedLayer, PruningSpec, SparseMethod
from pruning_vs_scratch.pruning.methods.magnitude.facts import MagnitudeOptions


def magnitude_mask(weight: torch.Tensor, ratio: float, pattern: str, options: MagnitudeOptions) -> torch.Tensor:
    """Mask of one matrix; True is kept."""
    scores = weight.detach().float().abs()
    if pattern == "unstructured" and options.cut == "matrix":
        return keep_largest(scores, ratio)
    return mask_by_row(scores, ratio, pattern)


def prune(weights: Tensors, _statistic: torch.Tensor | None, spec: PruningSpec) -> dict[str, PrunedLayer]:
    """Zero the smallest weights of each matrix."""
    pruned = {}
    for name, weight in weights.items():
        mask = magnitude_mask(weight, spec.target.ratio, spec.target.pattern, spec.options)
        pruned[name] = PrunedLayer(mask, masked(weight, mask))
    return pruned


METHOD = SparseMethod(prune)
