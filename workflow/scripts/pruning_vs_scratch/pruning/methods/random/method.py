"""Random masks: the reference for any choice of weights, and the mask of baselines that inherit none.

They drop exactly as many weights of each output row, or of each M consecutive inputs, as the methods that choose.
"""

import hashlib

import torch

from pruning_vs_scratch.models.tensors import Tensors
from pruning_vs_scratch.pruning.masks import mask_by_row, masked
from pruning_vs_scratch.pruning.method import PrunedLayer, PruningSpec, SparseMethod


def random_scores(name: str, shape: torch.Size, seed: int) -> torch.Tensor:
    """Scores of one matrix, uniform in [0, 1): a pure function of the matrix's name and the seed."""
    digest = hashlib.sha256(f"random mask:{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def prune(weights: Tensors, _statistic: torch.Tensor | None, spec: PruningSpec) -> dict[str, PrunedLayer]:
    """Zero weights at random."""
    pruned = {}
    for name, weight in weights.items():
        scores = random_scores(name, weight.shape, spec.seed)
        mask = mask_by_row(scores, spec.target.ratio, spec.target.pattern).to(weight.device)
        pruned[name] = PrunedLayer(mask, masked(weight, mask))
    return pruned


METHOD = SparseMethod(prune)
