"""Random text, a trainer of a tiny model on it, and what there is to compare of two trainers."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pruning_vs_scratch.data.tokens import TokenStore, write_tokens
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.families.catalogue import USUAL
from pruning_vs_scratch.models.decoder import random_model
from pruning_vs_scratch.pruning.masks import PackedMask
from pruning_vs_scratch.study import ModelShape
from pruning_vs_scratch.training.loop import Trainer
from pruning_vs_scratch.training.reporters import Reporter
from pruning_vs_scratch.training.task import TrainingTask
from pruning_vs_scratch.training.throughput import MEASURED
from pruning_vs_scratch.training.world import World
from training_plans import LENGTH, make_plan

ALONE = World(torch.device("cpu"))
SHAPE = ModelShape(300, 2, 16, 24, 2, 1, 8, True, 1e4, 1e-5)


def random_store(folder: Path, count: int = 5000) -> TokenStore:
    """Random text of 300 different tokens."""
    tokens = np.random.default_rng(0).integers(0, 300, count).tolist()
    write_tokens(folder / "train", [tokens], vocab_size=300, shard_tokens=1000, tokenizer_sha256="x")
    return TokenStore(folder / "train")


def make_trainer(
    store: TokenStore,
    work: Path,
    masks: dict[str, torch.Tensor] | None = None,
    *,
    kind: type[TrainingTask] = TrainingTask,
    world: World = ALONE,
    reporters: Sequence[Reporter] = (),
    separator: int | None = None,
    teacher: Any = None,
    trunk: Path | None = None,
    family: str = USUAL,
    **plan: Any,
) -> Trainer:
    """A trainer of the tiny model, or of one of its shape of another family."""
    work.mkdir(parents=True, exist_ok=True)
    made = make_plan(**plan)
    return Trainer(
        kind(
            made,
            random_model(replace(SHAPE, family=family), LENGTH, made.seed),
            Windows(store, LENGTH, made.seed, made.reading),
        ),
        masks={name: PackedMask.of(mask) for name, mask in (masks or {}).items()},
        validation=Windows(store, LENGTH, 1),
        work=work,
        world=world,
        reporters=reporters,
        separator=separator,
        teacher=teacher,
        trunk=trunk,
    )


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    """A copy of the trainer's weights."""
    return {name: tensor.detach().clone() for name, tensor in trainer.model.named_parameters()}


def moments(trainer: Trainer) -> list[torch.Tensor]:
    """The optimiser's moments, in the order of the parameters."""
    state = trainer.optimizer.state
    return [state[p][key] for p in trainer.model.parameters() for key in ("exp_avg", "exp_avg_sq")]


def unmeasured(records: list[dict[str, float]]) -> list[dict[str, float]]:
    """Records of steps without what differs between two runs of one plan."""
    return [{key: value for key, value in record.items() if key not in MEASURED} for record in records]


def untimed_metrics(trainer: Trainer) -> list[dict[str, float]]:
    """metrics.jsonl without speed and memory."""
    assert trainer.metrics is not None
    records = [json.loads(line) for line in trainer.metrics.path.read_text().splitlines()]
    return unmeasured(records)


def recorded_reads(trainer: Trainer) -> list[list[int]]:
    """The sequences of each batch that a trainer reads from now on."""
    read: list[list[int]] = []
    original = trainer.task.windows.read

    def recording(sequences: np.ndarray) -> np.ndarray:
        read.append(sequences.tolist())
        return original(sequences)

    trainer.task.windows.read = recording  # type: ignore[method-assign]
    return read


def half_mask() -> dict[str, torch.Tensor]:
    """A mask that drops half of two weights."""
    generator = torch.Generator().manual_seed(0)
    names = ("model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight")
    shapes = {name: parameter.shape for name, parameter in random_model(SHAPE, LENGTH, 0).named_parameters()}
    return {name: torch.rand(shapes[name], generator=generator) < 0.5 for name in names}


def step_with_periodic_actions(trainer: Trainer) -> None:
    """One turn of the loop, as ``train`` does it."""
    trainer.train_step()
    if trainer._is_due(trainer.plan.validation.every_steps):
        trainer.validate()
    if trainer._is_due(trainer.plan.checkpoint_every_steps):
        trainer.save()
