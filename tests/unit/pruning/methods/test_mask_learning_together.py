"""Several processes learn masks as one does: the same text, losses and masks, and each other's states."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import domain_learning
import shape_learning
from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.models.decoder import shape_of
from pruning_vs_scratch.training.loop import Trainer
from pruning_vs_scratch.training.sharding import whole_tensors
from pruning_vs_scratch.training.world import World
from pruning_world import PARENT, SCRIPTS
from pruning_world import World as Checkpoint
from together import run_together
from training_world import recorded_reads, unmeasured

STEPS = 12
TOLERANCE = 1e-4


ONE_TEXT, DOMAINS, CHECKPOINTED = "one text", "two domains", "activation checkpointing"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """The whole run by one process, to compare with; learned once."""

    @cache
    def learned(variant: str) -> dict[str, Any]:
        [found] = run_together(1, whole_run, tmp_path_factory.mktemp("alone"), variant)
        return found

    return learned


def learner(world: World, work: Path, variant: str) -> Trainer:
    """A learner of the processes' own."""
    if variant == ONE_TEXT:
        return shape_learning.learner(work, STEPS, micro_batch_size=1, processes=world, target_warmup_fraction=0.5)
    plan = {"micro_batch_size": 1, "activation_checkpointing": variant == CHECKPOINTED}
    return domain_learning.learner(work, world, **plan)


def whole_run(world: World, work: Path, variant: str) -> dict[str, Any]:
    """Learn to the end."""
    made = learner(world, work, variant)
    read = recorded_reads(made)
    result = made.train()
    return {"read": read, "tokens": result.tokens_seen, **outcome(world, made)}


def outcome(world: World, made: Trainer) -> dict[str, Any]:
    """Records of the first process, and whole weights and masks of each."""
    lines = domain_learning.records(made.work) if world.is_first else []
    values = {name: tensor.numpy().copy() for name, tensor in whole_tensors(made.model)}
    return {"records": unmeasured(lines), "values": values}


def assert_close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Records and values differ by no more than rounding."""
    assert len(found["records"]) == len(expected["records"]) > 0
    for record, wanted in zip(found["records"], expected["records"], strict=True):
        assert record == pytest.approx(wanted, abs=TOLERANCE, rel=1e-3)
    for name, value in expected["values"].items():
        np.testing.assert_allclose(found["values"][name], value, rtol=0, atol=1e-3, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("variant", [ONE_TEXT, DOMAINS, CHECKPOINTED])
def test_processes_agree_with_one_and_read_the_same_windows(
    tmp_path: Path, alone: Callable[[str], dict[str, Any]], variant: str
) -> None:
    expected = alone(variant)
    for size in (2, 4):
        ranks = run_together(size, whole_run, tmp_path / str(size), variant)
        assert_close(ranks[0], expected)
        by_step = [sorted(itertools.chain(*shares)) for shares in zip(*(rank["read"] for rank in ranks), strict=True)]
        assert by_step == [sorted(step) for step in expected["read"]]
        assert {rank["tokens"] for rank in ranks} == {expected["tokens"]}
        for rank in ranks[1:]:
            assert all(np.array_equal(rank["values"][name], value) for name, value in ranks[0]["values"].items())


def begin(world: World, work: Path, variant: str) -> dict[str, Any]:
    """Learn for a while and save."""
    made = learner(world, work, variant)
    for _ in range(STEPS // 2):
        made.train_step()
    made.save()
    return outcome(world, made)


def resume(world: World, work: Path, variant: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is restored, then the end of the run."""
    made = learner(world, work, variant)
    restored = outcome(world, made)
    made.train()
    return restored, outcome(world, made)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_state_is_resumed_by_another_number_of_processes(
    tmp_path: Path, alone: Callable[[str], dict[str, Any]], before: int, after: int
) -> None:
    saved = run_together(before, begin, tmp_path / "cut", DOMAINS)[0]
    restored, end = run_together(after, resume, tmp_path / "cut", DOMAINS)[0]
    assert all(np.array_equal(restored["values"][name], value) for name, value in saved["values"].items())
    assert_close(end, alone(DOMAINS))


# By the command


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """A parent and text to learn on."""
    made = Checkpoint(tmp_path)
    made.write_calibration(200)
    return made


def prune(checkpoint: Checkpoint, processes: int, out: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """A call of prune.py by launch.py."""
    given = [
        "--model",
        checkpoint.model,
        "--calibration",
        checkpoint.calibration,
        "--sequence-length",
        12,
        "--run",
        "run",
        *words,
    ]
    command = [
        sys.executable, SCRIPTS / "launch.py", "--processes", processes, SCRIPTS / "prune.py", *given, "--out", out,
    ]  # fmt: skip
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def learned(micro_batch_size: int = 1) -> list[object]:
    """A request for masks that are learned on 144 tokens."""
    plan = shape_learning.plan_of(steps=3, micro_batch_size=micro_batch_size)
    options = ["--options", json.dumps(shape_learning.OPTIONS), "--mask-learning", plan.model_dump_json()]
    shape = [f"{name}={size}" for name, size in shape_learning.GOAL.items()]
    return ["--method", "sheared_llama", *options, "--threads", 1, "--shape", *shape]


@pytest.mark.slow
def test_two_processes_write_the_checkpoint_of_one(checkpoint: Checkpoint, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    for processes, out in ((1, alone), (2, together)):
        result = prune(checkpoint, processes, out, *learned())
        assert result.returncode == 0, result.stderr
    assert shape_of(load_model(together).config) == replace(PARENT, **shape_learning.GOAL)
    summaries = [json.loads((folder / "pruning.json").read_text()) for folder in (alone, together)]
    assert summaries[0]["kept"] == summaries[1]["kept"]
    weights = [dict(load_model(folder).named_parameters()) for folder in (alone, together)]
    for name, tensor in weights[0].items():
        np.testing.assert_allclose(weights[1][name].detach(), tensor.detach(), rtol=0, atol=1e-3, err_msg=name)
    ledgers = [read_manifest(tmp_path / f"{out.name}.manifest.json")["facts"]["ledger"] for out in (alone, together)]
    assert [ledger["world_size"] for ledger in ledgers] == [1, 2]
    assert ledgers[0]["spec_hash"] == ledgers[1]["spec_hash"]
    assert ledgers[0]["tokens_seen"] == ledgers[1]["tokens_seen"] == 144


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (learned(micro_batch_size=4), "2 processes cannot share a global batch of 4 sequences in micro-batches of 4"),
        (["--method", "wanda", "--ratio", 0.5], "wanda prunes in one process; several can learn the masks of sheared"),
    ],
    ids=["batch", "method"],
)
def test_a_mistake_is_said_once(checkpoint: Checkpoint, tmp_path: Path, words: list[object], message: str) -> None:
    result = prune(checkpoint, 2, tmp_path / "out", *words)
    assert result.returncode == 1
    assert result.stderr.count(message) == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()
