"""Compiling a model's decoder blocks, all by one piece of code."""

import shutil
from typing import Any

import torch

from pruning_vs_scratch.errors import UserError


def compile_blocks(model: Any, device: torch.device) -> None:
    """Let torch compile each decoder block in its first pass.

    Raises:
        UserError: the machine lacks the C++ compiler that this takes on a CPU.
    """
    if device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise UserError("training.compile needs a C++ compiler (g++ or clang++): install one, or set it to false")
    for block in model.model.layers:
        block.compile()
