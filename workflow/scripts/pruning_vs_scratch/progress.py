"""How far a run of the workflow is, and about how long it will still take, from Snakemake's own messages."""

import re
import time
from collections.abc import Callable

from pruning_vs_scratch.study import Study

START_SECONDS = 6.0
"""Start of a process that imports torch and transformers."""
FLOPS_PER_SECOND = 30e9
"""First guess of one core's speed; what is left is rescaled by the time that was really taken."""
EVALUATION_SECONDS = 4.0
"""First guess of the evaluation of one checkpoint."""
OTHER_SECONDS = 1.5
SECONDS_BETWEEN_LINES = 10.0

JOB = re.compile(r"^Job (\d+): (.*)$")
FINISHED = re.compile(r"^Finished jobid: (\d+) ")
COUNT = re.compile(r"^(\d+) of (\d+) steps")


def job_seconds(study: Study) -> dict[str, float]:
    """First guess of the seconds of each long job, by the message that Snakemake shows for it."""
    seconds = {}
    for name in study.trained_runs:
        seconds[f"Train {name}"] = START_SECONDS + study.training_flops(name) / FLOPS_PER_SECOND
    for name in study.pruned_runs:
        seconds[f"Prune {name}"] = START_SECONDS
    for group, runs in study.evaluation_groups.items():
        seconds[f"Evaluate the checkpoints of {group}"] = START_SECONDS + EVALUATION_SECONDS * len(runs)
    return seconds


class Progress:
    """Reads Snakemake's output line by line; ``feed`` now and then returns a line for the user."""

    def __init__(
        self, expected: dict[str, float], pending: set[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.expected = expected
        self.total = sum(expected[message] for message in pending)
        self.done = 0.0
        self._pending = len(pending)
        self.running: dict[str, str] = {}
        self.nothing_to_do = False
        self._clock = clock
        self._start = clock()
        self._shown = float("-inf")
        self._steps = ""

    def feed(self, line: str) -> str | None:
        """Take one line of Snakemake's output."""
        if "Nothing to be done" in line:
            self.nothing_to_do = True
        elif job := JOB.match(line):
            self.running[job[1]] = job[2]
        elif finished := FINISHED.match(line):
            self.done += self.expected.get(self.running.pop(finished[1], ""), OTHER_SECONDS)
        elif count := COUNT.match(line):
            self._steps = f"{count[1]} of {count[2]} steps"
            return self._status(others=int(count[2]) - self._pending)
        return None

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def _status(self, others: int) -> str | None:
        if self.elapsed - self._shown < SECONDS_BETWEEN_LINES:
            return None
        self._shown = self.elapsed
        now = "; ".join(list(self.running.values())[:2])
        return f"[{_minutes(self.elapsed)}] {self._steps}{self._left(others)}  {now}"

    def _left(self, others: int) -> str:
        """The time left, once a tenth is done: before, the guess is worth nothing."""
        total = self.total + OTHER_SECONDS * others
        if self.done < 0.1 * total:
            return ""
        seconds = self.elapsed * max(0.0, total - self.done) / self.done
        return f", about {_minutes(seconds)} left"


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
