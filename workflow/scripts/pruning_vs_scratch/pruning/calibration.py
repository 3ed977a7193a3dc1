"""Calibration text flowing through a model one decoder block at a time.

Only one block, its inputs and its statistics need to be on the device. The hidden states of all windows stay there up
to a bound; otherwise they wait on the host, in memory (pinned if there is a GPU) or, beyond another bound, in a
memory-mapped file. Statistics accumulate in fp32 or better, whatever the model's dtype.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import nn

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.families.parts import LINEAR_NAMES
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.decoder import block_index, block_linear
from pruning_vs_scratch.models.skeleton import Keywords
from pruning_vs_scratch.pruning.facts import LOSS_TOKENS
from pruning_vs_scratch.pruning.finished_losses import FinishedLosses
from pruning_vs_scratch.pruning.placement import Buffers, pinned_bytes
from pruning_vs_scratch.training.loss import token_losses

Observer = Callable[[torch.Tensor], None]


class CalibrationStream:
    """Hidden states of calibration windows at one depth of the model.

    ``windows`` are tokens of shape (n, length + 1), of which the last is only predicted, or with ``whole`` of shape (n,
    length), all of which are fed. ``hidden`` are the states of shape (n, length, hidden). The stream starts at the
    input of the first block; ``advance`` moves it through a block. ``flops`` counts the work done. If candidates
    continue from the first states (``compared``), these stay on the host, and the device's buffer is for the
    candidates. ``finished`` are the losses of candidates computed so far.

    Raises:
        UserError: a block produced NaN or inf (all methods that run one).
    """

    def __init__(
        self,
        model: BlockwiseModel,
        windows: torch.Tensor,
        batch_size: int,
        buffer_bytes: int,
        folder: Path,
        *,
        device_buffer_bytes: int = 0,
        whole: bool = False,
        compared: bool = False,
        finished: FinishedLosses | None = None,
    ) -> None:
        self.model = model
        self.shape = model.shape
        self.length = windows.shape[1] - (not whole)
        self.sequences = windows.shape[0]
        self.flops = 0
        self.buffers = Buffers(buffer_bytes, device_buffer_bytes if model.device.type == "cuda" else 0)
        self.finished = finished or FinishedLosses()
        self.batch_size = batch_size
        self.batches = [slice(i, min(i + batch_size, self.sequences)) for i in range(0, self.sequences, batch_size)]
        self._inputs, self._targets = windows[:, : self.length], windows[:, 1:]
        self._keywords: dict[int, Keywords] = {}
        size = (self.sequences, self.length, self.shape.hidden_size)
        dtype = model.skeleton.dtype
        if not compared and self.buffers.keep_on_device(torch.Size(size).numel() * dtype.itemsize):
            self.hidden = torch.empty(size, dtype=dtype, device=model.device)
        else:
            self.hidden = _host_buffer(size, dtype, buffer_bytes, folder, pinned=model.device.type == "cuda")
        for batch in self.batches:
            self._put(batch, self._first_inputs(batch))

    @property
    def tokens(self) -> int:
        """Calibration tokens read."""
        return self.sequences * self.length

    @property
    def predicted_tokens(self) -> int:
        """Calibration tokens that losses include: a whole window has nothing after its last token."""
        return self._targets.numel()

    @property
    def bytes_per_window(self) -> int:
        """Size of one window's hidden states."""
        return self.hidden[0].numel() * self.hidden.element_size()

    def observe(self, block: nn.Module) -> None:
        """Run a block up to its last linear layer, for the hooks on it; the stream stays where it is."""
        with _ended_before(block_linear(block, LINEAR_NAMES[-1])):
            for batch in self.batches:
                with suppress(_Ended):
                    self.run(block, self.hidden[batch])
        self.flops += self.shape.observed_block_flops(self.sequences, self.length)

    def advance(self, block: nn.Module) -> None:
        """Move all windows through a block."""
        for batch in self.batches:
            self._put(batch, self.run(block, self.hidden[batch]))

    def transitions(self, block: nn.Module) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Move all windows through a block, showing each batch as it enters and as it leaves, on the device."""
        for batch in self.batches:
            entering = self.hidden[batch].to(self.model.device, copy=True)
            leaving = self.run(block, entering)
            self._put(batch, leaving)
            yield entering, leaving

    def release(self) -> None:
        """Free the memory of the hidden states; the counts stay."""
        self.hidden = self.hidden.new_empty(0)

    @torch.no_grad()
    def run(self, block: nn.Module, states: torch.Tensor) -> torch.Tensor:
        """Output of a block, on the device, for hidden states of shape (batch, length, hidden)."""
        keywords = self._keywords[len(states)][self.model.skeleton.layer_types[block_index(block)]]
        output: torch.Tensor = block(states.to(self.model.device, non_blocking=True), **keywords)
        if not torch.isfinite(output).all():
            raise UserError(
                f"decoder block {block_index(block)} produced NaN or inf on the calibration text: "
                "the checkpoint is damaged or its weights overflow"
            )
        self.flops += self.shape.block_flops(len(states), self.length)
        return output

    def language_model_loss(self, batch: slice, states: torch.Tensor) -> float:
        """Summed cross-entropy in nats of a batch's windows whose ``states`` enter the final norm; fp32.

        Logits are computed for some tokens at a time: those of a long window and a large vocabulary take gigabytes.
        """
        targets = self._targets[batch].to(self.model.device)
        total = 0.0
        for part, wanted in zip(
            states[:, : targets.shape[1]].flatten(0, 1).split(LOSS_TOKENS),
            targets.flatten().split(LOSS_TOKENS),
            strict=True,
        ):
            total += float(token_losses(self.model.skeleton.logits(part[None]), wanted[None]).double().sum())
        self.flops += self.shape.output_flops(len(states), self.length)
        return total

    def on_host(self, states: torch.Tensor) -> torch.Tensor:
        """The device's states on the host, in pinned memory, so that copies do not wait for the processor."""
        if states.device.type == "cpu":
            return states
        return torch.empty(states.shape, dtype=states.dtype, pin_memory=True).copy_(states, non_blocking=True)

    def _put(self, batch: slice, states: torch.Tensor) -> None:
        # They are next read by a later copy to the device, never by the processor.
        self.hidden[batch].copy_(states, non_blocking=True)

    def _first_inputs(self, batch: slice) -> torch.Tensor:
        """The hidden states that enter the first block; the keyword arguments of each batch size are kept too."""
        states, keywords = self.model.skeleton.first_inputs(self._inputs[batch])
        self._keywords[len(states)] = keywords
        return states


