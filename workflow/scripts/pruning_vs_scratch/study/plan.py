"""The token plan of one training run: everything that the training loop needs except weights and text."""

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.config.explain import explained
from pruning_vs_scratch.config.precision import WantedPrecision
from pruning_vs_scratch.config.training import (
    DistillationConfig,
    OptimizerConfig,
    PlannedSchedule,
    Recomputing,
    TrainingConfig,
    ValidationConfig,
)
from pruning_vs_scratch.data.reading import READ_ONCE, Reading
from pruning_vs_scratch.errors import UserError

SAVING = frozenset({"checkpoint_every_steps", "checkpoint_every_minutes", "keep_checkpoints", "async_saves"})
"""Fields of a training plan on when and how states are saved; they do not affect the result."""
EXECUTION = SAVING | {
    "micro_batch_size", "loss_chunk_tokens", "fused_loss", "activation_checkpointing", "compile", "sharding", "threads",
}  # fmt: skip
"""Fields of a training plan on how it is executed; they change time, memory and rounding, not the run."""

Phase = Literal["pretrain", "prune", "retrain", "scratch", "rewind", "trunk", "sweep", "shape_search"]
TRIAL_PHASES: frozenset[Phase] = frozenset({"sweep", "shape_search"})
"""Phases of trial runs, which leave no checkpoint and may diverge."""


def initial_seed(seed: int, phase: Phase) -> int:
    """Seed of a run's random weights.

    A baseline from scratch never draws its parent's initial weights; a rewound one always does.
    """
    drawn_in = "pretrain" if phase == "rewind" else phase
    digest = hashlib.sha256(f"initial weights:{drawn_in}:{seed}".encode()).digest()
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
    reading: Reading = READ_ONCE
    """Which windows of the text form the sequences."""
    sequence_length: int
    global_batch_size: int
    micro_batch_size: int
    attention: Literal["window", "document"]
    peak_learning_rate: float
    precision: WantedPrecision
    loss_chunk_tokens: int | None
    fused_loss: bool
    activation_checkpointing: Recomputing
    compile: Literal["auto", True, False]
    float8: bool
    sharding: Literal["all", "node"]
    mask_gradients: Literal["before_clip", "after_clip"]
    threads: int
    optimizer: OptimizerConfig
    schedule: PlannedSchedule
    distillation: DistillationConfig | None
    """How the run learns from a teacher; None for the cross-entropy alone."""
    validation: ValidationConfig | None
    checkpoint_every_steps: int
    checkpoint_every_minutes: float | None
    keep_checkpoints: int
    async_saves: Literal["auto", True, False]

    @classmethod
    def of(
        cls,
        training: TrainingConfig,
        *,
        run: str,
        phase: Phase,
        seed: int,
        start_token: int,
        tokens: int,
        reading: Reading = READ_ONCE,
        **changes: Any,
    ) -> "TrainingPlan":
        """The plan that reads ``tokens`` tokens from ``start_token`` on, both multiples of the global batch.

        ``changes`` replace parts of the study's recipe.
        """
        recipe = training.model_dump(include=set(cls.model_fields) - {"distillation"}) | changes
        start = start_token // training.sequence_length
        end = start + tokens // training.sequence_length
        return cls(
            run=run,
            phase=phase,
            seed=seed,
            init_seed=initial_seed(seed, phase),
            window_start=start,
            window_end=end,
            reading=reading,
            **{"distillation": training.distillation if training.objective == "kd" and phase == "retrain" else None}
            | recipe,
        )

    @classmethod
    def parse(cls, values: Any, option: str, saving: Mapping[str, Any]) -> "TrainingPlan":
        """Parse the plan given as plain values by a command's option; ``saving`` sets when states are saved.

        Raises:
            UserError: invalid plan.
        """
        try:
            return cls.model_validate({**values, **saving} if isinstance(values, dict) else values)
        except ValidationError as error:
            raise UserError(f"{option} is not a token plan: {'; '.join(explained(error, cls))}") from error

    @property
    def without_saving(self) -> str:
        """JSON of all fields except those on saving: a change in it makes a finished run run again."""
        return self.model_dump_json(exclude=set(SAVING))

    def begun(self, run: str, steps: int, schedule: PlannedSchedule) -> "TrainingPlan":
        """The plan of a trunk: the first steps of this one, by a schedule that is the same in these steps."""
        end = self.window_start + steps * self.global_batch_size
        return self.model_copy(update={"run": run, "phase": "trunk", "window_end": end, "schedule": schedule})

    @property
    def spec(self) -> dict[str, Any]:
        """Identity of the run: a run with another value does not resume from a state of this one."""
        return self.model_dump(mode="json", exclude=set(EXECUTION))

    @property
    def objective(self) -> str:
        """The objective that is minimised, for the ledger."""
        return "ce" if self.distillation is None else self.distillation.label

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


class PruningPlan(Section):
    """What one pruning step reads and how it chooses, except for its target."""

    method: str
    options: dict[str, Any]
    """The method's section of the configuration."""
    seed: int
    """Seed of the order of the text, and of masks that are drawn or learned."""
    sequences: int
    """Windows of calibration text; none for a method that reads no text."""
    sequence_length: int
    batch_size: int
    threads: int
    low_memory: bool
    host_buffer_gib: float
    device_buffer_gib: float
    precision: WantedPrecision
    training: TrainingPlan | None = None
    """Token plan of masks that are learned."""

    @property
    def tokens(self) -> int:
        """Tokens that pruning reads."""
        return self.training.tokens if self.training else self.sequences * self.sequence_length
