"""Magnitude pruning, the baseline of every sparse method: the smallest |W| of each matrix go.

Unstructured: one cut for a whole matrix. N:M: the smallest of each M consecutive inputs.
"""

import torch
from transformers import LlamaForCausalLM

from pruning_vs_scratch.models.llama import block_linears
from pruning_vs_scratch.pruning.masks import keep_largest, mask_by_row
from pruning_vs_scratch.pruning.pruned import Pruned
from pruning_vs_scratch.study import Target


def magnitude_mask(weight: torch.Tensor, ratio: float, pattern: str) -> torch.Tensor:
    """Mask of one matrix; True is kept."""
    scores = weight.detach().float().abs()
    return keep_largest(scores, ratio) if pattern == "unstructured" else mask_by_row(scores, ratio, pattern)


def prune(model: LlamaForCausalLM, target: Target) -> Pruned:
    """Zero the smallest weights of every linear layer of every block."""
    masks = {}
    for name, linear in block_linears(model).items():
        masks[name] = magnitude_mask(linear.weight, target.ratio, target.pattern)
        linear.weight.data.mul_(masks[name])
    return Pruned(model, masks=masks)