class _Ended(Exception):
    """Ends a forward pass that has served its purpose."""


@contextmanager
def _ended_before(module: nn.Module) -> Iterator[None]:
    """While open, a forward pass ends before a module, after the hooks that were there before."""

    def end(_: nn.Module, __: tuple[torch.Tensor, ...]) -> None:
        raise _Ended

    handle = module.register_forward_pre_hook(end)
    try:
        yield
    finally:
        handle.remove()


def _host_buffer(
    size: tuple[int, ...], dtype: torch.dtype, bound: int, folder: Path, *, pinned: bool = False
) -> torch.Tensor:
    """An empty tensor in memory or, beyond ``bound`` bytes, in an unnamed file that is gone when the process ends."""
    entries = torch.Size(size).numel()
    if entries * dtype.itemsize <= bound:
        return torch.empty(size, dtype=dtype, pin_memory=pinned and pinned_bytes(entries * dtype.itemsize) <= bound)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".hidden-states.") as file:
        return torch.from_file(file.name, shared=True, size=entries, dtype=dtype).view(size)


@contextmanager
def observing_inputs(observers: dict[nn.Module, Observer]) -> Iterator[None]:
    """While open, each module's input is passed to its observer."""
    handles = [
        module.register_forward_pre_hook(lambda _, positional, see=observer: see(positional[0]))
        for module, observer in observers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
