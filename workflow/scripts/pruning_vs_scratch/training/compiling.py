"""Compiling a model's decoder blocks, all with the same code."""

import shutil
from importlib.util import find_spec
from typing import Any

import torch

from pruning_vs_scratch.config.precision import Precision
from pruning_vs_scratch.errors import UserError

LONG_RUN_FLOPS = {"cpu": 6e13, "cuda": 1e16}
"""From how many operations on auto compiles: ten minutes on a CPU of 100 GFLOP/s; on a GPU, a minute or two."""


def pays(flops: float, device: torch.device, precision: Precision) -> bool:
    """Whether a run is long enough to be worth compiling, on a machine that can compile.

    Not in fp32 on a CPU, where compiled blocks are slower than simultaneous passes (passes.py) and oneDNN (linear.py).
    """
    is_faster = device.type == "cuda" or precision == "bf16"
    return is_faster and flops >= LONG_RUN_FLOPS[device.type] and missing_compiler(device) is None


def missing_compiler(device: torch.device) -> str | None:
    """What this machine lacks to compile for a device; None if nothing."""
    if device.type == "cuda" and find_spec("triton") is None:
        return "the package triton, which comes with torch's CUDA builds"
    # Triton compiles the launchers of its kernels in C.
    names = ("g++", "clang++", "c++") if device.type == "cpu" else ("gcc", "clang", "cc")
    return None if any(map(shutil.which, names)) else f"a compiler ({' or '.join(names[:2])})"


def compile_blocks(model: Any, device: torch.device) -> None:
    """Let torch compile each decoder block in its first pass.

    Raises:
        UserError: the machine lacks what this needs.
    """
    if missing := missing_compiler(device):
        raise UserError(f"training.compile needs {missing}: install it, or set training.compile to false")
    for block in model.model.layers:
        block.compile()
