"""metrics.jsonl, with one record per step, and progress lines in the log."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import FileFacts, atomic_file, write_text
from pruning_vs_scratch.training.reporters import Reporter
from pruning_vs_scratch.training.resume import states
from pruning_vs_scratch.training.state_file import Damage, TrainState, read_state_file

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
SECONDS_BETWEEN_PROGRESS = 5.0


def begin_metrics(work: Path, trunk: Path | None, earlier: Path | None) -> None:
    """Begin the metrics of a run that has no state yet, with those that led to its trunk if they are given.

    Raises:
        UserError: they are not the ones saved with the trunk's state.
    """
    if states(work):
        return
    if earlier is None or trunk is None:
        write_text(work / METRICS_FILE, "")
        return
    content = earlier.read_bytes()
    if not _are(content, _recorded_in(trunk)):
        raise UserError(
            f"{earlier} does not hold the metrics that led to {trunk}: give the file written with that state"
        )
    _write(work / METRICS_FILE, content)


class Metrics:
    """Appends records to a file that survives a kill; a resumed run drops what follows its state.

    Raises:
        UserError: records from before the state are missing.
    """

    def __init__(self, path: Path, run: str, steps: int, state: TrainState, reporters: Sequence[Reporter] = ()) -> None:
        self.path = path
        self._reporters = reporters
        self.run = run
        self.steps = steps
        self._first = state.step
        self._start = self._shown = time.monotonic()
        self._keep_until(state)

    def add(self, record: dict[str, Any]) -> None:
        """Append the record of a step and, from time to time, log the progress."""
        self._append(record)
        now = time.monotonic()
        if now - self._shown >= SECONDS_BETWEEN_PROGRESS or record["step"] == self.steps:
            self._shown = now
            self._show(record, now - self._start)

    def add_validation(self, step: int, loss: float) -> None:
        """Append a validation loss."""
        self._append({"step": step, "validation_loss": loss})
        log.info("%s  step %d/%d  validation loss %.4f", self.run, step, self.steps, loss)

    def saved(self) -> FileFacts:
        """Flush all records to disk before a state is saved with them."""
        with self.path.open("rb") as stream:
            os.fsync(stream.fileno())
            return _facts(stream.read())

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

    def _keep_until(self, state: TrainState) -> None:
        """Drop what was recorded after a state: steps, a line cut short by a kill, the final validation."""
        content = self.path.read_bytes() if self.path.exists() else b""
        if state.step == 0:
            kept = b""
        elif state.metrics is None:  # it starts from a trunk
            kept = content
        else:
            kept = content[: state.metrics["bytes"]]
        if not _are(kept, state.metrics):
            raise UserError(
                f"{self.path} lacks records of the first {state.step} steps, or was changed since the state of that "
                f"step was saved: delete {self.path.parent} and run again; training begins again"
            )
        lines = kept.splitlines(keepends=True)
        while lines and self._is_of_the_end(lines[-1]):
            lines.pop()
        _write(self.path, b"".join(lines))

    def _is_of_the_end(self, line: bytes) -> bool:
        """Whether a line is the validation that ends every attempt."""
        record = json.loads(line)
        return "validation_loss" in record and record["step"] == self.steps


def _are(content: bytes, facts: FileFacts | None) -> bool:
    """Whether metrics are those saved with a state; a state of an earlier version does not record them."""
    return facts is None or facts == _facts(content)


def _facts(content: bytes) -> FileFacts:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _write(path: Path, content: bytes) -> None:
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def _recorded_in(trunk: Path) -> FileFacts | None:
    """The metrics saved with the state of a trunk. Damage to that state is reported when it is loaded."""
    try:
        return read_state_file(trunk).metrics
    except Damage:
        return None
