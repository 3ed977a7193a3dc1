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


def capped_(logits: torch.Tensor, cap: float | None) -> torch.Tensor:
    """The same in place."""
    return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)


def through_cap_(gradient: torch.Tensor, logits: torch.Tensor, cap: float | None) -> torch.Tensor:
    """The gradient by logits before the cap, from that by the capped ``logits``: d cap tanh(z / cap) / dz.

    In place, and the logits are used up: those of a large vocabulary take gigabytes.
    """
    return gradient if cap is None else gradient.mul_(logits.div_(cap).square_().neg_().add_(1))
