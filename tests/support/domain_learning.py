"""Masks for two domains, words that repeat and noise: a plan of few steps, and its learner."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from domain_world import LENGTH, VOCABULARY
from models import SHAPE
from pruning_vs_scratch.config.training import TrainingConfig, ValidationConfig
from pruning_vs_scratch.data.domains import DomainLoader, Ranges
from pruning_vs_scratch.data.tokens import TokenArray
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.models.decoder import random_model
from pruning_vs_scratch.pruning.domain_text import DomainText
from pruning_vs_scratch.pruning.methods.sheared_llama.facts import ShearedLlamaOptions
from pruning_vs_scratch.pruning.methods.sheared_llama.method import MaskedModel, MaskLearning
from pruning_vs_scratch.pruning.methods.sheared_llama.shape_masks import ShapeMasks
from pruning_vs_scratch.study import TrainingPlan
from pruning_vs_scratch.study.expand import mask_learning_plan
from pruning_vs_scratch.training.loop import Trainer
from pruning_vs_scratch.training.world import World
from training_world import ALONE

BATCH, STEPS, UPDATE, PATTERN = 4, 12, 2, 20
PARENT = replace(SHAPE, vocab_size=VOCABULARY, layers=2, kv_heads=6)
GOAL = replace(PARENT, hidden_size=18, ffn_size=30)
NOISY = {"noise": 0.5, "words": 0.5}
OPTIONS: dict[str, Any] = {
    "tokens": STEPS * BATCH * LENGTH, "global_batch_size": BATCH, "micro_batch_size": 2, "checkpoint_every_steps": 3,
    "weight_learning_rate": 0.02, "domain_update_steps": UPDATE, "domain_sequences": 6,
}  # fmt: skip


def two_domains(sequences: int, seed: int) -> tuple[list[int], Ranges]:
    """Words that come again and again, then random tokens, a few windows each."""
    count = sequences * (LENGTH + 1)
    words = np.tile(np.arange(PATTERN), count // PATTERN + 1)[:count]
    noise = np.random.default_rng(seed).integers(0, VOCABULARY, count)
    return [*words.tolist(), *noise.tolist()], {"words": (0, count), "noise": (count, 2 * count)}


def learning_plan(first: int = 0) -> TrainingPlan:
    options = ShearedLlamaOptions(**OPTIONS)
    recipe = TrainingConfig(
        sequence_length=LENGTH, global_batch_size=BATCH, micro_batch_size=BATCH, peak_learning_rate=0.5,
        precision="fp32", validation=ValidationConfig(sequences=1), checkpoint_every_steps=1000,
    )  # fmt: skip
    return mask_learning_plan(recipe, options, "run", 3, first * LENGTH, STEPS * BATCH * LENGTH)


def learner(work: Path, processes: World = ALONE, **changes: Any) -> Trainer:
    """Learns masks for a parent that is not trained yet."""
    work.mkdir(exist_ok=True)
    plan = learning_plan().model_copy(update=changes)
    tokens, ranges = two_domains(60, seed=0)
    windows = Windows(TokenArray(np.array(tokens), "text"), LENGTH, plan.seed)
    held_out, held_out_ranges = two_domains(6, seed=1)
    validation = {
        name: torch.tensor(held_out[start:stop]).view(6, LENGTH + 1) for name, (start, stop) in held_out_ranges.items()
    }
    decoder = random_model(PARENT, LENGTH, 0)
    loader = DomainLoader(windows, ranges, NOISY, plan.window_start, plan.seed)
    domains = DomainText(loader, validation)
    model = MaskedModel(decoder, ShapeMasks(PARENT, GOAL, plan.init_seed))
    options = ShearedLlamaOptions(**OPTIONS)
    task = MaskLearning(plan, model, windows, options, domains)
    return Trainer(task, masks={}, validation=None, work=work, world=processes)


def records(work: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
