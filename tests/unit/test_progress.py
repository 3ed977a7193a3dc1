"""Progress lines from Snakemake's own words, with the time left once it can be known."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.progress import Progress, job_seconds
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.time_left import LEAST_SHARE, OTHER_SECONDS, REPORT_SECONDS, Guess, TimeLeft

RECORDED = """\
0 Building DAG of jobs...
0 Job stats:
0 job         count
0 --------  -------
0 target          1
0 train           2
0 evaluate        1
0 total           4
0 Select jobs to execute...
0 Execute 1 jobs...
0 [Sun Nov 22 03:03:54 2026]
0 Job 10: Write the target depth-0.5
0 Reason: Missing output files: results/demo/targets/depth-0.5.json
0 [Sun Nov 22 03:03:54 2026]
1 Finished jobid: 10 (Rule: target)
1 1 of 4 steps (25%) done
1 Job 3: Train A
1 Job 4: Train B
5 Finished jobid: 3 (Rule: train)
5 2 of 4 steps (50%) done
21 Finished jobid: 4 (Rule: train)
21 3 of 4 steps (75%) done
40 Job 5: Evaluate the checkpoints of G
61 Finished jobid: 5 (Rule: evaluate)
61 4 of 4 steps (100%) done
"""
A, B, G = "Train A", "Train B", "Evaluate the checkpoints of G"
GUESSES = {A: Guess("train", 20.0), B: Guess("train", 20.0), G: Guess("evaluate", 20.0)}
RECORDED_DEMO = REPOSITORY / "tests/support/recorded_demo.tsv"
"""When each job of an earlier demo began and ended, in seconds, with its rule and message, from Snakemake's own log,
and the first guess of each long job. It ran on two cores without a warm interpreter, with a job for each figure."""


@dataclass
class Clock:
    """A clock that is set by hand."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def lines(recorded: str, progress: Progress, clock: Clock) -> Iterator[str]:
    start = clock.now
    for entry in recorded.splitlines():
        seconds, line = entry.split(" ", 1)
        clock.now = start + float(seconds)
        progress.feed(line)
        if shown := progress.due():
            yield shown


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_recorded_run_gives_these_lines(clock: Clock) -> None:
    progress = Progress(GUESSES, GUESSES, 2, clock)
    shown = list(lines(RECORDED, progress, clock))
    assert shown[0] == "[0:00] starting: Write the target depth-0.5"
    assert [line.partition(", about ")[0] for line in shown[1:]] == ["[0:40] 3 of 4 steps"]
    assert shown[-1].endswith(f" left: {G}")
    assert progress.elapsed == 61
    assert progress.time_left.running == {}


def test_a_line_comes_every_ten_seconds_and_names_up_to_two_running_jobs(clock: Clock) -> None:
    progress = Progress(GUESSES, GUESSES, 2, clock)
    progress.feed("train  2")
    for number, message in enumerate(GUESSES):
        progress.feed(f"Job {number}: {message}")
    assert progress.due() == "[0:00] starting: Train A; Train B"
    clock.now += 9
    assert progress.due() is None
    clock.now += 1
    # Three jobs have ten seconds left, on two slots.
    assert progress.due() == f"[0:10] starting, about 0:{15 + REPORT_SECONDS:02.0f} left: Train A; Train B"


def test_nothing_to_do_is_noticed(clock: Clock) -> None:
    progress = Progress({}, set(), 2, clock)
    progress.feed("Nothing to be done (all requested files are present and up to date).")
    assert progress.nothing_to_do


def time_left(slots: int | None = 2, **jobs: int) -> TimeLeft:
    """The time left of a run with a number of jobs of each rule."""
    left = TimeLeft(GUESSES, GUESSES, slots)
    for rule, number in jobs.items():
        left.plan(rule, number)
    return left


def test_jobs_run_in_parallel_except_those_that_run_alone() -> None:
    left = time_left(train=2, evaluate=1, make_task_items=4, measure_speed=1, tabulate=1)
    left.start("1", A, 0.0)
    beside, alone = 10.0 + 20.0 + 20.0 + 4 * OTHER_SECONDS, 12.0 + 2.0
    assert left.seconds(10.0) == pytest.approx(beside / 2 + alone + REPORT_SECONDS)


