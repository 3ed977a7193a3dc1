"""Whatever happens to jobs, nodes, controller and Snakemake during training, the results are those of an undisturbed
run on one machine."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from checkouts import results_of
from private_slurm import Cluster
from studies_on_slurm import ONLY_WHAT_IS_NEW, SNAKEMAKE, WatchedStudy, overlay

BUDGET = 524_288
RETRAINED, SCRATCH = "P16.4k-minitron_depth-0.5-R524k-seed0", "S524k-depth-0.5-seed0"
LONG_TRAINING = {"matrix": [{"methods": ["minitron_depth"], "ratios": [0.5], "retrain": [BUDGET]}]}
ONE_MINUTE = ["--set-resources", "train:runtime=1"]


@pytest.fixture
def undisturbed(local: Path, tmp_path: Path) -> Path:
    """The study with long training, to be run on this machine."""
    return shutil.copytree(local, tmp_path / "undisturbed", symlinks=True)


@pytest.fixture
def study(cluster: Cluster, local: Path, tmp_path: Path) -> Iterator[WatchedStudy]:
    """The same study as it begins on the cluster."""
    folder = shutil.copytree(local, tmp_path / "disturbed", symlinks=True)
    study = WatchedStudy(cluster, folder, [*overlay(folder, "long", LONG_TRAINING), *ONLY_WHAT_IS_NEW, *ONE_MINUTE])
    yield study
    study.stop()


def test_the_results_survive_every_fault(study: WatchedStudy, undisturbed: Path) -> None:
    command = [*SNAKEMAKE, "--cores", "1", *overlay(undisturbed, "long", LONG_TRAINING), *ONLY_WHAT_IS_NEW]
    reference = subprocess.Popen(command, cwd=undisturbed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with ThreadPoolExecutor() as pool:
        for fault in [pool.submit(reach_the_time_limit_twice, study), pool.submit(disturb_in_turn, study)]:
            fault.result()
    assert study.wait() == 0, study.log.read_text()
    assert reference.wait() == 0
    assert results_of(study.folder) == results_of(undisturbed)


def disturb_in_turn(study: WatchedStudy) -> None:
    """One fault after the other to the retrained run, each once it has gone on from the state before."""
    step = 0
    for disturb in (cancel, kill_the_process, requeue, kill_the_node, restart_snakemake, restart_the_controller):
        job, process, step = study.advanced(RETRAINED, step)
        # Its process is what a fault is done to, but Snakemake's own end leaves it running.
        with study.held(RETRAINED, but=process if disturb is not restart_snakemake else None):
            disturb(study, job, process)


def kill_the_process(study: WatchedStudy, job: str, process: psutil.Process) -> None:
    """As the kernel does when memory is short."""
    process.kill()


def requeue(study: WatchedStudy, job: str, process: psutil.Process) -> None:
    """As SLURM does for a job of higher priority."""
    subprocess.run(["scontrol", "requeue", job], check=True)
    psutil.wait_procs([process], timeout=20)


def kill_the_node(study: WatchedStudy, job: str, process: psutil.Process) -> None:
    """The node's daemon and all of the job, without a word to the controller; later the node comes back."""
    node = process.environ()["SLURMD_NODENAME"]
    step_daemons = [ancestor for ancestor in process.parents() if ancestor.name().startswith("slurmstepd")]
    study.cluster.stop_daemon(f"slurmd-{node}", signal.SIGKILL)
    for daemon in psutil.process_iter(["cmdline"]):
        if " ".join(daemon.info["cmdline"] or []).startswith(f"slurmstepd: [{job}."):
            step_daemons.append(daemon)
    for daemon in set(step_daemons):
        _kill_with_children(daemon)
    study.cluster.wait_until(lambda: "down" in "".join(study.cluster.states()), "the node was not missed", 60)
    study.cluster.start_node(node)
    # The next fault starts Snakemake anew, which looks first whether its jobs would be accepted.
    study.cluster.wait_until(lambda: "down" not in "".join(study.cluster.states()), "the node did not come back", 60)


def _kill_with_children(process: psutil.Process) -> None:
    """Some end by themselves once others are gone."""
    with suppress(psutil.NoSuchProcess):
        for member in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                member.kill()


def restart_the_controller(study: WatchedStudy, job: str, process: psutil.Process) -> None:
    """Away for a while, in which Snakemake gets no answer."""
    study.cluster.stop_daemon("slurmctld")
    time.sleep(3)
    study.cluster.start_controller()


def restart_snakemake(study: WatchedStudy, job: str, process: psutil.Process) -> None:
    """Its jobs continue; those of the second Snakemake wait for them."""
    study.kill_and_restart()


def cancel(study: WatchedStudy, job: str, process: psutil.Process) -> None:
    """By hand."""
    subprocess.run(["scancel", job], check=True)


def reach_the_time_limit_twice(study: WatchedStudy) -> None:
    """Once it stops before the limit; once it cannot, and is killed. It is slow because it is held up."""
    job, process, step = study.advanced(SCRATCH)
    process.suspend()
    study.cluster.wait_until(lambda: seconds_left(job) < 4, "the job did not get near its limit", 70)
    process.resume()
    psutil.wait_procs([process], timeout=20)
    assert "stopped by the end of the job's time" in log_of(study, SCRATCH)

    job, process, step = study.advanced(SCRATCH, step)
    process.suspend()
    study.cluster.wait_until(lambda: not process.is_running(), "the job was not ended at its limit", 90)


def seconds_left(job: str) -> float:
    """Until the job's time limit."""
    answer = subprocess.run(["squeue", "-h", "-j", job, "-o", "%L"], capture_output=True, text=True, check=False).stdout
    minutes, _, seconds = answer.strip().rpartition(":")
    return 60 * int(minutes or 0) + int(seconds) if seconds.isdigit() else 60


def log_of(study: WatchedStudy, run: str) -> str:
    """The log of a run's training."""
    return (study.folder / f"results/smoke/logs/train/{run}.log").read_text()
