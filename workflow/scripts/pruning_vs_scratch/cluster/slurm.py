"""What SLURM says about this process's job, and requests to SLURM concerning it."""

import os
import re
import shutil
import subprocess
import time

from pruning_vs_scratch.errors import UserError

SHARE_TO_STOP, MOST_SECONDS_TO_STOP = 0.1, 600.0
"""How long before its end a job stops: this share of the time left at its start, but no longer than this."""


def job_id() -> str | None:
    """The job that this process is in; None outside SLURM."""
    return os.environ.get("SLURM_JOB_ID")


def can_start_steps() -> bool:
    """Whether this process is in a job and can start its steps; a container cannot."""
    return job_id() is not None and shutil.which("srun") is not None


def ask(*command: str) -> str:
    """The output of a SLURM command; empty if it fails or is missing, as on some compute nodes."""
    environment = os.environ | {"SLURM_TIME_FORMAT": "%s"}
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except OSError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def end_time() -> float | None:
    """When SLURM ends this process's job, in seconds since the epoch; None outside a job or without a limit."""
    job = job_id()
    if job is None:
        return None
    told = ask("squeue", "--noheader", f"--jobs={job}", "--format=%e") or os.environ.get("SLURM_JOB_END_TIME", "")
    return float(told) if told.isdigit() else None


def stop_time() -> float | None:
    """When a long step has to save and stop, so that everything is written before the job's end."""
    end = end_time()
    return None if end is None else end - min(MOST_SECONDS_TO_STOP, SHARE_TO_STOP * max(0.0, end - time.time()))


def requeue() -> bool:
    """Ask SLURM to end this process's job and restart it later; returns whether it will."""
    command = ["scontrol", "requeue", str(job_id())]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def meeting_point() -> str:
    """HOST:PORT where the processes of this job's nodes meet: its first node, and a port by the job's number.

    Raises:
        UserError: SLURM does not name the nodes.
    """
    job = str(job_id())
    nodes = ask("scontrol", "show", "hostnames", ask("squeue", "--noheader", f"--jobs={job}", "--format=%N")).split()
    address = re.search(r"NodeAddr=(\S+)", ask("scontrol", "show", "node", nodes[0])) if nodes else None
    if address is None:
        raise UserError(f"SLURM does not name the nodes of job {job}: squeue and scontrol must work on compute nodes")
    return f"{address[1]}:{20_000 + int(job) % 10_000}"
