"""2:4 models with kernels that skip their zeros: half of each product (Mishra et al., 2104.08378)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.sparse import to_sparse_semi_structured

from pruning_vs_scratch.pruning.masks import PackedMask
from pruning_vs_scratch.pruning.record import earlier_step, masks_of

PATTERN = "2:4"
"""The only one that tensor cores know."""
LEAST_CAPABILITY = (8, 0)
"""Of a GPU with sparse tensor cores: Ampere."""
ROWS, COLUMNS = 32, 64
"""Of which torch's kernels want multiples in bf16 (``SparseSemiStructuredTensorCUTLASS``)."""


def skips_zeros(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a device has kernels for 2:4 weights of a dtype."""
    if device.type != "cuda" or dtype != torch.bfloat16:
        return False
    return torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY


def two_of_four_masks(checkpoint: Path) -> dict[str, PackedMask]:
    """The masks of a checkpoint that was pruned to 2:4; none of any other.

    Raises:
        UserError: it was, and its masks are missing or are not 2:4.
    """
    target = (earlier_step(checkpoint) or {}).get("target", {})
    return masks_of(checkpoint) if target.get("pattern") == PATTERN else {}


def with_packed_weights(
    model: Any,
    masks: Mapping[str, PackedMask],
    pack: Callable[[torch.Tensor], torch.Tensor] = to_sparse_semi_structured,
) -> Any:
    """A model in place, with masked weights of shape (rows, columns) packed: values of half the size, and where.

    Weights of other sizes than the kernels take stay as they are.

    Raises:
        ValueError: a weight has other zeros than 2:4.
    """
    for name in masks:
        linear = model.get_submodule(name.removesuffix(".weight"))
        weight = linear.weight.detach()
        if weight.shape[0] % ROWS or weight.shape[1] % COLUMNS:
            continue
        if not _is_within_pattern(weight):
            raise ValueError(f"{name} is not zero in two of each four columns")
        linear.weight = nn.Parameter(pack(weight), requires_grad=False)
    return model


def _is_within_pattern(weight: torch.Tensor) -> bool:
    """Whether no group of four has more than two weights that are not zero; a kept weight may be zero by chance."""
    kept = (weight.view(-1, 4) != 0).sum(dim=1)
    return bool((kept <= 2).all())
