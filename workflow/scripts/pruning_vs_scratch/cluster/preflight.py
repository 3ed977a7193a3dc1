"""Problems that would stop a study on this cluster, found before the first job: one line each, with the remedy."""

import fcntl
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pruning_vs_scratch.cluster.allocation import Allocation
from pruning_vs_scratch.cluster.demand import STATE_BYTES, WEIGHT_BYTES
from pruning_vs_scratch.cluster.device_memory import device_memory_problems
from pruning_vs_scratch.cluster.request import JobRequest
from pruning_vs_scratch.cluster.slurm import ask
from pruning_vs_scratch.errors import UserError, nearest

COMMANDS = ("sbatch", "squeue", "scontrol", "sinfo", "srun")
CONTINUED = ("pruning", "training")
"""Kinds of jobs that resume where an earlier one stopped, or that take hardly any time."""
LEAST_MIN_JOB_AGE = 60
"""Seconds for which the controller has to remember a job that has ended: several rounds of status checks."""
SECONDS_TO_GET_A_NODE = 20
SECONDS_TO_MEET_NODES = 30
UNKNOWN = "unk"
"""State of a node that the controller has not heard from since it started."""
LOST_FOLDER = 3
"""Exit code of the check on a node that does not see this folder."""
REMEDIES = {
    "partition": "name one of `sinfo` in SBATCH_PARTITION or slurm/site.yaml",
    "account": "name one of `sacctmgr show associations user=$USER` in SBATCH_ACCOUNT or slurm/site.yaml",
    "qos": "name one of `sacctmgr show qos` in SBATCH_QOS or slurm/site.yaml",
    "reservation": "name one of `scontrol show reservation` in SBATCH_RESERVATION or slurm/site.yaml",
    "feature": "name features of `sinfo -o %f` in SBATCH_CONSTRAINT or slurm/site.yaml",
    "time limit": "lower max_hours in slurm/site.yaml",
    "node count": "lower cluster.nodes in the study",
}
"""What to do, by a word in sbatch's answer."""


def require_ready(allocation: Allocation) -> list[str]:
    """Check everything; returns what could not be checked because no node was free.

    Raises:
        UserError: something would stop the study; has a line for each.
    """
    found = list(dict.fromkeys(_problems_here(allocation)))
    unseen: list[str] = []
    if not found:
        found, unseen = _problems_on_nodes(allocation)
    if found:
        raise UserError("the cluster is not ready for this study:\n" + "\n".join(f"  {problem}" for problem in found))
    return unseen


def _problems_here(allocation: Allocation) -> Iterator[str]:
    """Checks that need no node."""
    if missing := [command for command in COMMANDS if shutil.which(command) is None]:
        yield f"no {missing[0]} here: log in to a machine that submits jobs, or run without --profile slurm"
        return
    if not ask("scontrol", "show", "config"):
        yield "SLURM's controller does not answer: try `scontrol ping`, and ask the site if it stays so"
        return
    yield from _setting_problems(allocation)
    yield from _disk_problems(allocation)
    yield from device_memory_problems(allocation)
    _wait_for_nodes()
    for request in allocation.requests:
        yield from _request_problems(request)


def _wait_for_nodes() -> None:
    """A controller that has just started knows no nodes for some seconds, and refuses every request until then."""
    deadline = time.monotonic() + SECONDS_TO_MEET_NODES
    while set(ask("sinfo", "--noheader", "--format=%t").split()) == {UNKNOWN} and time.monotonic() < deadline:
        time.sleep(1)


def _setting_problems(allocation: Allocation) -> Iterator[str]:
    settings = dict(re.findall(r"^(\w+)\s*= (.*?)\s*$", ask("scontrol", "show", "config"), re.MULTILINE))
    age = int(settings.get("MinJobAge", "300").split()[0])
    if age < LEAST_MIN_JOB_AGE:
        yield (
            f"the controller forgets ended jobs after {age} s (MinJobAge), too soon for squeue: add "
            "--slurm-status-command sacct"
        )
    accounts = {request.queue.account for request in allocation.requests} - {None}
    if accounts and settings.get("AccountingStorageType") == "accounting_storage/none":
        yield f"this cluster keeps no accounts, but {', '.join(map(str, accounts))} is given: unset SBATCH_ACCOUNT"


def _disk_problems(allocation: Allocation) -> Iterator[str]:
    try:
        with tempfile.TemporaryFile(dir=Path()):
            pass
    except OSError as error:
        yield f"cannot write in the study's folder ({error.strerror}): go to one that you may write to"
        return
    wanted, free = _bytes_to_come(allocation), shutil.disk_usage(Path()).free
    if wanted > free:
        yield f"the study will write at least {wanted / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free: make room"


