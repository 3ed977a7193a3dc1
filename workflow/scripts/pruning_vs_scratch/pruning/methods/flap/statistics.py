"""What FLAP measures of the input of o_proj or down_proj: mean, fluctuation and norm of each channel.

One window is one sample. All sums are fp64 and are taken window by window, so that not even their last bit depends on
the batch size; the authors' code divides incorrectly for batches larger than 1.
"""

import torch

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.methods.flap.facts import Estimator


class InputStatistics:
    """Accumulates the statistics of one input over windows of equal length, in a few numbers per channel.

    With the mean mu_k of window k and the mean m_k of the first k windows, d_k = mu_k - m_{k-1}, the sum of squares
    around m_k is that around mu_k plus T * ((k-1)/k * d_k)^2 for T tokens, so that one pass is enough.
    """

    def __init__(self) -> None:
        self._windows = 0
        self._length = 0
        self._mean: torch.Tensor | float = 0.0
        self._around_running_means: torch.Tensor | float = 0.0
        self._around_mean: torch.Tensor | float = 0.0

    def see(self, activation: torch.Tensor) -> None:
        """Add a batch of shape (windows, length, channels), in the order of the windows."""
        for window in activation.detach():
            self._see_window(window.double())

    def _see_window(self, window: torch.Tensor) -> None:
        assert self._length in (0, len(window)), "windows differ in length"
        self._windows, self._length = self._windows + 1, len(window)
        mean = window.mean(dim=0)
        scatter = (window - mean).square_().sum(dim=0)
        before = 1 - 1 / self._windows
        step = mean - self._mean
        self._around_running_means += before * (scatter + self._length * (before * step).square())
        self._around_mean += scatter + self._length * before * step.square()
        self._mean = self._mean + step / self._windows

    @property
    def mean(self) -> torch.Tensor:
        """Mean over windows of the mean over tokens, shape (channels,), fp64 on the CPU; not cut to fp16."""
        return self._seen(self._mean)

    @property
    def norm(self) -> torch.Tensor:
        """sqrt(sum of squares over all tokens / windows), shape (channels,), fp64 on the CPU."""
        squares = self._seen(self._around_mean) + self._windows * self._length * self.mean.square()
        return (squares / self._windows).sqrt()

    def variance(self, estimator: Estimator) -> torch.Tensor:
        """How much each channel fluctuates, shape (channels,), fp64 on the CPU.

        ``paper``: the variance around the mean over all N tokens, divided by N - 1. ``code``: what the authors' code
        computes, 1/(n-1) * sum over windows k = 2..n of (k-1)/k * sum_t (x_{k,t} - m_k)^2. There the mean before the
        update is an alias of the one after it, so both factors of Welford's formula use m_k. It leaves out the first
        window, depends on the order of windows, and sums over tokens: it is about T times the paper's.

        Raises:
            UserError: fewer than two windows were seen.
        """
        if self._windows < 2:
            raise UserError(
                f"FLAP measures how inputs vary over calibration windows, but there is {self._windows}: give at least 2"
            )
        if estimator == "code":
            return self._seen(self._around_running_means) / (self._windows - 1)
        return self._seen(self._around_mean) / (self._windows * self._length - 1)

    @staticmethod
    def _seen(total: torch.Tensor | float) -> torch.Tensor:
        assert isinstance(total, torch.Tensor), "no activation was seen"
        return total.cpu()
