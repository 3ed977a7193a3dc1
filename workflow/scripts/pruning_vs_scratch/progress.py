"""How far a run of the workflow is, and about how long it will still take, from Snakemake's own messages."""

import re
import time
from collections.abc import Callable, Iterable, Mapping

from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.priority import training_flops
from pruning_vs_scratch.time_left import Guess, TimeLeft

START_SECONDS = 6.0
"""Start of a process that imports torch and transformers."""
WARM_START_SECONDS = 0.5
"""The same where a warm interpreter has imported them."""
FLOPS_PER_SECOND = 45e9
"""First guess of one core's speed."""
BLOCK_SECONDS = 5e-3
"""First guess of what a block takes in a step, however small it is."""
EVALUATION_SECONDS = 2.0
"""First guess of the evaluation of one checkpoint."""
SECONDS_BETWEEN_LINES = 10.0

PLANNED = re.compile(r"^(?!total)(\w+) +(\d+)$")
JOB = re.compile(r"^Job (\d+): (.*)$")
FINISHED = re.compile(r"^Finished jobid: (\d+) \(Rule: (\w+)\)")
COUNT = re.compile(r"^(\d+) of (\d+) steps")


def job_seconds(study: Study, start: float = START_SECONDS) -> dict[str, Guess]:
    """First guess of each long job, by the message that Snakemake shows for it."""
    computed = {
        "train": ("Train", study.trained_runs),
        "train_trunk": ("Train", study.trunks),
        "train_trial": ("Train", study.tried_runs),
        "prune": ("Prune", study.pruned_runs),
        "prune_candidate": ("Prune", study.pruned_candidates),
    }
    guesses = {
        f"{verb} {name}": Guess(rule, start + _training_seconds(study, name))
        for rule, (verb, names) in computed.items()
        for name in names
    }
    for run, method in study.scorings:
        guesses[f"Score {run} for {method}"] = Guess("score", start)
    for group, runs in study.evaluation_groups.items():
        seconds = start + EVALUATION_SECONDS * len(runs)
        guesses[f"Evaluate the checkpoints of {group}"] = Guess("evaluate", seconds)
    return guesses


def finished_jobs(study: Study) -> set[str]:
    """Those of the long jobs that are done, by the same messages."""
    made = [run for run in study.recorded_runs if study.paths.manifest(run).exists()]
    done = {f"{verb} {run}" for run in made for verb in ("Train", "Prune")}
    done |= {f"Score {run} for {method}" for run, method in study.scorings if study.paths.scores(run, method).exists()}
    groups = (group for group in study.evaluation_groups if (study.paths.evaluation / group).exists())
    return done | {f"Evaluate the checkpoints of {group}" for group in groups}


def _training_seconds(study: Study, name: str) -> float:
    """Of a run, or of the learning of its masks on what it is pruned from."""
    run = study.run(name)
    learning = run.pruning.training if run.pruning is not None else None
    plan, trained = (run.plan, run) if run.plan is not None else (learning, study.run(str(run.start)))
    if plan is None:
        return 0.0
    blocks = trained.target.shape.layers
    return training_flops(study.recorded_runs, name) / FLOPS_PER_SECOND + plan.steps * blocks * BLOCK_SECONDS


class Progress:
    """Reads Snakemake's output line by line, and words how far it is. ``slots`` as in ``TimeLeft``."""

    def __init__(
        self,
        guesses: Mapping[str, Guess],
        pending: Iterable[str],
        slots: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.nothing_to_do = False
        self.time_left = TimeLeft(guesses, pending, slots)
        self._clock = clock
        self._start = clock()
        self._shown = float("-inf")
        self._steps = "starting"

    def feed(self, line: str) -> None:
        """Take one line of Snakemake's output."""
        if "Nothing to be done" in line:
            self.nothing_to_do = True
        elif self._steps == "starting" and (planned := PLANNED.match(line)):
            self.time_left.plan(planned[1], int(planned[2]))
        elif job := JOB.match(line):
            self.time_left.start(job[1], job[2], self._clock())
        elif finished := FINISHED.match(line):
            self.time_left.finish(finished[1], finished[2], self._clock())
        elif count := COUNT.match(line):
            self._steps = f"{count[1]} of {count[2]} steps"

    def due(self) -> str | None:
        """A line for the user, if the last one is old enough."""
        running = list(self.time_left.running.values())
        if not running or self.elapsed - self._shown < SECONDS_BETWEEN_LINES:
            return None
        self._shown = self.elapsed
        left = self.time_left.seconds(self._clock())
        told = "" if left is None else f", about {_minutes(left)} left"
        return f"[{_minutes(self.elapsed)}] {self._steps}{told}: {'; '.join(job.message for job in running[:2])}"

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
