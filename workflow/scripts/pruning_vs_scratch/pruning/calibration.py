"""Calibration text flowing through a model one decoder block at a time.

Only one block, its inputs and its statistics need to be on the device; the hidden states of all windows wait on the
host. Statistics accumulate in fp32 or better, whatever the model's dtype.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import LlamaForCausalLM

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.llama import shape_of
from pruning_vs_scratch.training.loss import token_losses

Observer = Callable[[torch.Tensor], None]


class _InputsCaught(Exception):
    """Ends a forward pass once the first block's inputs are known."""


class CalibrationStream:
    """Hidden states of calibration windows, shape (n, length + 1), at one depth of the model.

    It starts at the input of the first block; ``advance`` moves it through a block. ``flops`` counts the work done.
    """

    def __init__(self, model: LlamaForCausalLM, windows: torch.Tensor, batch_size: int) -> None:
        self.model = model
        self.shape = shape_of(model.config)
        self.device = next(model.parameters()).device
        self.length = windows.shape[1] - 1
        self.sequences = windows.shape[0]
        self.flops = 0
        self._targets = list(windows[:, 1:].split(batch_size))
        caught = [self._first_inputs(batch[:, :-1]) for batch in windows.split(batch_size)]
        self.hidden = [hidden for hidden, _ in caught]
        self._keywords = [keywords for _, keywords in caught]

    @property
    def tokens(self) -> int:
        """Calibration tokens read."""
        return self.sequences * self.length

    @torch.no_grad()
    def run(self, block: nn.Module, hidden: list[torch.Tensor] | None = None) -> list[torch.Tensor]:
        """Outputs of a block on the current (or the given) hidden states; hooks on the block see its activations.

        Raises:
            UserError: the block produced NaN or inf.
        """
        outputs = []
        for states, keywords in zip(hidden or self.hidden, self._keywords, strict=True):
            output = block(states.to(self.device), **keywords)
            if not torch.isfinite(output).all():
                raise UserError(
                    f"decoder block {self._index(block)} produced NaN or inf on the calibration text: "
                    "the checkpoint is damaged or its weights overflow"
                )
            outputs.append(output.cpu())
        self.flops += self.shape.block_flops(self.sequences, self.length)
        return outputs

    def advance(self, block: nn.Module) -> None:
        """Move all windows through a block."""
        self.hidden = self.run(block)

    @torch.no_grad()
    def language_model_loss(self, hidden: list[torch.Tensor]) -> float:
        """Mean cross-entropy in nats per token when ``hidden`` enters the final norm; fp32."""
        total = 0.0
        for states, targets in zip(hidden, self._targets, strict=True):
            logits = self.model.lm_head(self.model.model.norm(states.to(self.device)))
            total += float(token_losses(logits, targets.to(self.device)).double().sum())
        self.flops += self.shape.output_flops(self.sequences, self.length)
        return total / self.tokens

    def _first_inputs(self, inputs: torch.Tensor) -> tuple[torch.Tensor, dict[str, Any]]:
        """The hidden states and keyword arguments that the model hands to its first block."""
        caught: list[tuple[torch.Tensor, dict[str, Any]]] = []

        def catch(_: nn.Module, positional: tuple[torch.Tensor, ...], keywords: dict[str, Any]) -> None:
            caught.append((positional[0].cpu(), keywords))
            raise _InputsCaught

        handle = self.model.model.layers[0].register_forward_pre_hook(catch, with_kwargs=True)
        try:
            with torch.no_grad():
                self.model(input_ids=inputs.to(self.device), use_cache=False)
        except _InputsCaught:
            return caught[0]
        finally:
            handle.remove()
        raise AssertionError("the model's first decoder block was never called")

    def _index(self, block: nn.Module) -> int:
        return next(i for i, candidate in enumerate(self.model.model.layers) if candidate is block)


@contextmanager
def observing_inputs(observers: dict[nn.Module, Observer]) -> Iterator[None]:
    """While open, each module's input is shown to its observer."""
    handles = [
        module.register_forward_pre_hook(lambda _, positional, see=observer: see(positional[0]))
        for module, observer in observers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def observing_outputs(observers: dict[nn.Module, Observer]) -> Iterator[None]:
    """While open, each module's output is shown to its observer."""
    handles = [
        module.register_forward_hook(lambda _, __, output, see=observer: see(output))
        for module, observer in observers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
