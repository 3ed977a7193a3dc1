"""train.py, killed for real, alone with its run, and refused."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from pruning_vs_scratch.config.training import WsdSchedule
from pruning_vs_scratch.errors import Interrupted
from pruning_vs_scratch.models.tensors import load_tensors
from pruning_vs_scratch.study import ModelShape
from train_commands import train_command, wait_for_state
from training_plans import make_plan

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_a_run_killed_with_sigkill_and_started_again_gives_the_same_weights(prepared: Path, tmp_path: Path) -> None:
    plan = make_plan(window_start=0, window_end=1200, checkpoint_every_steps=20)
    subprocess.run(train_command(prepared, tmp_path / "whole", plan), check=True, capture_output=True)
    command = train_command(prepared, tmp_path / "cut", plan)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_state(tmp_path / "cut" / "work", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut" / "manifest.json").exists()
    resumed = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "step 1/300" not in resumed.stderr
    whole, cut = (load_tensors(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(cut[name], tensor) for name, tensor in whole.items())
    ledgers = [json.loads((tmp_path / n / "manifest.json").read_text())["facts"]["ledger"] for n in ("whole", "cut")]
    assert ledgers[0]["tokens_seen"] == ledgers[1]["tokens_seen"] == plan.tokens
    assert ledgers[0]["spec_hash"] == ledgers[1]["spec_hash"]
    assert not any((tmp_path / "cut" / "work" / "a-run").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_stop_signal_saves_and_ends_with_a_separate_code(
    prepared: Path, tmp_path: Path, number: signal.Signals
) -> None:
    plan = make_plan(window_start=0, window_end=2400, checkpoint_every_steps=20)
    command = train_command(prepared, tmp_path, plan)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for_state(tmp_path / "work", process)
    process.send_signal(number)
    log = process.communicate()[1]
    assert process.returncode == Interrupted.EXIT_CODE
    stopped = re.search(rf"run a-run was stopped by {number.name} after step (\d+) of 600; its state is saved", log)
    assert stopped
    assert "Traceback" not in log
    assert [folder.name for folder in tmp_path.glob("work/*/*/step-*")] == [f"step-{int(stopped[1]):08d}"]
    assert not list(tmp_path.glob("m*"))


@pytest.mark.slow
def test_two_processes_never_train_one_run_at_once(prepared: Path, tmp_path: Path) -> None:
    """A workflow that was killed may leave a job behind; the next one waits for it, and takes over what it made."""
    plan = make_plan(window_start=0, window_end=1200)
    command = train_command(prepared, tmp_path, plan)
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    logs = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum("waiting for it to end" in log for log in logs) == 1
    assert sum("run a-run was already trained by another job" in log for log in logs) == 1
    assert sum("step 300/300" in log for log in logs) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: os.truncate(folder / "train" / "shard-00000.bin", 99), r"shard-00000.bin is truncated: 99 of"),
        (lambda folder: (folder / "train" / "index.json").unlink(), r"index.json is missing"),
        (lambda folder: (folder / "tokenizer" / "tokenizer.json").write_text("{}"), r"another tokenizer"),
    ],
    ids=["truncated shard", "missing index", "another tokenizer"],
)
def test_bad_input_gives_one_clear_line_and_leaves_nothing(
    prepared: Path, tmp_path: Path, damage: Any, message: str
) -> None:
    import shutil

    copy = tmp_path / "prepared"
    shutil.copytree(prepared, copy)
    damage(copy)
    result = subprocess.run(
        train_command(copy, tmp_path / "out", make_plan()), capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert re.search(message, result.stderr)
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "out").glob("m*"))


def test_metrics_of_a_trunk_without_its_state_are_refused(prepared: Path, tmp_path: Path) -> None:
    command = train_command(prepared, tmp_path, make_plan(), **{"state-metrics": tmp_path / "metrics.jsonl"})
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "error: --state-metrics is the curve that led to a state: give it with --state\n"


def test_a_configuration_is_taken_over_only_with_random_weights(prepared: Path, tmp_path: Path) -> None:
    command = train_command(prepared, tmp_path, make_plan(), model=tmp_path, like=tmp_path)
    words = [word for word in command if not word.startswith("--target")]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "error: --like completes the shape of random weights: give it with --target\n"


@pytest.mark.slow
def test_a_trunk_is_a_state_from_which_a_run_continues(prepared: Path, tmp_path: Path) -> None:
    schedule = WsdSchedule(kind="wsd", warmup_steps=2, decay_fraction=0.25)
    plan = make_plan(schedule=schedule, validation={"sequences": 4})
    trunk, run = tmp_path / "trunk", tmp_path / "run"
    begun = plan.begun("a-trunk", schedule.decay_start(plan.steps), schedule.trunk)
    subprocess.run(train_command(prepared, trunk, begun), check=True, capture_output=True)
    given = {"state": trunk / "model", "state-metrics": trunk / "metrics.jsonl"}
    subprocess.run(train_command(prepared, run, plan, **given), check=True, capture_output=True)
    subprocess.run(train_command(prepared, tmp_path / "alone", plan), check=True, capture_output=True)

    expected, found = (load_tensors(tmp_path / name / "model/model.safetensors") for name in ("alone", "run"))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    manifests = {name: json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("trunk", "run")}
    ledgers = {name: manifest["facts"]["ledger"] for name, manifest in manifests.items()}
    seen, seconds = ("tokens_seen", "tokens_trunk"), ("wall_seconds", "wall_seconds_trunk")
    assert [ledgers["trunk"][column] for column in ("phase", *seen)] == ["trunk", begun.tokens, 0]
    assert [ledgers["run"][column] for column in ("phase", *seen)] == ["scratch", plan.tokens, begun.tokens]
    assert [ledgers["run"][column] > ledgers["trunk"][seconds[0]] - 0.001 for column in seconds] == [True, True]
    assert set(manifests["trunk"]["outputs"]) == {"state", "metrics"}
    assert {"target", "state"} <= set(manifests["run"]["inputs"])
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in steps if "loss" in record] == list(range(1, plan.steps + 1))


@pytest.mark.slow
def test_a_teacher_of_another_vocabulary_is_refused(prepared: Path, tmp_path: Path) -> None:
    from pruning_vs_scratch.config.training import DistillationConfig
    from pruning_vs_scratch.models.checkpoint import save_model
    from pruning_vs_scratch.models.decoder import random_model

    (tmp_path / "teacher").mkdir()
    teacher = random_model(ModelShape(300, 1, 16, 24, 2, 1, 8, True, 1e4, 1e-5), 16, 0)
    save_model(teacher, tmp_path / "teacher", prepared / "tokenizer")
    plan = make_plan(distillation=DistillationConfig())
    command = train_command(prepared, tmp_path, plan, teacher=tmp_path / "teacher")
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert re.search(r"error: the teacher .*teacher has a vocabulary of 300, the student one of 280", refused.stderr)
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_a_dry_run_prints_the_needs_of_a_step_and_writes_nothing(prepared: Path, tmp_path: Path) -> None:
    plan = make_plan(micro_batch_size=1, activation_checkpointing="auto", sharding="node")
    absent = dict.fromkeys(("tokens", "validation", "tokenizer"), tmp_path / "absent")
    command = [*train_command(prepared, tmp_path / "out", plan, **absent), "--dry-run=h100", "--in-node=2"]
    found = subprocess.run([*command, "--processes=4"], check=True, capture_output=True, text=True).stdout
    memory, step = found.splitlines()
    assert re.fullmatch(
        r"run a-run: expects 0\.0 of 80 GB on each device \(state .*\), no block recomputed; 0\.0 GB counted.*", memory
    )
    assert re.match(r"a step of 1 micro-batches takes at least \S+ s, which is 0% of the peak \(matrix products", step)
    assert list(tmp_path.iterdir()) == []
    refused = subprocess.run([*command, "--processes=3"], check=False, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "3 processes cannot share a global batch of 4" in refused.stderr
