"""The smallest study through real Snakemake, killed on its way."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from checkouts import (
    SMOKE,
    checkout,
    results_of,
    run_study,
    snakemake,
    study_command,
)
from pruning_vs_scratch.supervisor.living import abandoned_jobs

pytestmark = pytest.mark.workflow


def test_a_study_that_is_killed_in_every_way_resumes_to_the_same_results(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    """First with all its processes, then its Snakemake alone, then a Snakemake that was started by hand."""
    folder = checkout(tmp_path / "checkout")
    shutil.copytree(finished[0] / "resources", folder / "resources")
    process = subprocess.Popen(study_command(), cwd=folder, stdout=subprocess.DEVNULL, start_new_session=True)
    wait_for(folder / "results/smoke/runs", "*/manifest.json", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    made = len(list((folder / "results/smoke/runs").glob("*/manifest.json")))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(study_command(), cwd=folder, text=True, **pipes)  # type: ignore[call-overload]
    wait_for(folder / "results/smoke/runs", "*/manifest.json", process, count=made + 1)
    [child] = [c for c in psutil.Process(process.pid).children() if "snakemake" in c.cmdline()]
    child.kill()
    printed, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "an earlier run was killed; this one resumes where it stopped" in printed
    assert "Snakemake was killed by signal 9 (SIGKILL)" in said
    assert "Traceback" not in said
    assert abandoned_jobs(folder) == []
    assert list((folder / ".snakemake/locks").iterdir())

    unlocked = snakemake(folder, *SMOKE, "--unlock")
    assert unlocked.returncode == 0, unlocked.stderr
    made = len(list((folder / "results/smoke/runs").glob("*/manifest.json")))
    by_hand = [sys.executable, "-m", "snakemake", "--cores", "2", "--rerun-incomplete", *SMOKE]
    process = subprocess.Popen(by_hand, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(folder / "results/smoke/runs", "*/manifest.json", process, count=made + 1)
    process.kill()
    process.wait()
    assert list((folder / ".snakemake/locks").iterdir())
    again = run_study(folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "an earlier run was killed; this one resumes where it stopped" in again.stdout
    assert results_of(folder) == results_of(finished[0])


def wait_for(folder: Path, pattern: str, process: subprocess.Popen, count: int = 1) -> None:
    """Wait until this many files of a pattern exist."""
    deadline = time.monotonic() + 120
    while len(list(folder.glob(pattern))) < count:
        assert process.poll() is None, "the study ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
