"""Start a step in several processes of this machine that work on it together, as torchrun does.

Unlike torchrun it leaves SIGTERM and SIGUSR1 to the processes, which save and stop, and ends with their exit code and
one message. For several machines use torchrun.
"""

import argparse
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

import psutil

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import positive_integer
from pruning_vs_scratch.errors import Interrupted, PeerLost, UserError
from pruning_vs_scratch.training.interrupt import STOP_SIGNALS

SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_STOP = 300
"""How long processes may take to save once one of them failed or was stopped."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=positive_integer, required=True, help="number of processes")
    parser.add_argument("--threads", type=positive_integer, default=1, help="CPU threads a process (default: 1)")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="entry point and its options")
    args = parser.parse_args()
    if not args.command:
        parser.error("name the entry point to start, such as workflow/scripts/train.py")
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    with tempfile.TemporaryDirectory() as logs:
        _run(args.processes, args.command, Path(logs))


def _run(processes: int, command: list[str], logs: Path) -> None:
    """Run the processes to their end.

    Raises:
        SystemExit: they were stopped and saved their state, or the first one failed: it has said so itself.
        UserError: another one failed; holds what it said.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="launch",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        # The first process speaks for all; what the others say is looked at if they fail.
        logs_specs=DefaultLogsSpecs(str(logs), redirects=Std.ERR),
        signals_to_handle="SIGINT",
        shutdown_timeout=SECONDS_TO_STOP,
    )
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    for number in STOP_SIGNALS:
        signal.signal(number, _forward)
    try:
        with _shown(logs):
            elastic_launch(config, sys.executable)(*command)
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in sorted(error.failures.items())}
        if Interrupted.EXIT_CODE in codes.values():
            sys.exit(Interrupted.EXIT_CODE)
        if reason := _reason(codes, logs):
            raise UserError(f"{reason}; the run's last saved state is kept, and the same command goes on") from error
        sys.exit(1)


@contextmanager
def _shown(logs: Path) -> Iterator[None]:
    """While open, and to its end, show what the first process writes."""
    done = threading.Event()
    follower = threading.Thread(target=_follow, args=(logs, done))
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join()


def _follow(logs: Path, done: threading.Event) -> None:
    with ExitStack() as opened:
        stream: TextIO | None = None
        while True:
            is_last = done.wait(SECONDS_BETWEEN_LOOKS)
            for log in [] if stream else logs.glob("*/attempt_0/0/stderr.log"):
                stream = opened.enter_context(log.open(encoding="utf-8", errors="replace"))
            if stream:
                sys.stderr.write(stream.read())
                sys.stderr.flush()
            if is_last:
                return


def _said(logs: Path, rank: int) -> str:
    """What a process has written to its standard error so far."""
    return "".join(
        log.read_text(encoding="utf-8", errors="replace") for log in logs.glob(f"*/attempt_0/{rank}/stderr.log")
    )


def _forward(number: int, _frame: FrameType | None) -> None:
    for child in psutil.Process().children():
        child.send_signal(number)


def _reason(codes: dict[int, int], logs: Path) -> str | None:
    """Why the run failed, from the exit codes by rank; None if the first process has said why.

    A process that lost a peer, or was ended because another one failed, is not the reason.
    """
    for rank, code in codes.items():
        if code < 0 and code != -signal.SIGTERM:
            return f"process {rank} was killed by {signal.Signals(-code).name}"
    failed = [rank for rank, code in codes.items() if code > 0 and code != PeerLost.EXIT_CODE]
    if not failed or 0 in failed:
        return None
    lines = _said(logs, failed[0]).strip().splitlines() or [f"exit code {codes[failed[0]]}"]
    # All processes meet some mistakes, and one of them is the first to end.
    if lines[-1] in _said(logs, 0):
        return None
    return f"process {failed[0]} failed: {lines[-1].removeprefix('error: ')}"


if __name__ == "__main__":
    cli.run(main)
