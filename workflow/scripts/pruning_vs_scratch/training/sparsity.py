"""Keeping pruned weights at exactly zero through training."""

from collections.abc import Callable

import torch
from torch import nn

from pruning_vs_scratch.errors import UserError


def apply_masks(model: nn.Module, masks: dict[str, torch.Tensor]) -> None:
    """Zero the pruned weights, and mask every gradient as soon as it is accumulated, before clipping sees it.

    A pruned weight then has a zero gradient, zero moments, and under decoupled weight decay stays exactly zero.
    ``masks`` maps parameter names to boolean tensors of the parameter's shape; True is kept.

    Raises:
        UserError: a mask has no parameter or another shape.
    """
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameter = parameters.get(name)
        if parameter is None or parameter.shape != mask.shape:
            found = "missing" if parameter is None else tuple(parameter.shape)
            raise UserError(f"mask {name} of shape {tuple(mask.shape)} does not fit the model ({found})")
        with torch.no_grad():
            parameter.mul_(mask)
        parameter.register_post_accumulate_grad_hook(_masking(mask))


def assert_masked(model: nn.Module, masks: dict[str, torch.Tensor]) -> None:
    """Check that every pruned weight is exactly zero.

    Raises:
        UserError: names the first parameter with a revived weight.
    """
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        revived = int(torch.count_nonzero(parameters[name].detach()[~mask]))
        if revived:
            raise UserError(f"{revived} pruned weights of {name} are not zero after training")


def _masking(mask: torch.Tensor) -> Callable[[torch.Tensor], None]:
    def hook(parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            parameter.grad.mul_(mask)

    return hook
