"""Wanda (Sun et al., "A Simple and Effective Pruning Approach for Large Language Models", 2306.11695).

Score (equation 1): S_ij = |W_ij| * ||X_j||_2, with the norm of input channel j over all calibration tokens. The
lowest scores of each output row go, or of each M consecutive inputs for N:M. A pruned block runs again, so that the
next one is scored on what it will really receive. Embeddings and the output projection stay dense.
"""

import torch
from torch import nn
from transformers import LlamaForCausalLM

from pruning_vs_scratch.models.llama import LINEAR_NAMES
from pruning_vs_scratch.pruning.calibration import CalibrationStream, observing_inputs
from pruning_vs_scratch.pruning.masks import mask_by_row
from pruning_vs_scratch.pruning.pruned import Pruned
from pruning_vs_scratch.study import Target


class InputNorm:
    """Accumulates the L2 norm of each input channel of a linear layer over all tokens."""

    def __init__(self) -> None:
        self._squares: torch.Tensor | None = None

    def see(self, activation: torch.Tensor) -> None:
        """Add a batch of shape (windows, length, channels)."""
        squares = activation.float().flatten(0, 1).double().square().sum(dim=0)
        self._squares = squares if self._squares is None else self._squares + squares

    @property
    def value(self) -> torch.Tensor:
        """Norm of each channel, shape (channels,), fp32."""
        assert self._squares is not None, "no activation was seen"
        return self._squares.sqrt().float()


def wanda_scores(weight: torch.Tensor, input_norm: torch.Tensor) -> torch.Tensor:
    """|W_ij| * ||X_j||, shape of ``weight`` (rows, columns), fp32."""
    return weight.detach().float().abs() * input_norm


def prune(model: LlamaForCausalLM, target: Target, stream: CalibrationStream) -> Pruned:
    """Zero the lowest-scored weights of every block, block by block."""
    masks: dict[str, torch.Tensor] = {}
    for i, block in enumerate(model.model.layers):
        linears: dict[str, nn.Linear] = {name: block.get_submodule(name) for name in LINEAR_NAMES}
        norms = {name: InputNorm() for name in linears}
        with observing_inputs({linears[name]: norm.see for name, norm in norms.items()}):
            stream.run(block)
        for name, linear in linears.items():
            mask = mask_by_row(wanda_scores(linear.weight, norms[name].value), target.ratio, target.pattern)
            linear.weight.data.mul_(mask)
            masks[f"model.layers.{i}.{name}.weight"] = mask
        stream.advance(block)
    return Pruned(model, masks=masks)
