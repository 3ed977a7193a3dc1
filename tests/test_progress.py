"""Progress lines from Snakemake's own words, with the time left once it can be known."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pruning_vs_scratch.progress import OTHER_SECONDS, Progress, job_seconds
from pruning_vs_scratch.study import Study

RECORDED = """\
0 Building DAG of jobs...
0 Job stats:
0 total                    4
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
EXPECTED = {"Train A": 20.0, "Train B": 20.0, "Evaluate the checkpoints of G": 20.0}


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
    progress = Progress(EXPECTED, set(EXPECTED), clock)
    whole = 60 + OTHER_SECONDS
    left = 40 * (whole - 40 - OTHER_SECONDS) / (40 + OTHER_SECONDS)
    assert list(lines(RECORDED, progress, clock)) == [
        "[0:00] starting: Write the target depth-0.5",
        f"[0:40] 3 of 4 steps, about 0:{int(left):02d} left: Evaluate the checkpoints of G",
    ]
    assert progress.elapsed == 61
    assert progress.running == {}


def test_a_line_comes_while_a_long_job_runs_and_counts_its_share(clock: Clock) -> None:
    progress = Progress(EXPECTED, set(EXPECTED), clock)
    progress.feed("Job 3: Train A")
    assert progress.due() == "[0:00] starting: Train A"
    clock.now += 9
    assert progress.due() is None
    clock.now += 1
    assert progress.due() == "[0:10] starting, about 0:50 left: Train A"


def test_a_line_names_up_to_two_running_jobs(clock: Clock) -> None:
    progress = Progress(EXPECTED, set(EXPECTED), clock)
    for number, message in enumerate(EXPECTED):
        progress.feed(f"Job {number}: {message}")
    assert progress.due() == "[0:00] starting: Train A; Train B"


def test_a_job_that_takes_longer_than_guessed_counts_no_more_than_the_guess(clock: Clock) -> None:
    progress = Progress(EXPECTED, set(EXPECTED), clock)
    progress.feed("Job 3: Train A")
    clock.now += 100
    assert progress.due() == "[1:40] starting, about 3:20 left: Train A"


def test_many_small_jobs_do_not_count_as_the_long_ones(clock: Clock) -> None:
    progress = Progress({"Train A": 10.0}, {"Train A"}, clock)
    small = [f"0 Job {n}: Other {n}\n30 Finished jobid: {n} (Rule: x)" for n in range(20)]
    recorded = "\n".join([*small, "30 20 of 21 steps (95%) done", "30 Job 99: Train A"])
    assert list(lines(recorded, progress, clock))[-1] == "[0:30] 20 of 21 steps, about 0:10 left: Train A"


def test_nothing_to_do_is_noticed(clock: Clock) -> None:
    progress = Progress({}, set(), clock)
    progress.feed("Nothing to be done (all requested files are present and up to date).")
    assert progress.nothing_to_do


def test_every_long_job_of_a_study_has_a_first_guess_by_its_message(smoke: dict) -> None:
    study = Study(smoke)
    seconds = job_seconds(study)
    assert set(seconds) == {
        *(f"Train {run}" for run in study.trained_runs),
        *(f"Prune {run}" for run in study.pruned_runs),
        *(f"Evaluate the checkpoints of {group}" for group in study.evaluation_groups),
    }
    assert seconds["Train S25.6k-depth-0.5-full-seed0"] > seconds["Train S4.1k-depth-0.5-seed0"]
