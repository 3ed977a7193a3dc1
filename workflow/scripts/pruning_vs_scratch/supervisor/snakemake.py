"""Running Snakemake as a child: its output line by line, its end in words, and no leftovers."""

import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TextIO

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.processes import signal_when_parent_ends
from pruning_vs_scratch.progress import Progress
from pruning_vs_scratch.supervisor.living import abandoned_jobs, end
from pruning_vs_scratch.supervisor.locks import CutShort, holder

ERROR_MARKS = ("Error in rule", "RuleException", "WorkflowError", "LockException", "Exception in", "Error in file")
STOPPING = "Terminating processes on user request"
"""Snakemake's answer to Ctrl-C."""
SECONDS_TO_ANSWER = 3
LAST_LINES = 12
"""How many of Snakemake's last lines are shown if it reported no error."""


def interrupt_once() -> None:
    """Let the first Ctrl-C of this process raise KeyboardInterrupt, and ignore those that follow while it ends."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)


def end_abandoned_jobs(say: Callable[[str], None]) -> None:
    """Stop the jobs that a killed Snakemake left in this folder, before others make the same files."""
    if jobs := abandoned_jobs(Path.cwd()):
        say("stopping the jobs of a Snakemake that was killed")
        end(jobs)


def run_snakemake(
    command: Sequence[str],
    lock: TextIO,
    variables: Mapping[str, str],
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    """Run Snakemake and show its progress. It inherits the lock.

    Raises:
        CutShort: it was killed, or stopped by Ctrl-C.
        UserError: it failed; has its error message.
    """
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=[lock.fileno()],
        env=os.environ | variables,
        # Like Ctrl-C.
        preexec_fn=partial(signal_when_parent_ends, signal.SIGINT),
    )
    output = _Output(process)
    errors: list[str] = []
    last: deque[str] = deque(maxlen=LAST_LINES)
    try:
        for line in output:
            if not errors and any(mark in line for mark in ERROR_MARKS):
                say("a job failed; waiting for those that still run")
                errors.append("")
            if line:
                last.append(line)
            if errors and line:
                errors.append(line)
            progress.feed(line)
            if shown := progress.due():
                say(shown)
    except KeyboardInterrupt:
        _wait_for_stop(process, output)
        end_abandoned_jobs(say)
        raise CutShort("stopped; run the same command again to resume") from None
    code = process.wait()
    if code < 0:
        end_abandoned_jobs(say)
        raise CutShort(_message(errors or ["", *last], _killed_by(-code)))
    if code > 0:
        raise UserError(_message(errors or ["", *last], f"Snakemake ended with exit code {code}"))


class _Output:
    """The lines of a process as they arrive, and an empty one per second while there are none. It ends with the
    process, because jobs that outlive a killed Snakemake keep its output open.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __iter__(self) -> Iterator[str]:
        while True:
            has_ended = self._process.poll() is not None
            try:
                line = self._lines.get(timeout=1)
            except queue.Empty:
                if has_ended:
                    return
                yield ""
                continue
            if line is None:
                return
            yield line

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(line.rstrip())
        self._lines.put(None)


def _wait_for_stop(process: subprocess.Popen[str], output: _Output) -> None:
    """Wait for Snakemake to end after Ctrl-C, which has reached it too, unless this process alone got the signal."""
    deadline, knows = time.monotonic() + SECONDS_TO_ANSWER, False
    for line in output:
        knows = knows or STOPPING in line
        if not knows and time.monotonic() > deadline:
            process.send_signal(signal.SIGINT)
            knows = True
    process.wait()


def _killed_by(number: int) -> str:
    name = signal.Signals(number).name
    reason = ", as the system does when memory runs out" if number == signal.SIGKILL else ""
    return f"Snakemake was killed by signal {number} ({name}){reason}; run the same command again to resume"


def _message(lines: Sequence[str], ending: str) -> str:
    """What Snakemake printed, how it ended, and the reasons that its jobs gave."""
    reasons = dict.fromkeys(line.removeprefix("error: ") for line in lines if line.startswith("error: "))
    if any("LockException" in line for line in lines) and (locked_by := holder(was_killed=False)):
        return f"the study is locked: {locked_by}"
    return "\n".join([*lines, "", "the workflow stopped: " + "; ".join([*reasons, ending])])
