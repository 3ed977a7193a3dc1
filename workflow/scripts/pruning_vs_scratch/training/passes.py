"""Simultaneous forward and backward passes over parts of a micro-batch, on CPUs.

torch splits every operation among its threads, which wait for each other at the end of each. In a narrow model, whose
operations take tens of microseconds, waiting is a quarter of the time. Passes over parts of the batch wait only once.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

LEAST_TOKENS = 1024
"""Per pass. With fewer, operations take longer to start than to run, and threads start them one at a time."""
MOST_GRADIENT_BYTES = 1 << 28
"""For the separate gradients of all passes together."""

Loss = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""From windows, shape (n, length + 1): the value to minimise, and numbers to be summed, which have no gradient."""


def fitting_passes(tokens: int, parameters: Sequence[torch.Tensor], device: torch.device) -> int:
    """How many parts of a micro-batch are processed at the same time."""
    if device.type != "cpu":
        return 1
    in_memory = MOST_GRADIENT_BYTES // sum(p.numel() * p.element_size() for p in parameters)
    return max(1, min(torch.get_num_threads(), tokens // LEAST_TOKENS, in_memory))


class Passes:
    """Adds the gradients of micro-batches to parameters, ``count`` parts of a micro-batch at the same time. The parts'
    gradients are summed in the order of the parts, so that the result is always the same to the last bit.
    """

    def __init__(self, count: int, parameters: Sequence[torch.Tensor]) -> None:
        self.count = count
        self._parameters = [p for p in parameters if p.requires_grad]
        if count > 1:
            threads = max(1, torch.get_num_threads() // count)
            self._pool = ThreadPoolExecutor(count, initializer=_take_threads, initargs=(threads,))

    def add_gradients(self, loss: Loss, micro: torch.Tensor) -> torch.Tensor:
        """Add the gradients of a micro-batch, shape (n, length + 1); returns the sum of its parts' numbers."""
        if self.count == 1:
            total, numbers = loss(micro)
            total.backward()
            return numbers
        found = self._run(loss, micro.split(-(-len(micro) // self.count)))
        with self.cores_kept_free():
            for gradients, _ in found:
                for parameter, gradient in zip(self._parameters, gradients, strict=True):
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
            return torch.stack([numbers for _, numbers in found]).sum(dim=0)

    @contextmanager
    def cores_kept_free(self) -> Iterator[None]:
        """For use between passes: operations use one thread. After each operation, torch's threads spin for some
        milliseconds, on cores that the next passes already need.
        """
        if self.count == 1:
            yield
            return
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def _run(self, loss: Loss, parts: Sequence[torch.Tensor]) -> list[tuple[tuple[torch.Tensor, ...], torch.Tensor]]:
        """Gradients and numbers of each part."""

        def one_pass(part: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
            total, numbers = loss(part)
            return torch.autograd.grad(total, self._parameters), numbers

        return list(self._pool.map(one_pass, parts))


def _take_threads(count: int) -> None:
    """Let this thread's operations use ``count`` threads from now on.

    In a thread's first parallel operation torch gives it the number that any thread of the process set last
    (``at::internal::lazy_init_num_threads``), here the main thread's as soon as that left ``cores_kept_free``: a worker
    that starts late would sum in a different order from one that starts early. Querying the number is such an
    operation.
    """
    torch.get_num_threads()
    torch.set_num_threads(count)
