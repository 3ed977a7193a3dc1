"""What a training loop trains, with the parts that differ between kinds of training."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from pruning_vs_scratch.data.windows import Windows, step_sequences
from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.training.optimizer import weight_groups
from pruning_vs_scratch.training.world import World

MeanLoss = Callable[[torch.Tensor], float]
"""Mean loss in nats per token of the current model on windows of shape (n, length + 1)."""


class TrainingTask:
    """Trains all weights of a model on the windows of a plan; other tasks override what differs."""

    learns_masks = False
    """Whether masks of the model are learned. They take memory, and the whole micro-batch shares their graph."""

    def __init__(self, plan: TrainingPlan, model: nn.Module, windows: Windows) -> None:
        self.plan = plan
        self.model = model
        """The trained module: everything in the resume state."""
        self.windows = windows

    @property
    def decoder(self) -> Any:
        """The language model that the forward pass runs."""
        return self.model

    @property
    def reads_ahead(self) -> bool:
        """Whether a batch depends on the plan alone, and so can be read while the model works on the previous one."""
        return True

    @property
    def loader_state(self) -> dict[str, Any]:
        """State of the reading order for resuming; empty if the plan determines the order."""
        return {}

    def begin(self, loader_state: dict[str, Any], mean_loss: MeanLoss) -> None:
        """Get ready for the first step, or for the next one after a stop."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimiser updates."""
        return weight_groups(self.model, self.plan.optimizer, self.plan.peak_learning_rate)

    def read_batch(self, step: int, world: World) -> torch.Tensor:
        """A process's windows of a step, shape (share, length + 1): a function of plan, step and rank alone."""
        plan = self.plan
        sequences = step_sequences(plan.window_start, plan.global_batch_size, step, world.rank, world.size)
        return torch.from_numpy(self.windows.read(sequences))

    def tokens_distinct(self, steps: int) -> int:
        """How many tokens of the first ``steps`` are from distinct windows."""
        plan = self.plan
        stop = plan.window_start + steps * plan.global_batch_size
        return plan.reading.distinct(plan.window_start, stop, self.windows.count, plan.seed) * plan.sequence_length

    def around_pass(self, step: int) -> AbstractContextManager[object]:
        """What must be open during the forward and backward pass of a micro-batch."""
        del step
        return nullcontext()

    def backward_penalty(self, step: int, world: World) -> None:
        """Add the gradient of a penalty, once per step."""

    def finish_step(self, steps: int, mean_loss: MeanLoss) -> None:
        """Bring parameters back into their range after ``steps`` optimiser steps."""

    def extra_metrics(self, steps: int) -> dict[str, float]:
        """More values for the record of the last of ``steps``."""
        del steps
        return {}
