"""Attention in fp32 on GPUs, with key-value heads repeated.

torch has no fused kernel for GPUs that takes both fp32 and groups of heads: flash and cuDNN take half precision only,
the memory-efficient one as many key-value heads as heads. What is left makes a matrix of all scores, 34 GB for 4
windows of 8,192 tokens and 32 heads.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "sdpa_with_repeated_heads"


def use_fused_attention(model: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Let a model use a kernel that holds no matrix of scores, where torch would choose none.

    No kernel caps scores: models that do so keep the attention of transformers.
    """
    if device.type == "cuda" and dtype == torch.float32 and not getattr(model.config, "attn_logit_softcapping", None):
        model.set_attn_implementation(NAME)


def attend(
    _module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **_unused: Any,
) -> tuple[torch.Tensor, None]:
    """Transformers' form of attention: output of shape (sequences, length, heads, channels), and no weights.

    ``query`` has shape (sequences, heads, length, channels), ``key`` and ``value`` (sequences, groups, length,
    channels): neighbouring heads share a group. Without a mask the order is causal.
    """
    key, value = (states.repeat_interleave(query.shape[1] // states.shape[1], dim=1) for states in (key, value))
    output = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=scaling, is_causal=attention_mask is None
    )
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
