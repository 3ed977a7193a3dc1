"""The warm interpreter itself: it imports once, and forks a child for each command that a job requests. It has one
thread and computes nothing, so a fork is safe: no other thread holds a lock or is lost.
"""

import os
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from pruning_vs_scratch.libraries import import_libraries
from pruning_vs_scratch.manifest import source_hash
from pruning_vs_scratch.processes import signal_when_parent_ends
from pruning_vs_scratch.warm.client import ADDRESS, NOT_SERVED
from pruning_vs_scratch.warm.request import WarmRequest, assume, differing_variables, receive_request, send_number

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": os.devnull}
"""Variables that the Hugging Face libraries read on import. No served step may use the hub or its cache: evaluation
reads its frozen data with libraries that it imports itself."""
LEFT_TO_CHILDREN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""A signal to the whole process group is meant for the children that work."""


class WarmInterpreter:
    """Serves the commands that arrive on ``listener`` until ``lifeline``, the end of a pipe, is closed."""

    def __init__(self, listener: socket.socket, lifeline: int) -> None:
        self._listener = listener
        self._lifeline = lifeline
        self._environment = dict(os.environ)
        self._source_hash = source_hash()
        self._is_open, self._is_warm = True, False
        self._children: dict[int, socket.socket] = {}
        """Connections to the jobs, by the processes that run their commands."""
        self._handlers: dict[int, Any] = {}

    def serve(self) -> WarmRequest | None:
        """Fork for each command. A child returns what it should run; the interpreter, at the end, None."""
        self._handlers = {number: signal.signal(number, signal.SIG_IGN) for number in LEFT_TO_CHILDREN}
        child_ended, wake = os.pipe()
        for end in (child_ended, wake):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake)
        while self._is_open or self._children:
            ready = self._wait(child_ended)
            if child_ended in ready:
                os.read(child_ended, 4096)
            if self._lifeline in ready:
                self._close()
            if self._is_open and self._listener.fileno() in ready and (request := self._begin()):
                return request
            for process, connection in self._children.items():
                if connection.fileno() in ready:  # the job was killed
                    os.kill(process, signal.SIGKILL)
            self._reap()
        return None

    def _wait(self, child_ended: int) -> set[int]:
        """Wait until something happens; the descriptors that are ready."""
        poll = select.poll()
        poll.register(child_ended, select.POLLIN)
        if self._is_open:
            poll.register(self._listener, select.POLLIN)
            poll.register(self._lifeline, select.POLLIN)
        for connection in self._children.values():
            poll.register(connection, select.POLLRDHUP)
        return {descriptor for descriptor, _ in poll.poll()}

    def _begin(self) -> WarmRequest | None:
        """Fork for one job; in the child, return its request."""
        if not self._is_warm:
            import_libraries()
            self._is_warm = True
            if not _can_fork():
                self._close()
                return None
        connection, _ = self._listener.accept()
        interpreter = os.getpid()
        try:
            process = os.fork()
        except OSError:  # too many processes: the job starts Python itself, or says so
            connection.close()
            return None
        if process == 0:
            return self._in_child(connection, interpreter)
        self._children[process] = connection
        return None

    def _in_child(self, connection: socket.socket, interpreter: int) -> WarmRequest:
        """Become the process that a job requests; ends here if this interpreter does not fit it, or the job is gone."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._listener.close()
        for other in self._children.values():
            other.close()
        signal_when_parent_ends(signal.SIGKILL)
        received = receive_request(connection)
        fits = received is not None and os.getppid() == interpreter and self._fits(received[0])
        try:
            send_number(connection, os.getpid() if fits else NOT_SERVED)
        except OSError:
            fits = False
        if received is None or not fits:
            os._exit(0)
        connection.close()
        request, streams = received
        assume(request)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        return request

    def _fits(self, request: WarmRequest) -> bool:
        """Whether a fresh interpreter would have read the same code, under the same environment."""
        differing = differing_variables(self._environment, request.environment)
        if request.prefix != sys.prefix or not differing <= {ADDRESS, *OFFLINE}:
            return False
        source_hash.cache_clear()
        return source_hash() == self._source_hash

    def _reap(self) -> None:
        """Tell jobs how their processes ended."""
        while self._children:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return
            connection = self._children.pop(process)
            with suppress(OSError):  # the job was killed, or went on without this interpreter
                send_number(connection, status)
            connection.close()

    def _close(self) -> None:
        self._is_open = False
        self._listener.close()


def _can_fork() -> bool:
    """Whether a child could do everything that this process can: it has no other thread and has not used a GPU."""
    from torch import cuda

    return len(list(Path("/proc/self/task").iterdir())) == 1 and not cuda.is_available()
