"""Run a study on this machine or a cluster: progress with the time left, then the report and a summary.

A run that was interrupted, even by kill -9, goes on where it stopped.
"""

import argparse
import contextlib
import fcntl
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.processes import signal_when_parent_ends
from pruning_vs_scratch.progress import START_SECONDS, WARM_START_SECONDS, Progress, job_seconds
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.warm.start import warm_interpreter

STATE = Path(".snakemake")
LOCK = STATE / "run_study.lock"
SOCKET = STATE / "warm_interpreter.sock"
SECONDS_TO_WAIT_FOR_AN_EARLIER_RUN = 60
ERROR_MARKS = ("Error in rule", "RuleException", "WorkflowError", "LockException", "Exception in", "Error in file")
STYLESHEET = Path("workflow/report/report.css")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, action="append", default=[], help="overlay of config/config.yaml")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--cores", type=int, default=os.cpu_count(), help="CPU cores of this machine (default: all)")
    place.add_argument("--profile", help="profile of Snakemake to run the jobs elsewhere, such as slurm")
    args = parser.parse_args()

    study = Study(load_config([Path("config/config.yaml"), *args.configfile]).model_dump(mode="json"))
    with _only_one_run() as (lock, was_killed):
        place = ["--profile", args.profile] if args.profile else ["--cores", str(args.cores)]
        snakemake = [sys.executable, "-m", "snakemake", *place, "--rerun-incomplete"]
        if args.configfile:
            snakemake += ["--configfile", *map(str, args.configfile)]
        if was_killed and any((STATE / "locks").glob("*")):
            _say("an earlier run was killed; going on where it stopped")
            subprocess.run([*snakemake, "--unlock"], check=True, capture_output=True)
        # Jobs of other machines are out of its reach, and those of several threads start Python themselves.
        is_warm = not args.profile and _threads(study) == 1
        with warm_interpreter(SOCKET) if is_warm else contextlib.nullcontext({}) as variables:
            start = WARM_START_SECONDS if variables else START_SECONDS
            progress = _progress(study, start, None if args.profile else args.cores)
            _run([*snakemake, "--show-failed-logs"], study, lock, variables, progress)
        report = study.paths.results / "report.html"
        if _is_older(report, study):
            _write_report(snakemake, report)
    if warning := (study.paths.logs / "tabulate.log").read_text(encoding="utf-8"):
        _say(warning.rstrip())
    _summarise(study, report, None if progress.nothing_to_do else progress.elapsed)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def _only_one_run() -> Iterator[tuple[TextIO, bool]]:
    """Hold the folder's lock; says whether the holder before was killed. Snakemake itself inherits the lock."""
    STATE.mkdir(exist_ok=True)
    with LOCK.open("a+", encoding="utf-8") as lock:
        _acquire(lock)
        lock.seek(0)
        was_killed = lock.read() == "running"
        _mark(lock, "running")
        try:
            yield lock, was_killed
        finally:
            _mark(lock, "")


def _mark(lock: TextIO, state: str) -> None:
    lock.seek(0)
    lock.truncate()
    lock.write(state)
    lock.flush()


def _acquire(lock: TextIO) -> None:
    deadline = time.monotonic() + SECONDS_TO_WAIT_FOR_AN_EARLIER_RUN
    said = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise UserError("another run is going on in this folder; wait for it, or stop it first") from None
            if not said:
                _say("another run is going on or being stopped in this folder; waiting for it")
                said = True
            time.sleep(0.5)


def _threads(study: Study) -> int:
    """Threads of a training job."""
    return study.config.training.threads * study.config.training.processes


def _progress(study: Study, start: float, cores: int | None) -> Progress:
    """What is to be done, on so many cores of this machine or elsewhere; a step takes so many seconds to start."""
    made = [run for run in study.recorded_runs if study.paths.manifest(run).exists()]
    done = {f"{verb} {run}" for run in made for verb in ("Train", "Prune")}
    done |= {
        f"Evaluate the checkpoints of {group}"
        for group in study.evaluation_groups
        if (study.paths.evaluation / group).exists()
    }
    guesses = job_seconds(study, start)
    return Progress(guesses, set(guesses) - done, None if cores is None else max(1, cores // _threads(study)))


def _run(command: Sequence[str], study: Study, lock: TextIO, variables: Mapping[str, str], progress: Progress) -> None:
    """Run Snakemake and show its progress.

    Raises:
        UserError: a job failed; holds Snakemake's own words about it.
    """
    _say(f"study {study.name}: {len(study.runs)} models, {len(study.pairs)} matched pairs")
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=[lock.fileno()],
        env=os.environ | variables,
        # As Ctrl-C would.
        preexec_fn=partial(signal_when_parent_ends, signal.SIGINT),
    )
    errors: list[str] = []
    try:
        for line in _lines(process):
            if not errors and any(mark in line for mark in ERROR_MARKS):
                _say("a job failed; waiting for those that still run")
                errors.append("")
            if errors and line:
                errors.append(line)
            progress.feed(line)
            if shown := progress.due():
                _say(shown)
    except KeyboardInterrupt:
        process.wait()
        raise UserError("stopped; run the same command again to go on") from None
    if process.wait() != 0:
        reasons = [line.removeprefix("error: ") for line in errors if line.startswith("error: ")]
        raise UserError("\n".join([*errors, "", "the workflow stopped: " + "; ".join(dict.fromkeys(reasons))]))


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """Lines of a process's output as they come, and an empty one a second while none does."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line.rstrip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=1)
        except queue.Empty:
            yield ""
            continue
        if line is None:
            return
        yield line


def _is_older(report: Path, study: Study) -> bool:
    """Whether the report is missing, or was made before a figure or page."""
    if not report.exists():
        return True
    shown = (*study.paths.figures.glob("*.png"), *study.paths.pages.glob("*.html"))
    return any(file.stat().st_mtime > report.stat().st_mtime for file in shown)


def _write_report(snakemake: Sequence[str], report: Path) -> None:
    """Let Snakemake make the report; it takes its name when it is complete."""
    temporary = report.with_name("report.tmp.html")
    command = [*snakemake, "--report", str(temporary), "--report-stylesheet", str(STYLESHEET)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode:
        raise UserError(f"the results are complete, but the report failed:\n{result.stdout}")
    os.replace(temporary, report)


def _summarise(study: Study, report: Path, seconds: float | None) -> None:
    if seconds is None:
        _say(f"study {study.name} is up to date: nothing to be done")
    script = Path(__file__).with_name("summarise.py")
    command = [sys.executable, str(script), "--tables", str(study.paths.tables)]
    command += ["--times", str(study.paths.results / "times.csv")]
    command += ["--claims", str(study.paths.results / "claims.json"), "--figures", str(study.paths.figures)]
    command += ["--report", str(report)] + ([f"--seconds={seconds:.0f}"] if seconds is not None else [])
    subprocess.run(command, check=True)


if __name__ == "__main__":
    cli.run(main)
