"""Keeping pruned weights at exactly zero through training.

Masks are boolean tensors by parameter name; True is kept. With shards, each process masks its own part.
"""

from collections.abc import Mapping

import torch
from torch import nn

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.masks import PackedMask
from pruning_vs_scratch.training.sharding import local, own_rows

Masks = dict[str, torch.Tensor]


def fitted_masks(model: nn.Module, masks: Mapping[str, PackedMask]) -> Masks:
    """This process's rows of masks, on the device of their parameters; no other rows are unpacked.

    Raises:
        UserError: a mask has no parameter or another shape.
    """
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameter = parameters.get(name)
        if parameter is None or parameter.shape != mask.shape:
            found = "missing" if parameter is None else tuple(parameter.shape)
            raise UserError(f"mask {name} of shape {mask.shape} does not fit the model ({found})")
    return {name: _own_part(mask, parameters[name]) for name, mask in masks.items()}


def _own_part(mask: PackedMask, parameter: torch.Tensor) -> torch.Tensor:
    rows = own_rows(parameter)
    return mask.rows(rows.start, rows.stop).to(parameter.device)


@torch.no_grad()
def mask_weights(model: nn.Module, masks: Masks) -> None:
    """Set the pruned weights to zero."""
    for name, mask in masks.items():
        local(model.get_parameter(name)).masked_fill_(~mask, 0)


def mask_gradients(model: nn.Module, masks: Masks) -> None:
    """Set the gradients of pruned weights to zero.

    A pruned weight then has zero moments, and under decoupled weight decay it stays exactly zero.
    """
    for name, mask in masks.items():
        gradient = model.get_parameter(name).grad
        if gradient is not None:
            local(gradient).mul_(mask)


def assert_masked(model: nn.Module, masks: Masks) -> None:
    """Check that every pruned weight is exactly zero.

    Raises:
        UserError: names the first parameter with a weight that is not.
    """
    for name, mask in masks.items():
        revived = int(torch.count_nonzero(local(model.get_parameter(name).detach())[~mask]))
        if revived:
            raise UserError(f"{revived} pruned weights of {name} are not zero: its mask is that of other weights")
