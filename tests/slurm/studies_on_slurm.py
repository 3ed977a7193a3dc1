"""What the tests on a private SLURM share: calls of Snakemake, and a study that is watched while it trains."""

import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from private_slurm import Cluster

SNAKEMAKE = [sys.executable, "-m", "snakemake"]
ATTEMPTS = Path(tempfile.gettempdir()) / "slurm-test-offline-attempts"
OFFLINE = {"PYTHONPATH": str(Path(__file__).parent / "offline"), "OFFLINE_GUARD": str(ATTEMPTS)}
ONLY_WHAT_IS_NEW = ["--rerun-triggers", "mtime", "input"]
"""For another budget: text, and models of other budgets, stay those of the smallest study."""
SECONDS_TO_TRAIN = 200
"""To be noticed as failed (Snakemake looks less and less often), to start again, and to save a state."""


def overlay(folder: Path, name: str, values: dict[str, Any]) -> list[str]:
    """Options of Snakemake for the smallest study under an overlay, which is written here."""
    (folder / f"config/{name}.yaml").write_text(yaml.safe_dump(values))
    return ["--configfile", "config/smoke.yaml", f"config/{name}.yaml"]


class WatchedStudy:
    """A study that Snakemake runs through SLURM."""

    def __init__(self, cluster: Cluster, folder: Path, options: list[str]) -> None:
        self.cluster = cluster
        self.folder = folder
        self.command = [*SNAKEMAKE, "--profile", "slurm", *options]
        self.log = folder / "snakemake.log"
        self._restart = threading.Lock()
        self.process = self._started()

    def wait(self) -> int:
        """Snakemake's exit code."""
        return self.process.wait()

    def kill_and_restart(self) -> None:
        """Kill Snakemake, and start it again."""
        with self._restart:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            subprocess.run([*self.command, "--unlock"], cwd=self.folder, check=True, capture_output=True)
            before = self._beginnings()
            self.process = self._started()
        self.cluster.wait_until(lambda: self._beginnings() > before, "Snakemake did not begin again", 60)

    def _beginnings(self) -> int:
        """How often Snakemake chose jobs, so that its first looks at the cluster are over."""
        return self.log.read_text().count("Select jobs to execute...")

    def stop(self) -> None:
        """End Snakemake and all jobs."""
        self.process.kill()
        self.process.wait()
        subprocess.run(["scancel", "--user=root"], check=False, capture_output=True)

    def advanced(self, run: str, step: int = 0) -> tuple[str, psutil.Process, int]:
        """Wait until a run has saved a later step; its job, the process that trains it, and that step."""
        deadline = time.monotonic() + SECONDS_TO_TRAIN
        while True:
            with self._restart:
                assert self.process.poll() is None, f"Snakemake ended:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"{run} did not get beyond step {step}:\n{self.log.read_text()}"
            process = self._trainer(run)
            if process is not None and (now := self._saved(run)) > step:
                return self._job(process), process, now
            time.sleep(0.05)

    @contextmanager
    def held(self, run: str, but: psutil.Process | None = None) -> Iterator[None]:
        """Let the processes that train a run, except for one, stand still meanwhile: it would come to its end."""
        over = threading.Event()
        stopped: list[psutil.Process] = []

        def hold() -> None:
            while not over.wait(0.05):
                process = self._trainer(run)
                if process is not None and process != but and process not in stopped:
                    with suppress(psutil.NoSuchProcess):
                        process.suspend()
                        stopped.append(process)

        thread = threading.Thread(target=hold)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            for process in stopped:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def _started(self) -> subprocess.Popen:
        with self.log.open("a") as log:
            return subprocess.Popen(self.command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT)

    def _saved(self, run: str) -> int:
        """The last step of which the run has a state."""
        states = self.folder.glob(f"work/*/train/{run}/*/step-*")
        return max((int(state.name.removeprefix("step-")) for state in states), default=0)

    def _trainer(self, run: str) -> psutil.Process | None:
        """The process that trains a run and does not wait for another one to end."""
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words = " ".join(process.info["cmdline"] or [])
            trains = "workflow/scripts/train.py" in words and f'"run":"{run}"' in words
            if trains and process.info["cwd"] == str(self.folder) and _has_lock(process):
                return process
        return None

    @staticmethod
    def _job(process: psutil.Process) -> str:
        return process.environ()["SLURM_JOB_ID"]


def _has_lock(process: psutil.Process) -> bool:
    """Whether a process holds a lock, by the kernel's list."""
    held = (line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" not in line)
    return any(words[1] == "FLOCK" and words[4] == str(process.pid) for words in held)
