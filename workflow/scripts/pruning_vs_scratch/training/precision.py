"""The arithmetic of the forward pass."""

from contextlib import AbstractContextManager, nullcontext

import torch

from pruning_vs_scratch.config.precision import Precision, WantedPrecision
from pruning_vs_scratch.models.device import native_bf16


def resolve_precision(wanted: WantedPrecision, device: torch.device) -> Precision:
    """``auto`` becomes bf16 if the device supports it natively, else fp32."""
    if wanted != "auto":
        return wanted
    return "bf16" if native_bf16(device) else "fp32"


def dtype_of(precision: Precision) -> torch.dtype:
    """The dtype of weights that are only read."""
    return torch.bfloat16 if precision == "bf16" else torch.float32


def as_multiplied(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor in the dtype of products: that of the surrounding autocast, else its own."""
    device = tensor.device.type
    return tensor.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else tensor


def autocast(precision: Precision, device: torch.device, *, keep_casts: bool = True) -> AbstractContextManager[object]:
    """Mixed precision for the forward pass: fp32 weights, bf16 products.

    Casts of weights are kept for the next micro-batch, unless the weights are only gathered temporarily.
    """
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=keep_casts)
