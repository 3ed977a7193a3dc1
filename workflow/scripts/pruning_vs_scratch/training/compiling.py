"""Compiling a model's decoder blocks, all by one piece of code."""

import shutil
from typing import Any

import torch

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.training.precision import Precision

LONG_RUN_FLOPS = 6e13
"""Of a run that is compiled without being asked: ten minutes on a CPU of 100 GFLOP/s."""


def pays(flops: float, device: torch.device, precision: Precision) -> bool:
    """Whether a run is long enough to be compiled first, on a CPU that has what it takes.

    Not in fp32, where compiled blocks are slower than passes at the same time (passes.py) and oneDNN (linear.py).
    """
    return device.type == "cpu" and precision == "bf16" and flops >= LONG_RUN_FLOPS and has_compiler()


def has_compiler() -> bool:
    """Whether there is a C++ compiler."""
    return any(map(shutil.which, ("g++", "clang++", "c++")))


def compile_blocks(model: Any, device: torch.device) -> None:
    """Let torch compile each decoder block in its first pass.

    Raises:
        UserError: the machine lacks the C++ compiler that this takes on a CPU.
    """
    if device.type == "cpu" and not has_compiler():
        raise UserError("training.compile needs a C++ compiler (g++ or clang++): install one, or set it to false")
    for block in model.model.layers:
        block.compile()
