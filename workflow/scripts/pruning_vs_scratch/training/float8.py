"""Products in float8: torchao's linear layers, each tensor scaled as a whole (Micikevicius et al., 2209.05433)."""

from typing import Any

import torch
from torch import nn

from pruning_vs_scratch.config.precision import Precision
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.families.parts import BLOCK_PREFIX

MULTIPLE = 16
"""The kernels need both sizes of a weight to be multiples of this."""


def use_float8(decoder: Any, device: torch.device, precision: Precision) -> None:
    """Let the blocks' linear layers multiply in float8; weights and everything else are unchanged.

    A CPU only emulates the rounding.

    Raises:
        UserError: torchao is missing, or the precision is not bf16.
    """
    if precision != "bf16":
        raise UserError(f"training.float8 needs training.precision bf16, not {precision}")
    try:
        from torchao.float8 import Float8LinearConfig, convert_to_float8_training
    except ImportError as error:
        raise UserError("training.float8 needs torchao: pip install -e '.[float8]', or set it to false") from error

    config = Float8LinearConfig(emulate=device.type == "cpu")
    convert_to_float8_training(decoder, config=config, module_filter_fn=_takes_float8)


def _takes_float8(module: nn.Module, name: str) -> bool:
    return (
        name.startswith(BLOCK_PREFIX)
        and isinstance(module, nn.Linear)
        and module.in_features % MULTIPLE == 0
        and module.out_features % MULTIPLE == 0
    )
