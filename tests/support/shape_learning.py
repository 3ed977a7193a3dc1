"""Masks for one text: a plan of few steps, and the learner that takes the tiny Llama to a goal."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from models import tiny_model
from pruning_vs_scratch.config.training import TrainingConfig, ValidationConfig
from pruning_vs_scratch.data.tokens import TokenArray
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.pruning.methods.sheared_llama.facts import ShearedLlamaOptions
from pruning_vs_scratch.pruning.methods.sheared_llama.method import MaskedModel, MaskLearning
from pruning_vs_scratch.pruning.methods.sheared_llama.shape_masks import ShapeMasks
from pruning_vs_scratch.study import TrainingPlan
from pruning_vs_scratch.study.expand import mask_learning_plan
from pruning_vs_scratch.training.loop import Trainer
from pruning_vs_scratch.training.world import World as TrainingWorld
from pruning_world import LENGTH, PARENT, random_tokens
from training_world import ALONE

GOAL: dict[str, int] = {"layers": 3, "hidden_size": 15, "ffn_size": 23, "heads": 3, "kv_heads": 1}
BATCH, STEPS = 4, 6
OPTIONS: dict[str, Any] = {
    "tokens": STEPS * BATCH * LENGTH,
    "global_batch_size": BATCH,
    "micro_batch_size": 2,
    "checkpoint_every_steps": 2,
    "mask_learning_rate": 1.0,
    "weight_learning_rate": 0.01,
}


def plan_of(steps: int, start: int = 0, micro_batch_size: int = BATCH, **changes: Any) -> TrainingPlan:
    options = ShearedLlamaOptions(**OPTIONS | {"micro_batch_size": micro_batch_size} | changes)
    recipe = TrainingConfig(
        sequence_length=LENGTH,
        global_batch_size=BATCH,
        micro_batch_size=micro_batch_size,
        peak_learning_rate=0.5,
        precision="fp32",
        validation=ValidationConfig(sequences=1),
        checkpoint_every_steps=1000,
    )
    tokens = BATCH * LENGTH
    return mask_learning_plan(recipe, options, "run", 3, start * LENGTH, steps * tokens)


def learner(
    folder: Path,
    steps: int,
    goal: dict[str, int] = GOAL,
    micro_batch_size: int = BATCH,
    processes: TrainingWorld = ALONE,
    **changes: Any,
) -> Trainer:
    """A learner on random text, from the tiny Llama to a goal."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    plan = plan_of(steps, micro_batch_size=micro_batch_size, **{"checkpoint_every_steps": 1000} | changes)
    options = ShearedLlamaOptions(**OPTIONS | changes)
    text = TokenArray(random_tokens(steps * BATCH * (LENGTH + 1)), "text")
    masks = ShapeMasks(PARENT, replace(PARENT, **goal), plan.init_seed)
    model = MaskedModel(tiny_model(vocab_size=PARENT.vocab_size), masks)
    task = MaskLearning(plan, model, Windows(text, LENGTH, plan.seed), options, domains=None)
    return Trainer(task, masks={}, validation=None, work=folder, world=processes)
