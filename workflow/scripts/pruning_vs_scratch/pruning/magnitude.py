"""Magnitude pruning (Han et al., "Learning both Weights and Connections for Efficient Neural Networks", 1506.02626).

The baseline of every sparse method: the smallest |W| of each matrix go, by one cut for the whole matrix, or the
smallest of each M consecutive inputs for N:M. Deviation: one round, no pruning and retraining in turns.
"""

import torch
from transformers import LlamaForCausalLM

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.llama import block_linears
from pruning_vs_scratch.pruning.masks import keep_largest, mask_by_row
from pruning_vs_scratch.pruning.pruned import Pruned
from pruning_vs_scratch.study import Target


def magnitude_mask(weight: torch.Tensor, ratio: float, pattern: str) -> torch.Tensor:
    """Mask of one matrix; True is kept."""
    scores = weight.detach().float().abs()
    return keep_largest(scores, ratio) if pattern == "unstructured" else mask_by_row(scores, ratio, pattern)


def prune(model: LlamaForCausalLM, target: Target) -> Pruned:
    """Zero the smallest weights of every linear layer of every block.

    Raises:
        UserError: a weight is NaN or inf, and so has no rank.
    """
    masks = {}
    for name, linear in block_linears(model).items():
        if not torch.isfinite(linear.weight).all():
            raise UserError(f"{name} holds NaN or inf: the checkpoint is damaged")
        masks[name] = magnitude_mask(linear.weight, target.ratio, target.pattern)
        linear.weight.data.mul_(masks[name])
    return Pruned(model, masks=masks)
