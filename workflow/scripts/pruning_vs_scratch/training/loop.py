"""The training loop: setup, train, train_step, validate, save.

It reads exactly the sequences of its plan, counts the tokens that its forward pass saw, and continues after a kill
from the last complete state with the same result.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pruning_vs_scratch.data.windows import Windows, step_sequences
from pruning_vs_scratch.errors import Interrupted, UserError
from pruning_vs_scratch.models.device import best_device
from pruning_vs_scratch.models.llama import shape_of
from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.training.interrupt import StopRequest
from pruning_vs_scratch.training.loss import loss_sum, sequence_losses
from pruning_vs_scratch.training.metrics import METRICS_FILE, Metrics
from pruning_vs_scratch.training.optimizer import build_optimizer, set_learning_rates, weight_groups
from pruning_vs_scratch.training.precision import autocast, resolve_precision
from pruning_vs_scratch.training.resume import load_state, save_state
from pruning_vs_scratch.training.sparsity import apply_masks, assert_masked
from pruning_vs_scratch.training.throughput import Throughput


@dataclass(frozen=True)
class TrainResult:
    """What a finished run reports."""

    tokens_seen: int
    tokens_trunk: int
    """How many of the tokens were seen in shared trunks."""
    steps: int
    seconds: float
    """Wall time of the loop over all attempts, shared trunks included."""
    seconds_trunk: float
    """How much of it was spent in shared trunks."""
    validation_loss: float | None
    """Nats per token on the validation split, at the end; None for a plan without validation."""
    precision: str


class Trainer:
    """Trains one model by one plan.

    ``trunk`` is the state of a shared trunk: the run goes on from there.

    Raises:
        UserError: the corpus holds fewer tokens than the plan needs, a mask or the trunk does not fit, or the loss is
            not finite.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        model: nn.Module,
        *,
        masks: dict[str, torch.Tensor],
        train: Windows,
        validation: Windows | None,
        work: Path,
        trunk: Path | None = None,
    ) -> None:
        train.require(plan.window_end, f"run {plan.run}")
        self.plan = plan
        self.device = best_device()
        self.precision = resolve_precision(plan.precision, self.device)
        self.model: nn.Module = model.to(self.device).train()
        self.throughput = Throughput(shape_of(self.llama.config), plan.sequence_length, self.device, self.precision)
        self.masks = {name: mask.to(self.device) for name, mask in masks.items()}
        apply_masks(self.model, self.masks)
        self.optimizer = build_optimizer(self.parameter_groups(), plan.optimizer)
        self.windows = train
        self.validation = self._validation_windows(validation)
        self.work = work
        self.state = load_state(work, self.model, self.optimizer, trunk)
        self._require_beginning(trunk)
        self.saved = time.monotonic()
        self.metrics = Metrics(work / METRICS_FILE, plan.run, plan.steps, self.state.step)

    def train(self) -> TrainResult:
        """Run the remaining steps; returns when the plan is fulfilled.

        Raises:
            Interrupted: SIGTERM or SIGUSR1 came; the state is saved.
        """
        before, start = self.state.seconds, time.monotonic()
        with StopRequest() as stop:
            while self.state.step < self.plan.steps:
                self.train_step()
                self.state.seconds = before + time.monotonic() - start
                if self.plan.validation is not None and self._is_due(self.plan.validation.every_steps):
                    self.validate()
                if self._is_due(self.plan.checkpoint_every_steps) or self._is_late() or stop.signal:
                    self.save()
                if stop.signal:
                    raise Interrupted(
                        f"run {self.plan.run} was stopped by {stop.signal.name} after step {self.state.step} of "
                        f"{self.plan.steps}; its state is saved, and the same command continues it"
                    )
        assert_masked(self.model, self.masks)
        return TrainResult(
            self.state.tokens_seen, self.state.tokens_trunk, self.state.step, self.state.seconds,
            self.state.seconds_trunk, self.validate(), self.precision,
        )  # fmt: skip

    def train_step(self) -> None:
        """One optimiser step over the global batch, in micro-batches; the loss is the mean over its tokens."""
        start, step = time.monotonic(), self.state.step
        batch = self.read_batch(step).to(self.device)
        tokens = batch.shape[0] * self.plan.sequence_length
        loss = sum(self._accumulate(micro, tokens) for micro in batch.split(self.plan.micro_batch_size))
        self.backward_penalty()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.optimizer.gradient_clip)
        self._require_finite(float(loss), float(norm))
        set_learning_rates(self.optimizer, step, self.plan.steps, self.plan.schedule)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.step += 1
        self.finish_step()
        self.metrics.add(
            {
                "step": self.state.step,
                "tokens": self.state.tokens_seen,
                "loss": float(loss),
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "gradient_norm": float(norm),
                **self.throughput.measure(len(batch), time.monotonic() - start),
                **self.extra_metrics(),
            }
        )

    def validate(self) -> float | None:
        """Mean loss on the validation windows, recorded in the metrics; None for a plan without validation."""
        if self.validation is None:
            return None
        self.model.eval()
        with autocast(self.precision, self.device):
            losses = sequence_losses(
                self.llama, self.validation, self.plan.micro_batch_size, self.plan.loss_chunk_tokens
            )
        loss = float(losses.mean())
        self.model.train()
        self.metrics.add_validation(self.state.step, loss)
        return loss

    def save(self) -> None:
        """Write resume state."""
        save_state(self.work, self.state, self.model, self.optimizer, self.plan.keep_checkpoints)
        self.saved = time.monotonic()

    # What other kinds of training do in their own way.

    @property
    def llama(self) -> Any:
        """The language model that the forward pass runs."""
        return self.model

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimiser updates."""
        return weight_groups(self.model, self.plan.optimizer, self.plan.peak_learning_rate)

    def read_batch(self, step: int) -> torch.Tensor:
        """The windows of a step, shape (global batch, length + 1): a pure function of the plan and the step."""
        sequences = step_sequences(self.plan.window_start, self.plan.global_batch_size, step)
        return torch.from_numpy(self.windows.read(sequences))

    def loss_sum(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The forward pass of training: the sum of the tokens' losses."""
        return loss_sum(self.llama, inputs, targets, self.plan.loss_chunk_tokens)

    def backward_penalty(self) -> None:
        """Add the gradient of a penalty, once a step."""

    def finish_step(self) -> None:
        """Bring parameters back into their range after an optimiser step."""

    def extra_metrics(self) -> dict[str, float]:
        """More values for the record of a step."""
        return {}

    def _accumulate(self, micro: torch.Tensor, tokens_in_batch: int) -> torch.Tensor:
        inputs, targets = micro[:, :-1], micro[:, 1:]
        with autocast(self.precision, self.device):
            loss = self.loss_sum(inputs, targets) / tokens_in_batch
        loss.backward()
        self.state.tokens_seen += inputs.numel()
        return loss.detach()

    def _validation_windows(self, windows: Windows | None) -> torch.Tensor | None:
        if self.plan.validation is None or windows is None:
            return None
        windows.require(self.plan.validation.sequences, "training.validation.sequences")
        return torch.from_numpy(windows.read(np.arange(self.plan.validation.sequences)))

    def _is_due(self, every: int | None) -> bool:
        """Whether a periodic action falls on this step; the last step has its own validation and export."""
        return every is not None and self.state.step % every == 0 and self.state.step < self.plan.steps

    def _is_late(self) -> bool:
        """Whether the last save is longer ago than the plan allows."""
        minutes = self.plan.checkpoint_every_minutes
        return minutes is not None and time.monotonic() - self.saved >= 60 * minutes

    def _require_beginning(self, trunk: Path | None) -> None:
        """A trunk ends inside of the plan and saw what the plan's first steps see."""
        tokens = self.state.step * self.plan.global_batch_size * self.plan.sequence_length
        if trunk is not None and (self.state.step > self.plan.steps or self.state.tokens_seen != tokens):
            raise UserError(
                f"the state in {trunk} (step {self.state.step}, {self.state.tokens_seen} tokens) is no beginning of "
                f"run {self.plan.run}: {self.plan.steps} steps of {self.plan.global_batch_size} sequences of "
                f"{self.plan.sequence_length} tokens"
            )

    def _require_finite(self, loss: float, norm: float) -> None:
        if not (torch.isfinite(torch.tensor([loss, norm])).all()):
            raise UserError(
                f"run {self.plan.run} diverged at step {self.state.step + 1}: loss {loss}, gradient norm {norm}. "
                f"The last good state is kept in {self.work}; look at its metrics.jsonl, lower "
                "training.peak_learning_rate or lengthen the warmup"
            )
