"""A run of a study from its first step to its reports and summary, on this machine or a cluster."""

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path

from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.errors import Unfinished, UserError
from pruning_vs_scratch.progress import START_SECONDS, WARM_START_SECONDS, Progress, finished_jobs, job_seconds
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.supervisor.home import variables_for_home
from pruning_vs_scratch.supervisor.locks import STATE, CutShort, only_one_run, remove_stale_locks
from pruning_vs_scratch.supervisor.snakemake import end_abandoned_jobs, interrupt_once, run_snakemake
from pruning_vs_scratch.warm.start import warm_interpreter

SOCKET = STATE / "warm_interpreter.sock"
STYLESHEET = Path("workflow/report/report.css")
log = logging.getLogger(__name__)


class StudyRun:
    """A study and where its jobs run.

    ``files`` are its configuration, each an overlay on the previous ones. ``cores`` are those of this machine; with
    ``profile``, Snakemake runs the jobs elsewhere.

    Raises:
        UserError: the configuration is not valid.
    """

    def __init__(self, files: Sequence[Path], cores: int, profile: str | None) -> None:
        self.files = files
        self.cores = cores
        self.profile = profile
        self.study = Study(load_config(files).model_dump(mode="json"))
        os.environ.update(variables_for_home(STATE / "home", os.environ))

    def run(self) -> None:
        """Run the study, then make Snakemake's report and a summary.

        Raises:
            CutShort: it was stopped.
            UserError: a step failed; has its error message.
        """
        interrupt_once()
        try:
            progress = self._run_jobs()
        except KeyboardInterrupt:
            raise CutShort("stopped; run the same command again to resume") from None
        if warning := (self.study.paths.logs / "tabulate.log").read_text(encoding="utf-8"):
            _print(warning.rstrip())
        self._summarise(None if progress.nothing_to_do else progress.elapsed)

    def require_finished(self) -> None:
        """Refuse a study without claims.

        Raises:
            Unfinished: a file is missing.
        """
        if not (claims := self.study.paths.results / "claims.json").exists():
            raise Unfinished(self.study.name, claims)

    def make_provenance_page(self) -> Path:
        """Let Snakemake make its own report; the file gets its name once it is complete.

        Raises:
            UserError: the study is not finished, or Snakemake failed, with its error message.
        """
        self.require_finished()
        page = self.study.paths.provenance_page
        temporary = page.with_name("provenance.tmp.html")
        command = [*self._snakemake, "--report", str(temporary), "--report-stylesheet", str(STYLESHEET)]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if result.returncode:
            raise UserError(f"Snakemake's report failed:\n{result.stdout}")
        os.replace(temporary, page)
        return page

    @cached_property
    def _snakemake(self) -> list[str]:
        place = ["--profile", self.profile] if self.profile else ["--cores", str(self.cores)]
        overlays = [str(file) for file in self.files[1:]]
        command = [sys.executable, "-m", "snakemake", *place, "--rerun-incomplete"]
        return [*command, *(["--configfile", *overlays] if overlays else [])]

    def _run_jobs(self) -> Progress:
        study = self.study
        with only_one_run(_say) as (lock, was_killed):
            end_abandoned_jobs(_say)
            if remove_stale_locks(was_killed):
                _say("an earlier run was killed; this one resumes where it stopped")
            with self._interpreter() as variables:
                progress = self._progress(WARM_START_SECONDS if variables else START_SECONDS)
                _say(f"study {study.name}: {len(study.runs)} models, {study.comparisons}")
                run_snakemake([*self._snakemake, "--show-failed-logs"], lock, variables, progress, _say)
            if self._provenance_is_older():
                self.make_provenance_page()
        return progress

    def _interpreter(self) -> AbstractContextManager[dict[str, str]]:
        """One interpreter for all jobs that it can serve: none on other machines, and none of several processes."""
        is_warm = not self.profile and threads_of_training(self.study) == 1
        return warm_interpreter(SOCKET) if is_warm else contextlib.nullcontext({})

    def _progress(self, start: float) -> Progress:
        """The work to do, if a step takes ``start`` seconds to start."""
        guesses = job_seconds(self.study, start)
        slots = None if self.profile else max(1, self.cores // threads_of_training(self.study))
        return Progress(guesses, set(guesses) - finished_jobs(self.study), slots)

    def _provenance_is_older(self) -> bool:
        """Whether Snakemake's report is missing, or older than the report page, or a figure or page that it shows."""
        paths = self.study.paths
        if not paths.provenance_page.exists():
            return True
        made = (paths.report, *paths.figures.glob("*.png"), *paths.pages.glob("*.html"))
        return any(file.stat().st_mtime > paths.provenance_page.stat().st_mtime for file in made)

    def _summarise(self, seconds: float | None) -> None:
        if seconds is None:
            _print(f"study {self.study.name} is up to date: nothing to be done")
        from pruning_vs_scratch.tables.summary import summary_of

        sys.stdout.write(summary_of(self.study.paths, self.study.paths.report, seconds))


def threads_of_training(study: Study) -> int:
    """CPU threads of the widest training job."""
    processes = max((study.processes.training(name) for name in study.trained_by_plan), default=1)
    return study.config.training.threads * processes


def _say(text: str) -> None:
    """Print what is only progress."""
    if log.isEnabledFor(logging.INFO):
        _print(text)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
