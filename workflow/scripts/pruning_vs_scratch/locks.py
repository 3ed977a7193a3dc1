"""Exclusive use of a folder by one process; the operating system lets go when the process ends, however it ends."""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of a file system that has no locks, such as Lustre without its mount option flock."""


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


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("another process is working in %s; waiting for it to end", folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        log.warning("the file system of %s has no locks: see that no two jobs work on the same run at once", folder)
