"""Graceful stops: a signal, or the end of a job's time, becomes a request that is handled between two steps."""

import signal
import time
from types import FrameType, TracebackType
from typing import Any

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What schedulers send before a walltime limit, a preemption or a cancellation."""


class StopRequest:
    """While entered, a stop signal is remembered instead of ending the process; used in the main thread.

    ``at`` is when to stop without any signal, in seconds since the epoch.
    """

    def __init__(self, at: float | None = None) -> None:
        self._at = at
        self._signal: signal.Signals | None = None
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        self._former = {number: signal.signal(number, self._remember) for number in STOP_SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    @property
    def reason(self) -> str | None:
        """The reason for the stop: the first signal received, or the time; None until there is one."""
        if self._signal is not None:
            return self._signal.name
        return "the end of the job's time" if self._at is not None and time.time() >= self._at else None

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self._signal = self._signal or signal.Signals(number)
