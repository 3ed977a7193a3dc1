"""One run at a time in a folder, and the Snakemake locks that a killed run leaves there."""

import fcntl
import platform
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.locks import NO_LOCKS
from pruning_vs_scratch.supervisor.living import described, snakemakes

STATE = Path(".snakemake")
LOCK = STATE / "run_study.lock"
RUNNING = "running"
"""Content of the lock's file during a run, and after one whose Snakemake did not end normally."""
SECONDS_TO_WAIT_FOR_AN_EARLIER_RUN = 60
HOST = re.compile(r"^\s*Host: (\S+)$", re.MULTILINE)
"""The machine of a Snakemake, near the beginning of its log."""
BEGINNING = 4000
"""How many characters of a log to search for that line."""


class CutShort(UserError):
    """Snakemake was killed or stopped in haste: it may have left its locks behind."""


@contextmanager
def only_one_run(say: Callable[[str], None]) -> Iterator[tuple[TextIO, bool]]:
    """Hold the folder's lock, which Snakemake inherits: while either is alive, no other run begins. Also yields whether
    the previous run's Snakemake is known to be gone without having ended normally.

    Raises:
        UserError: another run does not end.
    """
    STATE.mkdir(exist_ok=True)
    with LOCK.open("a+", encoding="utf-8") as lock:
        is_held = _acquire(lock, say)
        lock.seek(0)
        was_killed = is_held and lock.read() == RUNNING
        _mark(lock, RUNNING)
        left = ""
        try:
            yield lock, was_killed
        except CutShort:
            left = RUNNING
            raise
        finally:
            _mark(lock, left)


def remove_stale_locks(was_killed: bool) -> bool:
    """Remove the locks of Snakemakes that are gone; returns whether there were any. Those of a living one stay. Only
    locks that existed before the search for living ones are removed: another Snakemake may begin at any time.
    """
    locks = lock_files()
    if not locks or holder(was_killed) is not None:
        return False
    for lock in locks:
        lock.unlink(missing_ok=True)
    return True


def holder(was_killed: bool) -> str | None:
    """Who may hold the locks of this folder, in words; None if no such process is alive."""
    locks = lock_files()
    if living := snakemakes(Path.cwd(), {lock.stat().st_uid for lock in locks}):
        return f"{', '.join(map(described, living))} works on it in this folder: wait for it to end, or stop it first"
    if not was_killed and (others := _hosts(locks) - {platform.node()}):
        return (
            f"a Snakemake on {', '.join(sorted(others))} locked it: if none runs there any more, call "
            "snakemake --unlock, then run again"
        )
    return None


def lock_files() -> list[Path]:
    """Snakemake's locks in this folder."""
    return sorted((STATE / "locks").glob("*.lock"))


def _hosts(locks: list[Path]) -> set[str]:
    """The machines of the Snakemakes that were running when the locks were written, or since."""
    oldest = min((lock.stat().st_mtime for lock in locks), default=0.0)
    logs = [log for log in (STATE / "log").glob("*.log") if log.stat().st_mtime >= oldest]
    beginnings = [log.read_text(encoding="utf-8", errors="replace")[:BEGINNING] for log in logs]
    return {found[1] for text in beginnings if (found := HOST.search(text))}


def _acquire(lock: TextIO, say: Callable[[str], None]) -> bool:
    """Wait for the lock; returns whether it is held, because a file system may have no locks."""
    deadline = time.monotonic() + SECONDS_TO_WAIT_FOR_AN_EARLIER_RUN
    said = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise UserError("another run is going on in this folder; wait for it, or stop it first") from None
            if not said:
                say("another run is going on or being stopped in this folder; waiting for it")
                said = True
            time.sleep(0.5)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            say("the file system of this folder has no locks: see that no two runs work in it at once")
            return False


def _mark(lock: TextIO, state: str) -> None:
    lock.seek(0)
    lock.truncate()
    lock.write(state)
    lock.flush()
