"""Forward and backward passes over parts of a micro-batch at the same time, on CPUs.

torch splits every operation among its threads, which wait for each other at the end of each. In a narrow model, whose
operations take some ten microseconds, that is a quarter of the time. Passes over parts of the batch wait only once.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

LEAST_TOKENS = 1024
"""In a pass: below, starting the operations takes longer than they do, and threads start one at a time."""
MOST_GRADIENT_BYTES = 1 << 28
"""For the gradients of all passes together, each of which has its own."""

Loss = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""From windows, shape (n, length + 1): what is minimised, and numbers to be added up, which have no gradient."""


def fitting_passes(tokens: int, parameters: Sequence[torch.Tensor], device: torch.device) -> int:
    """How many parts of a micro-batch are processed at the same time."""
    if device.type != "cpu":
        return 1
    in_memory = MOST_GRADIENT_BYTES // sum(p.numel() * p.element_size() for p in parameters)
    return max(1, min(torch.get_num_threads(), tokens // LEAST_TOKENS, in_memory))


class Passes:
    """Adds the gradients of micro-batches to parameters, ``count`` parts of a micro-batch at the same time.

    The parts' gradients are added up in the order of the parts, so that the result is the same to the last bit each
    time.
    """

    def __init__(self, count: int, parameters: Sequence[torch.Tensor]) -> None:
        self.count = count
        self._parameters = [p for p in parameters if p.requires_grad]
        if count > 1:
            threads = max(1, torch.get_num_threads() // count)
            self._pool = ThreadPoolExecutor(count, initializer=_take_threads, initargs=(threads,))

    def add_gradients(self, loss: Loss, micro: torch.Tensor) -> torch.Tensor:
        """Add the gradients of a micro-batch, shape (n, length + 1); the sum of the numbers of its parts."""
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
        """Between passes: operations take one thread.

        After each operation torch's threads look for the next one for some milliseconds, on the cores that the next
        passes need by then.
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
    """Let this thread's operations take ``count`` threads, from now on.

    In a thread's first parallel operation torch gives it the number that any thread of the process set last
    (``at::internal::lazy_init_num_threads``), here the main thread's as soon as that left ``cores_kept_free``: a worker
    that starts late would add in another order than one that starts early. Asking for the number is such an operation.
    """
    torch.get_num_threads()
    torch.set_num_threads(count)
