"""Linear layers with fp32 products by oneDNN, for AMD processors with AVX-512.

torch leaves fp32 products to MKL, which uses only AVX2 on AMD processors: half the peak of Zen 4 and 5. oneDNN uses
AVX-512. Products in bf16 use oneDNN anyway.
"""

from functools import partial
from typing import Any

import torch
from torch import nn

from pruning_vs_scratch.config.precision import Precision


def linear(inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``inputs @ weight.T`` in fp32, shape (..., out), from shapes (..., in) and (out, in)."""
    found: torch.Tensor = _Linear.apply(inputs, weight)
    return found


def use_fastest_linear(model: Any, device: torch.device, precision: Precision) -> None:
    """Let the decoder use the fastest matrix products for training."""
    if device.type != "cpu" or precision != "fp32" or not mkl_holds_back():
        return
    for module in model.model.modules():
        if isinstance(module, nn.Linear) and module.bias is None:
            module.forward = partial(_forward, module)


def mkl_holds_back() -> bool:
    """Whether this processor has AVX-512 and MKL does not use it."""
    capabilities = torch.cpu.get_capabilities()
    return "AMD" in capabilities.get("cpu_name", "") and bool(capabilities.get("avx512_f"))


def _forward(module: nn.Linear, inputs: torch.Tensor) -> torch.Tensor:
    return linear(inputs, module.weight)


def _product(inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, None, "none", [], "")
    return found


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(inputs, weight)
        return _product(inputs, weight)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        inputs, weight = ctx.saved_tensors
        for_inputs, for_weight = ctx.needs_input_grad
        return (
            _product(upstream, weight.T) if for_inputs else None,
            _product(upstream.flatten(0, -2).T, inputs.flatten(0, -2).T) if for_weight else None,
        )
