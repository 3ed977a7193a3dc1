"""Exclusive use of a folder by one process; the operating system lets go when the process ends, however it ends."""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pruning_vs_scratch.errors import UserError

log = logging.getLogger(__name__)

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of a file system that has no locks, such as Lustre without its mount option flock."""
SECONDS_TO_WAIT_FOR_A_WRITER = 120
"""A process that was killed, or whose machine was lost, may hold its locks for some time: a lease of NFS, 90 s."""
SECONDS_BETWEEN_TRIES = 0.1


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder; wait for another process that holds it (left behind by a killed workflow, say).

    The lock is an empty file beside the folder: over NFS only a file that is open for writing can be locked. It holds
    between machines where their file system's locks do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder.with_name(f"{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Be the only process that writes a path. The lock is an empty hidden file beside it, which goes at the end.

    Raises:
        UserError: another process writes it, or has written it while this one waited.
    """
    file, before = path.with_name(f".{path.name}.lock"), _identity(path)
    descriptor, waited = _held(file, path)
    try:
        if waited and _identity(path) != before:
            raise UserError(
                f"another process has written {path} meanwhile: choose another name, or run again to replace it"
            )
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def _held(file: Path, path: Path) -> tuple[int, bool]:
    """A descriptor that holds the lock of a file, and whether another process had to end first."""
    deadline, waited = time.monotonic() + SECONDS_TO_WAIT_FOR_A_WRITER, False
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in NO_LOCKS:
                _say_no_locks(path)
                return descriptor, waited
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                raise
            if time.monotonic() > deadline:
                raise UserError(
                    f"another process is writing {path}: wait for it to end or stop it, or choose another name"
                ) from error
            if not waited:
                seconds = SECONDS_TO_WAIT_FOR_A_WRITER
                log.info("another process is writing %s; waiting up to %g s for it to end", path, seconds)
            waited = True
            time.sleep(SECONDS_BETWEEN_TRIES)
            continue
        # Whoever held it before may have removed the file: then the lock is that of no file.
        if file.exists() and os.fstat(descriptor).st_ino == file.stat().st_ino:
            return descriptor, waited
        os.close(descriptor)


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file or folder from the one that takes its place."""
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None


def _say_no_locks(path: Path) -> None:
    log.warning("the file system of %s has no locks: see that no two jobs work on the same run at once", path)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("another process is working in %s; waiting for it to end", folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        _say_no_locks(folder)
