"""A step's request to a warm interpreter, and how it is sent over their connection."""

import json
import os
import socket
import struct
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

LENGTH = struct.Struct("!Q")
NUMBER = struct.Struct("!i")
"""A process id, or how the process ended."""
STREAMS = (0, 1, 2)
"""Standard input, output and error."""
FREE_VARIABLES = frozenset({"PATH", "PWD", "OLDPWD", "SHLVL", "_", "PS1", "PS2", "TMPDIR", "TMP", "TEMP", "TEMPDIR"})
"""Variables that the shell and Snakemake set or unset for each command. No library reads them on import."""


@dataclass(frozen=True)
class WarmRequest:
    """One command, and what a process inherits."""

    command: list[str]
    """Entry point and its options."""
    prefix: str
    """Prefix of the Python that would run it."""
    folder: str
    """Working folder."""
    environment: dict[str, str]
    umask: int


def this_process(command: Sequence[str]) -> WarmRequest:
    """A command to run exactly as this process would."""
    umask = os.umask(0)
    os.umask(umask)
    folder = os.getcwd()  # noqa: PTH109 (it travels as text)
    return WarmRequest(list(command), sys.prefix, folder, dict(os.environ), umask)


def assume(request: WarmRequest) -> None:
    """Take over what a process inherits, except its streams."""
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    os.umask(request.umask)
    tempfile.tempdir = None  # it may have been found under the environment before


def differing_variables(one: Mapping[str, str], other: Mapping[str, str]) -> set[str]:
    """Environment variables that differ, except those in ``FREE_VARIABLES``."""
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)} - FREE_VARIABLES


def send_request(connection: socket.socket, request: WarmRequest) -> None:
    """Send a request with the streams of this process."""
    content = json.dumps(asdict(request)).encode()
    socket.send_fds(connection, [LENGTH.pack(len(content))], STREAMS)
    connection.sendall(content)


def receive_request(connection: socket.socket) -> tuple[WarmRequest, list[int]] | None:
    """A request and its three streams; None if the other side is gone."""
    header, streams, _, _ = socket.recv_fds(connection, LENGTH.size, len(STREAMS))
    if len(header) < LENGTH.size:
        return None
    content = _exactly(connection, LENGTH.unpack(header)[0])
    return None if content is None else (WarmRequest(**json.loads(content)), streams)


def send_number(connection: socket.socket, number: int) -> None:
    """Send a process id, or how the process ended."""
    connection.sendall(NUMBER.pack(number))


def receive_number(connection: socket.socket) -> int | None:
    """Such a number; None if the other side is gone."""
    content = _exactly(connection, NUMBER.size)
    return None if content is None else int(NUMBER.unpack(content)[0])


def _exactly(connection: socket.socket, length: int) -> bytes | None:
    """The next bytes; None if the other side is gone first."""
    content = bytearray()
    while len(content) < length:
        try:
            part = connection.recv(length - len(content))
        except ConnectionError:
            return None
        if not part:
            return None
        content += part
    return bytes(content)
