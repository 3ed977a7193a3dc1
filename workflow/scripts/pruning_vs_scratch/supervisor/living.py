"""Which processes of a workflow are alive in a folder: Snakemake itself, and jobs left behind by a killed one."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

SECONDS_TO_STOP = 300
"""How long a job may take to save its state."""
LOGS = "results/*/logs"
"""Where the jobs of any study write their standard error."""


def snakemakes(folder: Path, owners: Collection[int] = ()) -> list[psutil.Process]:
    """Snakemakes that lock files in a folder: not dry runs, nor those that run one job of another.

    The folder of another user's process cannot be seen: such a process counts if the user is one of ``owners``.
    """
    found = (process for process in psutil.process_iter() if _is_snakemake(process))
    return [process for process in found if _locks(process) and _is_in(process, folder, owners)]


def described(process: psutil.Process) -> str:
    """A process by its number and the beginning of its command."""
    with suppress(psutil.Error):
        return f"process {process.pid} ({' '.join(process.cmdline())[:80]})"
    return f"process {process.pid}"


def abandoned_jobs(folder: Path) -> list[psutil.Process]:
    """Jobs in a folder whose Snakemake is gone: processes that write a study's log, without a Snakemake above them."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            is_job = _is_in(process, folder) and _writes_log(process, folder)
            if is_job and not any(_is_snakemake(parent) for parent in process.parents()):
                found.append(process)
    return found


def end(processes: Sequence[psutil.Process]) -> None:
    """Stop processes, politely at first, so that training saves its state."""
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=SECONDS_TO_STOP)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()


def _is_snakemake(process: psutil.Process) -> bool:
    """Whether it is ``python -m snakemake`` or the command ``snakemake``, with any options of Python."""
    with suppress(psutil.Error):
        is_dead = process.status() == psutil.STATUS_ZOMBIE
        return not is_dead and any(Path(word).name == "snakemake" for word in process.cmdline()[:5])
    return False


def _locks(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return not {"--nolock", "-n", "--dry-run", "--dryrun"} & set(process.cmdline())
    return False


def _is_in(process: psutil.Process, folder: Path, owners: Collection[int] = ()) -> bool:
    try:
        return Path(process.cwd()).resolve() == folder.resolve()
    except psutil.AccessDenied:
        with suppress(psutil.Error):
            return process.uids().real in owners
    except psutil.Error:
        pass
    return False


def _writes_log(process: psutil.Process, folder: Path) -> bool:
    """Whether the standard error of a process is the log of a job; Linux only."""
    try:
        log = Path(f"/proc/{process.pid}/fd/2").readlink()
    except OSError:
        return False
    return any(log.is_relative_to(logs) for logs in folder.resolve().glob(LOGS))
