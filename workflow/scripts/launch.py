"""Start a step in several processes that work on it together, as torchrun does, on one machine or several.

Unlike torchrun it leaves SIGTERM and SIGUSR1 to the processes, which save and stop, and ends with their exit code and
one message. In a SLURM job it starts the processes as a step of the job, on all of its nodes, because only then the
scheduler's signals reach them; and where they stopped for want of time, it has SLURM start the job again.
"""

import argparse
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TextIO

import psutil

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import positive_integer
from pruning_vs_scratch.cluster import slurm
from pruning_vs_scratch.cluster.steps import run_as_step
from pruning_vs_scratch.errors import Interrupted, PeerLost, UserError
from pruning_vs_scratch.training.interrupt import STOP_SIGNALS
from pruning_vs_scratch.warm.client import end_as, run_warm

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_STOP = 300
"""How long processes may take to save once one of them failed or was stopped."""
SECONDS_TO_MEET = 900
"""How long nodes wait for each other: from a cold file system, Python and torch take minutes, and not equally many.

torch's own limits are 60 s for the store where they meet, and 600 s for all to come.
"""


def main() -> None:
    """Entry point."""
    args = _arguments()
    if slurm.can_start_steps() and args.meet_at is None:
        _forward_signals()
        sys.exit(run_as_step(args.nodes, args.processes // args.nodes * args.threads))
    if args.processes == 1:
        if (code := run_warm(args.command)) is not None:
            end_as(code)
        os.execv(sys.executable, [sys.executable, *args.command])
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    with tempfile.TemporaryDirectory() as logs:
        _run(args, Path(logs))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=positive_integer, default=1, help="processes on all nodes (default: 1)")
    parser.add_argument("--nodes", type=positive_integer, default=1, help="nodes (default: 1)")
    parser.add_argument("--threads", type=positive_integer, default=1, help="CPU threads a process (default: 1)")
    parser.add_argument(
        "--meet-at", metavar="HOST:PORT", help="where the processes of several nodes meet; on each node"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="entry point and its options")
    args = parser.parse_args()
    if not args.command:
        parser.error("name the entry point to start, such as workflow/scripts/train.py")
    if args.processes % args.nodes:
        parser.error(f"{args.nodes} nodes cannot share {args.processes} processes evenly")
    if args.nodes > 1 and args.meet_at is None and not slurm.can_start_steps():
        parser.error(
            "several nodes are started by a SLURM job; without one, start this command on each, with --meet-at"
        )
    return args


def _run(args: argparse.Namespace, logs: Path) -> None:
    """Run the processes of this machine to their end.

    Raises:
        SystemExit: they were stopped and saved their state, or the first one failed: it has said so itself.
        UserError: another one failed; holds what it said. Or the nodes did not meet.
        PeerLost: the launcher of another node ended.
    """
    with _cpp_warnings_off():
        from torch.distributed import DistError
        from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.elastic.rendezvous import RendezvousError
        from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=args.nodes,
        max_nodes=args.nodes,
        nproc_per_node=args.processes // args.nodes,
        run_id="launch",
        rdzv_backend="c10d",
        rdzv_endpoint=args.meet_at if args.nodes > 1 else "localhost:0",
        rdzv_configs={"read_timeout": SECONDS_TO_MEET, "join_timeout": SECONDS_TO_MEET},
        max_restarts=0,
        # The first process speaks for all; what the others say is looked at if they fail.
        logs_specs=DefaultLogsSpecs(str(logs), redirects=Std.ERR),
        signals_to_handle="SIGINT",
        shutdown_timeout=SECONDS_TO_STOP,
    )
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    _forward_signals()
    first_is_here = threading.Event()
    if args.nodes == 1:
        first_is_here.set()
    try:
        with _shown(logs, first_is_here):
            elastic_launch(config, sys.executable)(*args.command)
    except ChildFailedError as error:
        failures = dict(sorted(error.failures.items()))
        if any(failure.exitcode == Interrupted.EXIT_CODE for failure in failures.values()):
            sys.exit(Interrupted.EXIT_CODE)
        said_by_first = _said(logs, 0) if first_is_here.is_set() else ""
        if reason := _reason(failures, logs, said_by_first):
            raise UserError(f"{reason}; the run's last saved state is kept, and the same command resumes") from error
        sys.exit(1)
    except (RendezvousError, DistError) as error:
        if any(logs.glob("*/attempt_0/*")):
            raise PeerLost("the processes of this node stop, because those of another node ended") from error
        raise UserError(
            f"{args.nodes} nodes did not meet at {args.meet_at} within {SECONDS_TO_MEET // 60} minutes: the same "
            "command has to run on each of them, and each has to reach that address"
        ) from error


@contextmanager
def _cpp_warnings_off() -> Iterator[None]:
    """Import torch here so that its C++ is silent where an exception says the same: lost connections, with a stack.

    It looks at the variable once; the processes that are started have it as it was.
    """
    name = "TORCH_CPP_LOG_LEVEL"
    before = os.environ.get(name)
    os.environ[name] = "ERROR"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


@contextmanager
def _shown(logs: Path, first_is_here: threading.Event) -> Iterator[None]:
    """While open, and to its end, show what the first process of all writes, and note that it is on this machine."""
    done = threading.Event()
    follower = threading.Thread(target=_follow, args=(logs, first_is_here, done))
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join()


def _follow(logs: Path, first_is_here: threading.Event, done: threading.Event) -> None:
    with ExitStack() as opened:
        stream: TextIO | None = None
        while True:
            is_last = done.wait(SECONDS_BETWEEN_LOOKS)
            if not first_is_here.is_set() and "0" in _ranks():
                first_is_here.set()
            for log in [] if stream or not first_is_here.is_set() else logs.glob("*/attempt_0/0/stderr.log"):
                stream = opened.enter_context(log.open(encoding="utf-8", errors="replace"))
            if stream:
                sys.stderr.write(stream.read())
                sys.stderr.flush()
            if is_last:
                return


def _ranks() -> list[str]:
    """Ranks of the processes that run on this machine; the rendezvous of several machines deals them out."""
    ranks = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            ranks.append(child.environ().get("RANK", ""))
    return ranks


def _said(logs: Path, local_rank: int) -> str:
    """What a process of this machine has written to its standard error so far."""
    return "".join(
        log.read_text(encoding="utf-8", errors="replace") for log in logs.glob(f"*/attempt_0/{local_rank}/stderr.log")
    )


def _forward_signals() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, _forward)


def _forward(number: int, _frame: FrameType | None) -> None:
    for child in psutil.Process().children():
        child.send_signal(number)


def _reason(failures: "Mapping[int, ProcessFailure]", logs: Path, said_by_first: str) -> str | None:
    """Why the run failed, from the failures on this machine by rank; None if the first process has said why.

    A process that lost a peer, or was ended because another one failed, is not the reason.
    """
    codes = {rank: failure.exitcode for rank, failure in failures.items()}
    for rank, code in codes.items():
        if code < 0 and code != -signal.SIGTERM:
            return f"process {rank} was killed by {signal.Signals(-code).name}"
    failed = [rank for rank, code in codes.items() if code > 0 and code != PeerLost.EXIT_CODE]
    if not failed or 0 in failed:
        return None
    lines = _said(logs, failures[failed[0]].local_rank).strip().splitlines() or [f"exit code {codes[failed[0]]}"]
    # All processes meet some mistakes, and one of them is the first to end.
    if lines[-1] in said_by_first:
        return None
    return f"process {failed[0]} failed: {lines[-1].removeprefix('error: ')}"


if __name__ == "__main__":
    cli.run(main)