def test_the_longest_job_counts_in_full() -> None:
    left = time_left(slots=8, train=2, evaluate=1)
    left.start("1", A, 0.0)
    assert left.seconds(10.0) == pytest.approx(20.0 + REPORT_SECONDS)


def test_elsewhere_as_many_jobs_run_at_a_time_as_were_seen() -> None:
    left = time_left(slots=None, train=2, evaluate=1)
    left.start("1", A, 0.0)
    alone = left.seconds(10.0)
    left.start("2", B, 10.0)
    both = left.seconds(10.0)
    assert (alone, both) == (pytest.approx(50.0 + REPORT_SECONDS), pytest.approx(25.0 + REPORT_SECONDS))


def test_a_guess_is_corrected_by_the_jobs_of_its_rule_and_the_first_one_by_all() -> None:
    left = time_left(slots=1, train=2, evaluate=1, publish_tables=10)
    left.start("1", A, 0.0)
    left.finish("1", "train", 60.0)
    pace = (60 + 5) / (20 + 5)
    trained = (60 + 5 * pace) / (20 + 5)
    assert left.seconds(60.0) == pytest.approx(20 * trained + (20 + 10 * 2.0) * pace + REPORT_SECONDS)
    for number in range(9):
        left.start(f"table {number}", f"Write the table {number}", 60.0)
        left.finish(f"table {number}", "publish_tables", 60.5)
    nine = left.seconds(60.0)
    assert nine is not None and nine < 20 * trained + 20 * pace + 1.5 * pace + REPORT_SECONDS


def test_a_job_that_takes_longer_than_expected_is_not_taken_for_done() -> None:
    left = time_left(train=1)
    left.start("1", A, 0.0)
    assert left.seconds(100.0) == pytest.approx(max(LEAST_SHARE * 20, 20) + REPORT_SECONDS)


def test_only_what_is_planned_counts() -> None:
    """Snakemake may run again what has a manifest already, and a target may leave something out."""
    left = TimeLeft(GUESSES, [], 1)
    left.plan("train", 2)
    left.plan("evaluate", 0)
    left.start("1", A, 0.0)
    assert left.seconds(10.0) == pytest.approx(10.0 + 20.0 + REPORT_SECONDS)


def test_before_a_twentieth_is_done_nothing_is_said() -> None:
    left = time_left(train=2, evaluate=1)
    left.start("1", A, 0.0)
    assert left.seconds(2.0) is None
    assert left.seconds(4.0) is not None


def test_the_time_left_of_a_recorded_demo_is_right_over_its_second_half(clock: Clock) -> None:
    """Within 20 %, or 25 seconds at the end; the truth is the end of the last job and the report."""
    with RECORDED_DEMO.open(encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    jobs = [(float(start), float(end), rule, message) for start, end, rule, message, _ in rows]
    guesses = {message: Guess(rule, float(seconds)) for _, _, rule, message, seconds in rows if seconds}
    progress = Progress(guesses, guesses, 2, clock)
    for rule, number in Counter(rule for _, _, rule, _ in jobs).items():
        progress.feed(f"{rule}  {number}")
    begun = [(start, 1, f"Job {i}: {message}") for i, (start, _, _, message) in enumerate(jobs)]
    ended = [(end, 0, f"Finished jobid: {i} (Rule: {rule})") for i, (_, end, rule, _) in enumerate(jobs)]
    end, origin = max(end for _, end, _, _ in jobs) + REPORT_SECONDS, clock.now
    wrong = {}
    for moment, _, line in sorted(begun + ended):
        clock.now = origin + moment
        progress.feed(line)
        told, true = progress.time_left.seconds(clock.now), end - moment
        if moment > end / 2 and (told is None or abs(told - true) > max(0.2 * true, 25)):
            wrong[moment] = (told, true)
    assert wrong == {}


def test_every_long_job_of_a_study_has_a_first_guess_by_its_message(smoke: dict) -> None:
    study = Study(smoke)
    guesses = job_seconds(study)
    assert set(guesses) == {
        *(f"Train {run}" for run in study.trained_runs),
        *(f"Prune {run}" for run in study.pruned_runs),
        *(f"Score {run} for {method}" for run, method in study.scorings),
        *(f"Evaluate the checkpoints of {group}" for group in study.evaluation_groups),
    }
    assert guesses["Train S25.6k-depth-0.5-full-seed0"].seconds > guesses["Train S4.1k-depth-0.5-seed0"].seconds
