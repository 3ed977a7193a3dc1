"""About how long a run of the workflow will still take, from what the jobs of each rule have taken so far."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean

OTHER_SECONDS = 1.5
RULE_SECONDS = {
    "extract_documents": 2.5, "train_tokenizer": 4.0, "measure_speed": 12.0, "tabulate": 2.0, "state_claims": 3.0,
    "publish_tables": 2.0, "draw_figures": 12.0, "target": 0.5, "check_text": 0.5, "write_page": 0.2, "all": 0.0,
    "write_report": 3.0,
}  # fmt: skip
"""First guesses for rules whose jobs are alike; OTHER_SECONDS for the rest."""
ALONE = ("measure_speed", "tabulate", "state_claims", "draw_figures", "write_report")
"""Rules of a single job that no long job runs in parallel with."""
REPORT_SECONDS = 8.0
"""Snakemake's report and the summary, when all jobs are done."""
GUESSED_SECONDS = 5.0
"""What the jobs of a rule have taken counts as much as their first guesses after so many seconds."""
LEAST_SHARE = 0.1
"""Of its expected time, what is left of a job that takes longer."""


@dataclass(frozen=True)
class Guess:
    """A job that is known before it starts."""

    rule: str
    seconds: float


@dataclass(frozen=True)
class Running:
    """A job that has started."""

    message: str
    start: float


class TimeLeft:
    """Corrects first guesses, rule by rule, by the time that finished jobs took; what no job shows, by all others.

    ``slots`` is how many of the long jobs run at a time; None if that is to be seen.
    """

    def __init__(self, guesses: Mapping[str, Guess], pending: Iterable[str], slots: int | None) -> None:
        self.running: dict[str, Running] = {}
        """By Snakemake's number of the job."""
        self._guesses = guesses
        self._pending = set(pending)
        self._slots = slots or 1
        self._sees_slots = slots is None
        self._planned: Counter[str] = Counter()
        self._finished: Counter[str] = Counter()
        self._taken: defaultdict[str, float] = defaultdict(float)
        """Seconds by rule."""
        self._guessed: defaultdict[str, float] = defaultdict(float)
        """First guesses of the same jobs."""

    def plan(self, rule: str, jobs: int) -> None:
        """Take note of how many jobs of a rule there are."""
        self._planned[rule] = jobs

    def start(self, number: str, message: str, now: float) -> None:
        """Take note of a job that starts."""
        self._pending.discard(message)
        self.running[number] = Running(message, now)
        if self._sees_slots:
            self._slots = max(self._slots, len(self.running))

    def finish(self, number: str, rule: str, now: float) -> None:
        """Take note of a job that has ended."""
        self._finished[rule] += 1
        if (job := self.running.pop(number, None)) is not None:
            guess = self._guesses.get(job.message, _guess_of(rule))
            self._taken[guess.rule] += now - job.start
            self._guessed[guess.rule] += guess.seconds

    def seconds(self, now: float) -> float | None:
        """Seconds until the report is written; None before a twentieth is done, when the guess is worth nothing."""
        running = [
            (self._expected(self._guesses[job.message]), now - job.start)
            for job in self.running.values()
            if job.message in self._guesses
        ]
        begun = [max(expected - elapsed, LEAST_SHARE * expected) for expected, elapsed in running]
        waiting = {rule: self._waiting(rule) for rule in self._planned}
        alone = sum(waiting[rule] for rule in ALONE if rule in waiting)
        beside = sum(begun) + sum(waiting.values()) - alone
        done = sum(self._taken.values()) + sum(elapsed for _, elapsed in running)
        if done < (done + beside + alone) / 20:
            return None
        longest = max([*begun, *(self._expected(self._guesses[message]) for message in self._pending)], default=0.0)
        return max(beside / self._slots, longest) + alone + REPORT_SECONDS

    def _waiting(self, rule: str) -> float:
        """Seconds of the jobs of a rule that have not ended, but for those that run and were known before."""
        jobs = self._planned[rule] - self._finished[rule]
        known = [guess for guess in self._guesses.values() if guess.rule == rule]
        if not known:
            return jobs * self._expected(_guess_of(rule))
        jobs -= sum(self._guesses.get(job.message) in known for job in self.running.values())
        awaited = [self._guesses[message] for message in self._pending if self._guesses[message].rule == rule]
        return jobs * mean(self._expected(guess) for guess in awaited or known)

    def _expected(self, guess: Guess) -> float:
        """A first guess corrected by the jobs of its rule, and where there are few, by all."""
        pace = _ratio(sum(self._taken.values()), sum(self._guessed.values()), 1.0)
        return guess.seconds * _ratio(self._taken[guess.rule], self._guessed[guess.rule], pace)


def _guess_of(rule: str) -> Guess:
    return Guess(rule, RULE_SECONDS.get(rule, OTHER_SECONDS))


def _ratio(taken: float, guessed: float, before: float) -> float:
    """Seconds taken to seconds guessed, beginning with what was taken for it before."""
    return (taken + GUESSED_SECONDS * before) / (guessed + GUESSED_SECONDS)