def _bytes_to_come(allocation: Allocation) -> int:
    """Bytes of the checkpoints still to be made, and of the resume state of the largest model."""
    study = allocation.study
    sizes = [
        run.target.shape.params_total for run in study.runs.values() if not study.paths.manifest(run.name).exists()
    ]
    return WEIGHT_BYTES * sum(sizes) + STATE_BYTES * max(sizes, default=0)


def _request_problems(request: JobRequest) -> Iterator[str]:
    limits = _partitions()
    default = next((name.rstrip("*") for name in limits if name.endswith("*")), None)
    known = {name.rstrip("*"): minutes for name, minutes in limits.items()}
    wanted = (request.queue.partition or default or "").split(",")
    if unknown := [name for name in wanted if name not in known]:
        what = f"no partition {unknown[0]!r}, {nearest(unknown[0], known)}" if unknown[0] else "no default partition"
        yield f"{what}; {REMEDIES['partition']}"
    elif (longest := max(known[name] for name in wanted)) < request.minutes_of(attempt=1):
        yield (
            f"{request.kind} jobs ask for up to {request.minutes_of(attempt=1)} minutes, but {','.join(wanted)} allows "
            f"{longest:g}: set max_hours: {longest / 60:.3g} in slurm/site.yaml, or take another partition"
        )
    elif refusal := _refusal(request):
        yield f"{request.kind} jobs are refused: {refusal}; {_remedy(refusal, request)}"
    if request.kind not in CONTINUED and request.minutes > request.minutes_of(attempt=1):
        yield (
            f"{request.kind} jobs need up to {request.minutes} minutes and cannot continue in another job: raise "
            "max_hours in slurm/site.yaml, or set evaluation.group_by: run"
        )


def _partitions() -> dict[str, float]:
    """Their longest jobs in minutes, by name; the default one's ends with a star."""
    lines = ask("sinfo", "--noheader", "--format=%P|%l").splitlines()
    return {name: _minutes(limit) for name, limit in (line.split("|") for line in lines)}


def _refusal(request: JobRequest) -> str | None:
    """sbatch's objection to a request, which is not submitted."""
    command = ["sbatch", "--test-only", *request.options, "--wrap=true"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return None
    words = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
    return re.sub(r"^(allocation failure|sbatch: error): ", "", words)


def _remedy(refusal: str, request: JobRequest) -> str:
    asked = " ".join(request.options)
    for word, remedy in REMEDIES.items():
        if word in refusal.lower():
            return remedy
    sections = "cluster:, training:, pruning:"
    return f"no node can give {asked}: lower what the study asks for ({sections}), or take another partition"


def _problems_on_nodes(allocation: Allocation) -> tuple[list[str], list[str]]:
    """Check from a node of each queue; returns problems, and the queues without a free node."""
    problems, unseen = [], []
    largest = {request.queue: request for request in allocation.requests}
    with tempfile.NamedTemporaryFile(dir=Path(), prefix=".slurm-check.") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for request in largest.values():
            said = _seen_from_node(request, Path(held.name).resolve())
            if said is None:
                unseen.append(request.kind)
            else:
                problems += [f"a node for {request.kind} jobs: {problem}" for problem in said]
    return problems, unseen


def _seen_from_node(request: JobRequest, held: Path) -> list[str] | None:
    """Problems that a node has with this folder and this Python; None if none was free."""
    probe = Path(__file__).parents[2] / "probe_node.py"
    script = f'test -e "$1" || exit {LOST_FOLDER}; exec "$2" "$3" "$1" $4'
    gpu = [f"--gres={request.gres(1)}"] if request.gpus else []
    command = ["srun", f"--immediate={SECONDS_TO_GET_A_NODE}", "--time=5", "--ntasks=1", "--mem=2000", "--quiet"]
    command += [*request.queue.options, *gpu]
    command += ["sh", "-c", script, "sh", str(held), sys.executable, str(probe), "--gpu" if gpu else ""]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Unable to allocate resources" in result.stderr:
        return None
    if result.returncode == LOST_FOLDER:
        return [f"it does not see {held.parent}: put the project on the shared file system"]
    if result.returncode != 0:
        words = (result.stderr.strip().splitlines() or ["no reason given"])[0]
        return [
            f"{sys.executable} does not run there ({words}): set up .venv on the shared file system, see docs/hpc.md"
        ]
    return result.stdout.splitlines()


def _minutes(limit: str) -> float:
    """A time limit of SLURM, [days-]hours:minutes:seconds, in minutes."""
    if limit in ("infinite", "UNLIMITED"):
        return float("inf")
    days, _, clock = limit.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = 60 * seconds + int(part)
    return 24 * 60 * int(days or 0) + seconds / 60
