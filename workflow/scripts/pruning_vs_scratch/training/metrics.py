"""metrics.jsonl, one record a step, and a progress line for whoever reads the log."""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pruning_vs_scratch.files import write_text
from pruning_vs_scratch.training.reporters import Reporter

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
SECONDS_BETWEEN_PROGRESS = 5.0


def begin_metrics(work: Path, earlier: Path | None) -> None:
    """Open the metrics of a run that goes on from another's state with that one's; a resumed run has them already."""
    if earlier is not None and not (work / METRICS_FILE).exists():
        write_text(work / METRICS_FILE, earlier.read_text(encoding="utf-8"))


class Metrics:
    """Appends records to a file that survives a kill; a resumed run drops what came after its state."""

    def __init__(self, path: Path, run: str, steps: int, done: int, reporters: Sequence[Reporter] = ()) -> None:
        self.path = path
        self._reporters = reporters
        self.run = run
        self.steps = steps
        self._first = done
        self._start = self._shown = time.monotonic()
        self._keep_until(done)

    def add(self, record: dict[str, Any]) -> None:
        """Append the record of a step and, now and then, log the progress."""
        self._append(record)
        now = time.monotonic()
        if now - self._shown >= SECONDS_BETWEEN_PROGRESS or record["step"] == self.steps:
            self._shown = now
            self._show(record, now - self._start)

    def add_validation(self, step: int, loss: float) -> None:
        """Append a validation loss."""
        self._append({"step": step, "validation_loss": loss})
        log.info("%s  step %d/%d  validation loss %.4f", self.run, step, self.steps, loss)

    def _append(self, record: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
        for reporter in self._reporters:
            reporter.add(record)

    def _show(self, record: dict[str, Any], elapsed: float) -> None:
        done = record["step"]
        remaining = elapsed / max(1, done - self._first) * (self.steps - done)
        log.info(
            "%s  step %d/%d  loss %.3f  %.0f tokens/s  %.0f s left",
            self.run, done, self.steps, record["loss"], record["tokens_per_second"], remaining,
        )  # fmt: skip

    def _keep_until(self, done: int) -> None:
        """Drop records after a step, a last line that a kill cut short, and the validation that ends every attempt."""
        kept = []
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").split("\n")[:-1]
            kept = [line for line in lines if self._is_before(json.loads(line), done)]
        write_text(self.path, "".join(f"{line}\n" for line in kept))

    def _is_before(self, record: dict[str, Any], done: int) -> bool:
        is_last_validation = "validation_loss" in record and record["step"] == self.steps
        return record["step"] <= done and not is_last_validation
