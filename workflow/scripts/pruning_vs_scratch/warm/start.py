"""Starting a warm interpreter for one run of Snakemake."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pruning_vs_scratch.warm.client import ADDRESS
from pruning_vs_scratch.warm.server import OFFLINE

SCRIPT = Path(__file__).parents[2] / "warm_interpreter.py"
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    ),
    "1",
)  # fmt: skip
"""As set by Snakemake for a single-threaded job: jobs with more threads start Python themselves."""


@contextmanager
def warm_interpreter(address: Path) -> Iterator[dict[str, str]]:
    """While open, a warm interpreter listens at ``address``; yields the variables through which jobs find it.

    Yields none except on Linux, because libraries elsewhere do not survive a fork, nor on a file system without
    sockets. When the block ends, even by ``kill -9``, the interpreter accepts no more commands and ends with the last
    one.
    """
    listener = _listener(address) if sys.platform == "linux" else None
    if listener is None:
        yield {}
        return
    with listener:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), f"--listener={listener.fileno()}"],
            stdin=subprocess.PIPE,
            env=os.environ | OFFLINE | ONE_THREAD,
            pass_fds=[listener.fileno()],
        )
    assert process.stdin is not None
    try:
        yield {ADDRESS: str(address)}
    finally:
        address.unlink(missing_ok=True)
        process.stdin.close()


def _listener(address: Path) -> socket.socket | None:
    """A socket at an address, for this user only; None if the file system has no sockets."""
    address.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(address))
    except OSError:
        listener.close()
        return None
    address.chmod(0o600)
    listener.listen()
    return listener
