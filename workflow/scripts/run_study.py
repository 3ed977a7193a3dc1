"""Run a study on this machine or a cluster: progress with the time left, then the report and a summary.

A run that was interrupted, even by kill -9, goes on where it stopped.
"""

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.progress import START_SECONDS, WARM_START_SECONDS, Progress, job_seconds
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.supervisor.home import variables_for_home
from pruning_vs_scratch.supervisor.locks import STATE, CutShort, only_one_run, remove_stale_locks
from pruning_vs_scratch.supervisor.snakemake import end_abandoned_jobs, interrupt_once, run_snakemake
from pruning_vs_scratch.warm.start import warm_interpreter

SOCKET = STATE / "warm_interpreter.sock"
STYLESHEET = Path("workflow/report/report.css")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, action="append", default=[], help="overlay of config/config.yaml")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--cores", type=int, default=os.cpu_count(), help="CPU cores of this machine (default: all)")
    place.add_argument("--profile", help="profile of Snakemake to run the jobs elsewhere, such as slurm")
    args = parser.parse_args()
    interrupt_once()
    try:
        _run(args)
    except KeyboardInterrupt:
        raise CutShort("stopped; run the same command again to resume") from None


def _run(args: argparse.Namespace) -> None:
    """Run the study, and make its report and summary."""
    os.environ.update(variables_for_home(STATE / "home", os.environ))
    study = Study(load_config([Path("config/config.yaml"), *args.configfile]).model_dump(mode="json"))
    with only_one_run(_say) as (lock, was_killed):
        place = ["--profile", args.profile] if args.profile else ["--cores", str(args.cores)]
        snakemake = [sys.executable, "-m", "snakemake", *place, "--rerun-incomplete"]
        if args.configfile:
            snakemake += ["--configfile", *map(str, args.configfile)]
        end_abandoned_jobs(_say)
        if remove_stale_locks(was_killed):
            _say("an earlier run was killed; going on where it stopped")
        # Jobs of other machines are out of its reach, and those of several threads start Python themselves.
        is_warm = not args.profile and _threads(study) == 1
        with warm_interpreter(SOCKET) if is_warm else contextlib.nullcontext({}) as variables:
            start = WARM_START_SECONDS if variables else START_SECONDS
            progress = _progress(study, start, None if args.profile else args.cores)
            _say(f"study {study.name}: {len(study.runs)} models, {len(study.pairs)} matched pairs")
            run_snakemake([*snakemake, "--show-failed-logs"], lock, variables, progress, _say)
        report = study.paths.results / "report.html"
        if _is_older(report, study):
            _write_report(snakemake, report)
    if warning := (study.paths.logs / "tabulate.log").read_text(encoding="utf-8"):
        _say(warning.rstrip())
    _summarise(study, report, None if progress.nothing_to_do else progress.elapsed)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


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
