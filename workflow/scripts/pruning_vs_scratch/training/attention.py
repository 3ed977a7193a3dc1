"""Attention written out in three products, for bf16 on CPUs.

torch's fused kernel for CPUs (2.13) is fast in fp32, but in bf16 its backward pass takes four times as long as this at
128 tokens and 16 channels a head. The fused kernels are still used on GPUs, in fp32, and for long sequences, whose
scores would fill the memory.
"""

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from pruning_vs_scratch.config.precision import Precision
from pruning_vs_scratch.models.output import capped

NAME = "written_out"
LONGEST = 1024
"""Tokens of the longest sequence for which the scores are held as a matrix."""


def causal_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    allowed: torch.Tensor | None = None,
    cap: float | None = None,
) -> torch.Tensor:
    """softmax(scale * Q K^T) V over earlier tokens, shape of ``query`` (Vaswani et al., 1706.03762, equation 1).

    ``query`` has shape (sequences, heads, length, channels), ``key`` and ``value`` (sequences, groups, length,
    channels): neighbouring heads share a group. ``allowed``, of shape (sequences, 1, length, length), determines which
    tokens see which, instead of the causal order. ``cap`` bounds the scores (models/output.py). The softmax is computed
    in fp32 and rounded to the dtype of the scores.
    """
    sequences, heads, length, channels = query.shape
    groups = key.shape[1]
    stacked = (sequences, groups, heads // groups * length)
    scores = capped(torch.matmul(query.reshape(*stacked, channels), (key * scale).transpose(-1, -2)), cap)
    if allowed is None:
        allowed = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    bias = torch.zeros(allowed.shape, dtype=scores.dtype, device=query.device).masked_fill_(~allowed, -torch.inf)
    scores = scores.view(sequences, heads, length, length) + bias
    weights = torch.softmax(scores, dim=-1)
    return torch.matmul(weights.view(*stacked, length), value).view(query.shape)


def use_fastest_attention(model: Any, length: int, device: torch.device, precision: Precision) -> None:
    """Let a model use the fastest attention for training on sequences of a given length."""
    if device.type == "cpu" and precision == "bf16" and length <= LONGEST:
        model.set_attn_implementation(NAME)


def _attend(
    _module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    softcap: float | None = None,
    **_unused: Any,
) -> tuple[torch.Tensor, None]:
    """The same in transformers' interface: shape (sequences, length, heads, channels), without weights."""
    return causal_attention(query, key, value, scaling, attention_mask, softcap).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
