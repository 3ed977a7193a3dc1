"""Batches read ahead: the next step's while the model processes this one's."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch


class BatchesAhead:
    """Reads batches with ``read(step)``; those of steps below ``stop`` one step ahead, in a thread."""

    def __init__(self, read: Callable[[int], torch.Tensor], stop: int, device: torch.device) -> None:
        self._read, self._stop, self._device = read, stop, device
        self._thread = ThreadPoolExecutor(1, "batches")
        self._next: tuple[int, Future[torch.Tensor]] | None = None

    def of(self, step: int) -> torch.Tensor:
        """The batch of a step, on the device."""
        ahead, self._next = self._next, None
        batch = ahead[1].result() if ahead is not None and ahead[0] == step else self._read(step)
        on_device = batch.to(self._device, non_blocking=batch.is_pinned())
        if step + 1 < self._stop:
            self._next = step + 1, self._thread.submit(self._read_for_device, step + 1)
        return on_device

    def _read_for_device(self, step: int) -> torch.Tensor:
        batch = self._read(step)
        return batch.pin_memory() if self._device.type == "cuda" else batch
