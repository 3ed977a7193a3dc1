"""Training killed with SIGKILL at ten random moments ends as if nothing had happened: dense, sparse, with masks that
are learned, under a teacher, and in the middle of a longer schedule."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pruning_vs_scratch.config.training import CosineSchedule, DistillationConfig, PartSchedule
from pruning_vs_scratch.models.decoder import random_model
from pruning_vs_scratch.training.loop import Trainer
from shape_learning import learner
from training_plans import LENGTH
from training_world import SHAPE, half_mask, make_trainer, moments, random_store, untimed_metrics, weights

KILLS = 10
STEPS = 160
EVERY = 5
"""Steps between two saves."""


def dense(folder: Path) -> Trainer:
    """A run of all its weights."""
    return trainer(folder)


def sparse(folder: Path) -> Trainer:
    """The same under a mask."""
    return trainer(folder, half_mask())


def learned_masks(folder: Path) -> Trainer:
    """Mask learning."""
    return learner(folder, STEPS, checkpoint_every_steps=EVERY)


def distilled(folder: Path) -> Trainer:
    """A sparse run that learns from a teacher."""
    teacher = random_model(replace(SHAPE, hidden_size=32, ffn_size=48), LENGTH, 5)
    return trainer(folder, half_mask(), teacher=teacher, distillation=DistillationConfig(temperature=2.0, weight=0.7))


def within_a_schedule(folder: Path) -> Trainer:
    """A run that begins in the middle of a schedule."""
    return trainer(folder, schedule=PartSchedule(whole=CosineSchedule(), start=STEPS, steps=2 * STEPS))


def trainer(folder: Path, masks: dict[str, torch.Tensor] | None = None, **changes: Any) -> Trainer:
    """A trainer on text for all the steps."""
    store = random_store(folder, count=4 * STEPS * (LENGTH + 1))
    plan = {"window_start": 0, "window_end": 4 * STEPS, "checkpoint_every_steps": EVERY}
    return make_trainer(store, folder, masks, **plan, **changes)


def survive(make: Callable[[Path], Trainer], folder: Path) -> None:
    """Train once undisturbed and once killed repeatedly; in a separate process without threads, because it forks."""
    torch.set_num_threads(1)
    whole = make(folder / "whole")
    whole.train()
    moment = random.Random(0)
    resumed_at = {kill_on_the_way(make, folder / "cut", moment) for _ in range(KILLS)}
    cut = make(folder / "cut")
    cut.train()
    assert len(resumed_at) > KILLS // 3, resumed_at
    assert all(torch.equal(weights(cut)[name], tensor) for name, tensor in weights(whole).items())
    assert all(torch.equal(a, b) for a, b in zip(moments(cut), moments(whole), strict=True))
    assert untimed_metrics(cut) == untimed_metrics(whole)


def kill_on_the_way(make: Callable[[Path], Trainer], work: Path, moment: random.Random) -> int:
    """Start or continue the run and kill it after a random number of steps, at any point of one; where it began."""
    trainer = make(work)
    child = os.fork()
    if child == 0:
        trainer.train()
        os._exit(0)
    wanted = recorded(work) + moment.randint(1, STEPS // KILLS // 2)
    while recorded(work) < wanted:
        time.sleep(0.001)
    time.sleep(moment.uniform(0, 0.01))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "the run ended before it was killed"
    return trainer.state.step


def recorded(work: Path) -> int:
    """Lines of the metrics."""
    return (work / "metrics.jsonl").read_bytes().count(b"\n")


@pytest.mark.slow
@pytest.mark.parametrize("make", [dense, sparse, learned_masks, distilled, within_a_schedule])
def test_ten_kills_change_nothing(make: Callable[[Path], Trainer], tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=survive, args=(make, tmp_path))
    process.start()
    process.join(timeout=120)
    process.kill()
    assert process.exitcode == 0
