"""The job's side: it lets the warm interpreter run its command, and ends as the command ends."""

import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.training.interrupt import STOP_SIGNALS
from pruning_vs_scratch.warm.request import receive_number, send_request, this_process

ADDRESS = "PRUNING_VS_SCRATCH_WARM"
"""The variable with the address of this Snakemake run's warm interpreter."""
NOT_SERVED = 0
"""Sent instead of a process id: the interpreter does not fit the command, which then starts Python itself."""


def run_warm(command: Sequence[str]) -> int | None:
    """Run a command in a fork of the warm interpreter; its exit code, or None if nothing was run.

    Raises:
        UserError: the interpreter ended, and with it the command.
    """
    address = os.environ.get(ADDRESS)
    if address is None:
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address)
            send_request(connection, this_process(command))
        except OSError:
            return None
        process = receive_number(connection)
        if process is None or process == NOT_SERVED:
            return None
        _leave_signals_to(process)
        status = receive_number(connection)
    if status is None:
        raise UserError("the process that runs the steps of this study was killed; run the study again")
    return os.waitstatus_to_exitcode(status)


def end_as(code: int) -> None:
    """End this process as another one ended: by its exit code, or by the signal that killed it."""
    if code < 0:
        with suppress(OSError):  # SIGKILL cannot be handled anyway
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    raise SystemExit(code)


def _leave_signals_to(process: int) -> None:
    """Pass stop signals on. Ctrl-C reaches the process directly, because it is in the same group."""

    def forward(number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(process, number)

    for number in STOP_SIGNALS:
        signal.signal(number, forward)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
