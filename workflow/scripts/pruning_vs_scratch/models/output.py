"""Capped logits, where a family has them (Gemma 2: 2408.00118, section 2)."""

from typing import Any

import torch


def logit_cap(config: Any) -> float | None:
    """The bound of a model's logits, or None."""
    cap: float | None = getattr(config, "final_logit_softcapping", None)
    return cap


def capped(logits: torch.Tensor, cap: float | None) -> torch.Tensor:
    """``cap * tanh(logits / cap)``, or the logits as they are."""
    return logits if cap is None else cap * torch.tanh(logits / cap)


def through_cap_(gradient: torch.Tensor, logits: torch.Tensor, cap: float | None) -> torch.Tensor:
    """The gradient by logits before the cap, from that by the capped ``logits``, in place: d cap tanh(z / cap) / dz."""
    return gradient if cap is None else gradient.mul_(1 - (logits / cap).square())
