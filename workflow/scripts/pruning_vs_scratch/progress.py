"""How far a run of the workflow is, and about how long it will still take, from Snakemake's own messages."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

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
    for name in [*study.trained_runs, *study.trunks, *study.tried_runs]:
        seconds[f"Train {name}"] = START_SECONDS + study.training_flops(name) / FLOPS_PER_SECOND
    for name in [*study.pruned_runs, *study.pruned_candidates]:
        seconds[f"Prune {name}"] = START_SECONDS
    for group, runs in study.evaluation_groups.items():
        seconds[f"Evaluate the checkpoints of {group}"] = START_SECONDS + EVALUATION_SECONDS * len(runs)
    return seconds


@dataclass(frozen=True)
class RunningJob:
    """A job that Snakemake has started."""

    message: str
    start: float


class Progress:
    """Reads Snakemake's output line by line, and words how far it is."""

    def __init__(
        self, expected: dict[str, float], pending: set[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.expected = expected
        self.running: dict[str, RunningJob] = {}
        self.nothing_to_do = False
        self._total = sum(expected[message] for message in pending)
        self._pending = len(pending)
        self._others = 0
        self._done = 0.0
        self._clock = clock
        self._start = clock()
        self._shown = float("-inf")
        self._steps = "starting"

    def feed(self, line: str) -> None:
        """Take one line of Snakemake's output."""
        if "Nothing to be done" in line:
            self.nothing_to_do = True
        elif job := JOB.match(line):
            self.running[job[1]] = RunningJob(job[2], self._clock())
        elif (finished := FINISHED.match(line)) and finished[1] in self.running:
            self._done += self._seconds(self.running.pop(finished[1]))
        elif count := COUNT.match(line):
            self._steps = f"{count[1]} of {count[2]} steps"
            self._others = int(count[2]) - self._pending

    def due(self) -> str | None:
        """A line for the user, if the last one is old enough."""
        if not self.running or self.elapsed - self._shown < SECONDS_BETWEEN_LINES:
            return None
        self._shown = self.elapsed
        now = "; ".join(job.message for job in list(self.running.values())[:2])
        return f"[{_minutes(self.elapsed)}] {self._steps}{self._left()}: {now}"

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def _seconds(self, job: RunningJob) -> float:
        return self.expected.get(job.message, OTHER_SECONDS)

    def _left(self) -> str:
        """The time left, once a twentieth is done: before, the guess is worth nothing."""
        total = self._total + OTHER_SECONDS * self._others
        begun = sum(min(self._clock() - job.start, self._seconds(job)) for job in self.running.values())
        done = self._done + begun
        if done < 0.05 * total:
            return ""
        return f", about {_minutes(self.elapsed * max(0.0, total - done) / done)} left"


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
