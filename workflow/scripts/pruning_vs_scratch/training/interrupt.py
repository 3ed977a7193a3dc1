"""Stopping in good order: a scheduler's warning becomes a request that the loop answers between two steps."""

import signal
from types import FrameType, TracebackType
from typing import Any

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What schedulers send before a walltime limit, a preemption or a cancellation."""


class StopRequest:
    """While entered, a stop signal is remembered instead of ending the process; used in the main thread."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        """The first stop signal that came; None as long as there was none."""
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        self._former = {number: signal.signal(number, self._remember) for number in STOP_SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.signal = self.signal or signal.Signals(number)
