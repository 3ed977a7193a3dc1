"""The norm of the gradients over all processes, and clipping."""

import math
from collections.abc import Iterable

import torch
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

from pruning_vs_scratch.training.sharding import local
from pruning_vs_scratch.training.world import World

EPSILON = 1e-6
"""As in torch.nn.utils.clip_grad_norm_."""


def clip_gradients(parameters: Iterable[torch.Tensor], limit: float, world: World) -> float:
    """Scale all gradients together so that their norm is at most ``limit``; returns the norm before.

    Shards are summed over the processes, divided by the number of copies of the model; parameters that every process
    holds whole count once (Pascanu et al., 1211.5063).
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    shards = [local(gradient) for gradient in gradients if isinstance(gradient, DTensor)]
    whole = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    norm = float(get_total_norm(whole))
    if world.size > 1:
        [square] = world.sums(float(get_total_norm(shards)) ** 2)
        norm = math.sqrt(norm**2 + square / world.copies)
    if norm > limit:
        torch._foreach_mul_([*shards, *whole], limit / (norm + EPSILON))
    return norm
