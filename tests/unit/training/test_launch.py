"""Several processes started as a study starts them, by launch.py or torchrun: stopped, killed, and gone on."""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch.distributed.elastic.rendezvous import RendezvousParameters, RendezvousTimeoutError, c10d_rendezvous_backend
from torch.distributed.elastic.rendezvous import registry as rendezvous_registry

import launch
from pruning_vs_scratch.errors import Interrupted, PeerLost, UserError
from pruning_vs_scratch.models.tensors import load_tensors
from pruning_vs_scratch.study import TrainingPlan
from train_commands import SCRIPTS, train_command, wait_for_state
from training_plans import make_plan

LAUNCH = [sys.executable, str(SCRIPTS / "launch.py"), "--processes=2"]


def two_processes(prepared: Path, out: Path, plan: TrainingPlan) -> list[str]:
    """A call of train.py by launch.py."""
    return LAUNCH + train_command(prepared, out, plan)[1:]


def workers(launcher: subprocess.Popen[str]) -> list[psutil.Process]:
    """The launcher's processes, the first one first."""
    return sorted(psutil.Process(launcher.pid).children(), key=lambda process: process.environ()["RANK"])


@pytest.mark.slow
def test_processes_that_are_stopped_or_killed_leave_one_message_and_go_on(prepared: Path, tmp_path: Path) -> None:
    """Stopped by SIGUSR1, then one of them killed, then run to the end, and compared with one process."""
    plan = make_plan(window_start=0, window_end=1200, checkpoint_every_steps=20, micro_batch_size=2)
    command = two_processes(prepared, tmp_path, plan)

    stopped = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for_state(tmp_path / "work", stopped)
    stopped.send_signal(signal.SIGUSR1)
    log = stopped.communicate()[1]
    assert stopped.returncode == Interrupted.EXIT_CODE, log
    assert len(re.findall(r"run a-run was stopped by SIGUSR1 after step \d+ of 300; its state is saved", log)) == 1
    assert "error" not in log
    [state] = tmp_path.glob("work/*/*/step-*")

    killed = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while state.exists():
        assert killed.poll() is None and time.monotonic() < deadline, "the run did not go on"
        time.sleep(0.005)
    workers(killed)[1].kill()
    log = killed.communicate()[1]
    assert killed.returncode == 1
    errors = [line for line in log.splitlines() if line.startswith("error: ")]
    assert errors == ["error: process 1 was killed by SIGKILL; the run's last saved state is kept, and the same "
                      "command resumes"]  # fmt: skip
    assert "Traceback" not in log

    subprocess.run(command, check=True, capture_output=True)
    ledger = json.loads((tmp_path / "manifest.json").read_text())["facts"]["ledger"]
    assert (ledger["world_size"], ledger["tokens_seen"]) == (2, plan.tokens)
    alone = tmp_path / "alone"
    subprocess.run(train_command(prepared, alone, plan), check=True, capture_output=True)
    ours, theirs = (
        [record["loss"] for record in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
         if "loss" in record] for folder in (tmp_path, alone)
    )  # fmt: skip
    assert ours[:50] == pytest.approx(theirs[:50], abs=1e-4)
    assert json.loads((alone / "manifest.json").read_text())["facts"]["ledger"]["spec_hash"] == ledger["spec_hash"]


@pytest.mark.slow
def test_a_mistake_is_said_once(prepared: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        two_processes(prepared, tmp_path, make_plan(micro_batch_size=4)), capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.count("2 processes cannot share a global batch of 4 sequences") == 1
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_torchrun_starts_the_same_run(prepared: Path, tmp_path: Path) -> None:
    plan = make_plan(micro_batch_size=2)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    folders = [tmp_path / name for name in ("torchrun", "launch")]
    for start, folder in zip((torchrun, LAUNCH), folders, strict=True):
        command = [*start, *train_command(prepared, folder, plan)[1:]]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    ours, theirs = (load_tensors(folder / "model" / "model.safetensors") for folder in folders)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


@pytest.mark.slow
def test_launchers_of_two_machines_meet(prepared: Path, tmp_path: Path) -> None:
    """Both of them here; the results are those of two processes of one machine."""
    plan = make_plan(micro_batch_size=2)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = [*LAUNCH, "--nodes=2", f"--meet-at=127.0.0.1:{port}", *train_command(prepared, tmp_path / "two", plan)[1:]]
    launchers = [subprocess.Popen(start, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    logs = [launcher.communicate()[1] for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0, 0], logs
    assert sum("a-run  step" in log for log in logs) == 1, "the first process speaks for all"
    subprocess.run(two_processes(prepared, tmp_path / "one", plan), check=True, capture_output=True)
    ours, theirs = (load_tensors(tmp_path / name / "model/model.safetensors") for name in ("two", "one"))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--nodes=2"], "several nodes are started by a SLURM job"), (["--nodes=3"], "3 nodes cannot share 2 processes")],
)
def test_nodes_that_cannot_be_started_are_refused(options: list[str], message: str) -> None:
    refused = subprocess.run([*LAUNCH, *options, "train.py"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert message in refused.stderr


WAITING = "import pathlib, sys, time, os; pathlib.Path(sys.argv[1], os.environ['RANK']).touch(); time.sleep(60)"


@pytest.mark.slow
def test_a_node_that_dies_where_all_meet_ends_the_others_with_one_message(tmp_path: Path) -> None:
    (tmp_path / "wait.py").write_text(WAITING)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = [*LAUNCH, "--nodes=2", f"--meet-at=127.0.0.1:{port}", str(tmp_path / "wait.py"), str(tmp_path)]
    hosting = subprocess.Popen(start, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while port not in {each.laddr.port for each in psutil.Process(hosting.pid).net_connections()}:
        assert time.monotonic() < deadline, "no launcher listens"
        time.sleep(0.1)
    other = subprocess.Popen(start, stderr=subprocess.PIPE, text=True)
    while not all((tmp_path / rank).exists() for rank in "01"):
        assert time.monotonic() < deadline, "the nodes did not meet"
        time.sleep(0.1)
    orphans = psutil.Process(hosting.pid).children()
    hosting.kill()
    log = other.communicate()[1]
    for orphan in orphans:
        orphan.kill()
    assert log == "the processes of this node stop, because those of another node ended\n"
    assert other.returncode == PeerLost.EXIT_CODE


def test_nodes_wait_a_quarter_of_an_hour_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the store where they meet, and for all to come: the second may be starting Python for as long."""
    waited: list[timedelta] = []

    def store(*_: Any, timeout: timedelta, **__: Any) -> None:
        waited.append(timeout)
        raise TimeoutError

    def handler(_store: Any, _backend: Any, params: RendezvousParameters) -> None:
        waited.append(timedelta(seconds=float(params.get("join_timeout"))))
        raise RendezvousTimeoutError

    args = argparse.Namespace(nodes=2, processes=2, meet_at="127.0.0.1:1", command=["work.py"])
    monkeypatch.setattr(launch, "_forward_signals", lambda: None)
    with monkeypatch.context() as patched, pytest.raises(UserError, match=r"2 nodes did not meet at 127\.0\.0\.1:1"):
        patched.setattr(c10d_rendezvous_backend, "TCPStore", store)
        launch._run(args, tmp_path)
    with monkeypatch.context() as patched, pytest.raises(UserError, match="within 15 minutes"):
        patched.setattr(c10d_rendezvous_backend, "create_backend", lambda _: (None, None))
        patched.setattr(rendezvous_registry, "create_handler", handler)
        launch._run(args, tmp_path)
    assert set(waited) == {timedelta(minutes=15)}
