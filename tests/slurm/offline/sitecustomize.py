"""Loaded by every Python that has this folder in its path: in a SLURM job only this machine can be reached."""

import os
import socket
from pathlib import Path
from typing import Any

LOOPBACK = ("127.", "::1", "localhost")


def _guarded(connect: Any) -> Any:
    def connect_nearby(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
            with Path(os.environ["OFFLINE_GUARD"]).open("a") as attempts:
                attempts.write(f"{address}\n")
            raise OSError("this job has no network")
        return connect(self, address)

    return connect_nearby


if "SLURM_JOB_ID" in os.environ and "OFFLINE_GUARD" in os.environ:
    socket.socket.connect = _guarded(socket.socket.connect)  # type: ignore[method-assign]
    socket.socket.connect_ex = _guarded(socket.socket.connect_ex)  # type: ignore[method-assign]
