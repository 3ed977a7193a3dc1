"""How far a long loop is: a bar in a terminal; elsewhere a line now and then, so that a log shows a step at work.

Like all progress, it is shown if messages of level INFO are (``cli.be_quiet``).
"""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TypeVar

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0

T = TypeVar("T")
log = logging.getLogger(__name__)


class Count:
    """Counts blocks to ``total`` while entered; ``task`` says what is done."""

    def __init__(self, task: str, total: int) -> None:
        self._task, self._total = task, total
        self._done = 0
        has_bar = sys.stderr.isatty() and log.isEnabledFor(logging.INFO)
        self._bar = tqdm(total=total, desc=task, unit="block") if has_bar else None
        self._said = time.monotonic()

    def __enter__(self) -> "Count":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self) -> None:
        """One more is done."""
        self._done += 1
        if self._bar is not None:
            self._bar.update()
        elif time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            log.info("%s: %d of %d blocks", self._task, self._done, self._total)


def counted(items: Sequence[T], task: str) -> Iterator[T]:
    """The items, each counted when the next one is asked for."""
    with Count(task, len(items)) as count:
        for item in items:
            yield item
            count.update()
