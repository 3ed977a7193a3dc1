"""Locks of dead and of living Snakemakes, jobs left behind, Ctrl-C, and how the end of Snakemake is worded."""

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pruning_vs_scratch.supervisor.home import variables_for_home
from pruning_vs_scratch.supervisor.living import abandoned_jobs, end, snakemakes
from pruning_vs_scratch.supervisor.locks import LOCK, CutShort, holder, lock_files, only_one_run, remove_stale_locks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")

LOCKED = ".snakemake/locks/0.input.lock"
WAIT = "import sys, time; print('begun', flush=True); time.sleep(60)"
STUDY = """
import sys, os
from pruning_vs_scratch import cli
from pruning_vs_scratch.progress import Progress
from pruning_vs_scratch.supervisor.locks import CutShort, only_one_run
from pruning_vs_scratch.supervisor.snakemake import interrupt_once, run_snakemake

def say(text):
    print(text, flush=True)

def main():
    interrupt_once()
    try:
        with only_one_run(say) as (lock, _):
            run_snakemake([sys.executable, "snakemake", *sys.argv[1:]], lock, {}, Progress({}, []), say)
    except KeyboardInterrupt:
        raise CutShort("stopped early") from None

cli.run(main)
"""
"""A study whose Snakemake is the script of that name in its folder."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a script called snakemake that waits, and locks of Snakemake."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "snakemake").write_text(WAIT)
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    (tmp_path / LOCKED).write_text("a.txt\n")
    return tmp_path


@contextmanager
def running(*arguments: str, code: str | None = None, **options: object) -> Iterator[subprocess.Popen[str]]:
    """A process of Python that has begun."""
    command = [sys.executable, *(["-c", code] if code else []), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]
    assert process.stdout.readline() == "begun\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def log_of(folder: Path, host: str) -> None:
    """A log of Snakemake that was begun on a host."""
    (folder / ".snakemake/log").mkdir()
    (folder / ".snakemake/log/1.snakemake.log").write_text(f"SNAKEMAKE\n  Date: today\n  Host: {host}\n  User: me\n")


def test_locks_without_a_holder_are_removed(folder: Path) -> None:
    log_of(folder, platform.node())
    assert remove_stale_locks(was_killed=False)
    assert lock_files() == []
    assert not remove_stale_locks(was_killed=False)


@pytest.mark.parametrize("was_killed", [False, True])
def test_the_locks_of_a_living_snakemake_stay(folder: Path, was_killed: bool) -> None:
    with running("snakemake", "--cores", "1") as process:
        assert not remove_stale_locks(was_killed)
        assert [str(file) for file in lock_files()] == [LOCKED]
        assert f"process {process.pid} ({sys.executable} snakemake --cores 1) works on it" in str(holder(was_killed))
    assert remove_stale_locks(was_killed)


def test_a_snakemake_that_locks_nothing_here_holds_no_lock(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    script = str(folder / "snakemake")
    with running(script, "-n"), running(script, "--nolock"), running(script, cwd=tmp_path / "elsewhere"):
        assert snakemakes(folder) == []
        assert len(snakemakes(tmp_path / "elsewhere")) == 1
        assert remove_stale_locks(was_killed=False)


def test_locks_of_another_machine_stay_unless_its_run_is_known_to_have_ended(folder: Path) -> None:
    log_of(folder, "login2")
    assert not remove_stale_locks(was_killed=False)
    assert "a Snakemake on login2 locked it: if none runs there any more, call snakemake --unlock" in str(holder(False))
    assert remove_stale_locks(was_killed=True)


def test_a_run_reports_whether_the_previous_one_was_cut_short(folder: Path) -> None:
    for error, expected in ((None, False), (ValueError(), False), (CutShort(), False), (None, True), (None, False)):
        try:
            with only_one_run(print) as (_, was_killed):
                assert was_killed == expected
                if error:
                    raise error
        except type(error or ValueError()):
            pass
    LOCK.write_text("running")  # what kill -9 of the run itself leaves
    with only_one_run(print) as (_, was_killed):
        assert was_killed


def test_jobs_left_behind_are_ended_and_nothing_else(folder: Path) -> None:
    (folder / "results/study/logs").mkdir(parents=True)
    log, other = folder / "results/study/logs/job.log", folder / "my.log"
    shell = f"{sys.executable} -c {WAIT!r} 2> {log}; true"
    child = f"import subprocess; subprocess.run(['bash', '-c', {shell!r}])"
    (folder / "snakemake").write_text(child)
    with (
        log.open("w") as to_log,
        other.open("w") as to_other,
        running(code=WAIT, stderr=to_log) as job,
        running(code=WAIT, stderr=to_other),
        running(code=WAIT, stderr=to_log, cwd="/"),
        running("snakemake") as snakemake,
    ):
        assert [process.pid for process in abandoned_jobs(folder)] == [job.pid]
        below = psutil.Process(snakemake.pid).children(recursive=True)
        snakemake.kill()
        snakemake.wait()
        found = abandoned_jobs(folder)
        assert {process.pid for process in found} == {job.pid, below[-1].pid}
        end(found)
        _, alive = psutil.wait_procs([*found, *below], timeout=5)
        assert [process for process in alive if process.pid != job.pid] == []  # that one waits for its parent
        assert abandoned_jobs(folder) == []


def study(folder: Path, snakemake: str, *arguments: str) -> subprocess.Popen[str]:
    """Begin a study with such a Snakemake."""
    (folder / "snakemake").write_text(snakemake)
    return subprocess.Popen(
        [sys.executable, "-c", STUDY, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


ENDS = {
    "killed": (
        "import os; print('Job 3', flush=True); os.kill(os.getpid(), 9)",
        "Job 3\n\nthe workflow stopped: Snakemake was killed by signal 9 (SIGKILL), as the system does when memory "
        "runs out; run the same command again to resume",
    ),
    "terminated": (
        "import os; os.kill(os.getpid(), 15)",
        "the workflow stopped: Snakemake was killed by signal 15 (SIGTERM); run the same command again to resume",
    ),
    "crashed": (
        "raise SystemExit('PermissionError: no cache')",
        "PermissionError: no cache\n\nthe workflow stopped: Snakemake ended with exit code 1",
    ),
    "failed": (
        "print('Error in rule train:\\nerror: too few tokens'); raise SystemExit(1)",
        "Error in rule train:\nerror: too few tokens\n\nthe workflow stopped: too few tokens; Snakemake ended with "
        "exit code 1",
    ),
    "silent": ("raise SystemExit(3)", "the workflow stopped: Snakemake ended with exit code 3"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", ENDS)
def test_the_error_says_how_snakemake_ended(case: str, tmp_path: Path) -> None:
    code, message = ENDS[case]
    process = study(tmp_path, code)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.startswith("error: ")
    assert said.endswith(message + "\n")
    assert "Traceback" not in said


def test_a_study_that_another_snakemake_works_on_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/snakemake").write_text(WAIT)
    with running("other/snakemake", cwd=tmp_path) as other:
        process = study(tmp_path, "print('LockException:\\nuse --unlock'); raise SystemExit(1)")
        _, said = process.communicate(timeout=60)
    assert said.startswith(f"error: the study is locked: process {other.pid} (")
    assert "--unlock" not in said


def test_a_killed_snakemake_is_not_waited_for_by_its_jobs(tmp_path: Path) -> None:
    code = f"import os, subprocess; subprocess.Popen([{sys.executable!r}, '-c', {WAIT!r}]); os.kill(os.getpid(), 9)"
    start = time.monotonic()
    process = study(tmp_path, code)
    assert process.wait(timeout=50) == 1
    os.killpg(process.pid, signal.SIGKILL)
    assert time.monotonic() - start < 50


OBEDIENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("Error in rule: begun", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("Terminating processes on user request", flush=True)
    time.sleep(1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("interrupt", [os.killpg, os.kill], ids=["by the terminal", "this process alone"])
def test_two_interrupts_end_a_study_in_one_line(tmp_path: Path, interrupt: Callable[[int, int], None]) -> None:
    process = study(tmp_path, OBEDIENT)
    assert process.stdout is not None
    assert process.stdout.readline() == "a job failed; waiting for those that still run\n"
    for _ in range(2):
        interrupt(process.pid, signal.SIGINT)
        time.sleep(0.05)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said == "error: stopped; run the same command again to resume\n"
    assert (tmp_path / LOCK).read_text() == "running"


def test_places_that_cannot_be_written_are_taken_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert variables_for_home(Path("instead"), os.environ | {"XDG_CACHE_HOME": "", "MPLCONFIGDIR": ""}) == {}
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("HOME", "/dev/null")
    found = variables_for_home(tmp_path / "instead", {"MPLCONFIGDIR": str(tmp_path / "new/folder")})
    assert found == {"XDG_CACHE_HOME": str(tmp_path / "instead/.cache")}
    assert variables_for_home(tmp_path, {}).keys() == {"XDG_CACHE_HOME", "MPLCONFIGDIR"}
