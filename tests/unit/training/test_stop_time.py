"""A step in a SLURM job stops before the job's end, and a stop signal takes precedence."""

import os
import signal
import time

import pytest

from pruning_vs_scratch.cluster import slurm
from pruning_vs_scratch.training.interrupt import StopRequest


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a job on a node without SLURM's commands."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("PATH", "")
    return monkeypatch


@pytest.mark.parametrize(("left", "before"), [(100.0, 10.0), (86_400.0, 600.0), (-5.0, 0.0)])
def test_a_job_stops_a_tenth_of_its_time_before_its_end(job: pytest.MonkeyPatch, left: float, before: float) -> None:
    end = int(time.time() + left)
    job.setenv("SLURM_JOB_END_TIME", str(end))
    assert slurm.stop_time() == pytest.approx(end - before, abs=1)


def test_outside_of_a_job_nothing_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert slurm.stop_time() is None
    with StopRequest(slurm.stop_time()) as stop:
        assert stop.reason is None


def test_a_job_without_a_limit_does_not_stop(job: pytest.MonkeyPatch) -> None:
    job.delenv("SLURM_JOB_END_TIME", raising=False)
    assert slurm.stop_time() is None


def test_the_end_of_the_time_requests_a_stop() -> None:
    with StopRequest(time.time() + 0.05) as stop:
        assert stop.reason is None
        time.sleep(0.1)
        assert stop.reason == "the end of the job's time"
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.reason == "SIGUSR1"
