"""The token plan of one training run: everything that the training loop needs to know but the weights and text."""

import hashlib
from typing import Literal

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.config.training import (
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
    ValidationConfig,
)

Phase = Literal["pretrain", "retrain", "scratch"]


def initial_seed(seed: int, phase: Phase) -> int:
    """Seed of a run's random weights. A baseline from scratch never draws the weights that its parent began with."""
    digest = hashlib.sha256(f"initial weights:{phase}:{seed}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


class TrainingPlan(Section):
    """Token ranges, batches and recipe of one run. The sides of a matched pair differ in run, phase and init_seed."""

    run: str
    """Name of the run."""
    phase: Phase
    seed: int
    """Seed of the order of the data."""
    init_seed: int
    """Seed of random initial weights; not used when the run starts from a checkpoint."""
    window_start: int
    """First sequence of the permuted corpus that is read."""
    window_end: int
    """One past the last sequence that is read."""
    sequence_length: int
    global_batch_size: int
    micro_batch_size: int
    peak_learning_rate: float
    precision: Literal["auto", "fp32", "bf16"]
    threads: int
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    validation: ValidationConfig
    checkpoint_every_steps: int

    @classmethod
    def of(
        cls, training: TrainingConfig, *, run: str, phase: Phase, seed: int, start_token: int, tokens: int
    ) -> "TrainingPlan":
        """The plan that reads ``tokens`` tokens from ``start_token`` on, both multiples of the global batch."""
        recipe = training.model_dump()
        start = start_token // training.sequence_length
        end = start + tokens // training.sequence_length
        return cls(
            run=run,
            phase=phase,
            seed=seed,
            init_seed=initial_seed(seed, phase),
            window_start=start,
            window_end=end,
            **recipe,
        )

    @property
    def sequences(self) -> int:
        """Sequences read."""
        return self.window_end - self.window_start

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return self.sequences // self.global_batch_size

    @property
    def tokens(self) -> int:
        """Tokens that the forward pass will see."""
        return self.sequences * self.sequence_length
