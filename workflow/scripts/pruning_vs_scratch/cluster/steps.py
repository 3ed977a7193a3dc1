"""A command as a step of the SLURM job that this process is in."""

import signal
import subprocess
import sys
import time

from pruning_vs_scratch.cluster import slurm
from pruning_vs_scratch.errors import Interrupted


def run_as_step(nodes: int, cpus: int) -> int:
    """Run this process's own command once on each node of its job, with a number of CPUs; returns its exit code.

    The option --meet-at, added to it, is where the nodes meet, and makes it start its processes itself.

    The scheduler sends its signals to steps only. A node whose processes fail ends those of the others. If the command
    stopped because the job's time is up, SLURM restarts the job as often as necessary, without using up an attempt of
    the workflow. If a site does not allow that, the exit code counts as a failed attempt.
    """
    stop_time = slurm.stop_time()
    meeting_point = slurm.meeting_point() if nodes > 1 else "localhost:0"
    script, *arguments = sys.argv
    process = subprocess.Popen([*_srun(nodes, cpus), sys.executable, script, f"--meet-at={meeting_point}", *arguments])
    code = process.wait()
    if code == Interrupted.EXIT_CODE and stop_time is not None and time.time() >= stop_time and slurm.requeue():
        # SLURM ends this process too; ending before that would count as a failure of the job.
        signal.pause()
    return code


def _srun(nodes: int, cpus: int) -> list[str]:
    """The whole geometry: the executor removes the variables from which srun would know it."""
    return [
        "srun", "--overlap", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", f"--cpus-per-task={cpus}",
        "--kill-on-bad-exit=1",
    ]  # fmt: skip
