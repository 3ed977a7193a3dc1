"""The training loop: setup, train, train_step, validate, save.

It reads exactly the sequences of its plan, counts the tokens that its forward pass saw, and continues after a kill
from the last complete state with the same result.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import LlamaForCausalLM

from pruning_vs_scratch.data.windows import Windows, step_sequences
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.device import best_device
from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.training.loss import sequence_losses, token_losses
from pruning_vs_scratch.training.metrics import Metrics
from pruning_vs_scratch.training.optimizer import build_optimizer, set_learning_rate
from pruning_vs_scratch.training.precision import autocast, resolve_precision
from pruning_vs_scratch.training.resume import load_state, save_state
from pruning_vs_scratch.training.schedule import learning_rate
from pruning_vs_scratch.training.sparsity import apply_masks, assert_masked


@dataclass(frozen=True)
class TrainResult:
    """What a finished run reports."""

    tokens_seen: int
    steps: int
    seconds: float
    """Wall time of the loop over all attempts."""
    validation_loss: float
    """Nats per token on the validation split, at the end."""
    precision: str


class Trainer:
    """Trains one model by one plan.

    Raises:
        UserError: the corpus holds fewer tokens than the plan needs, a mask does not fit, or the loss is not finite.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        model: LlamaForCausalLM,
        *,
        masks: dict[str, torch.Tensor],
        train: Windows,
        validation: Windows,
        work: Path,
    ) -> None:
        train.require(plan.window_end, f"run {plan.run}")
        validation.require(plan.validation.sequences, "training.validation.sequences")
        self.plan = plan
        self.device = best_device()
        self.precision = resolve_precision(plan.precision, self.device)
        self.model: LlamaForCausalLM = nn.Module.to(model, self.device).train()
        self.masks = {name: mask.to(self.device) for name, mask in masks.items()}
        apply_masks(self.model, self.masks)
        self.optimizer = build_optimizer(self.model, plan.optimizer)
        self.windows = train
        self.validation = torch.from_numpy(validation.read(torch.arange(plan.validation.sequences).numpy()))
        self.work = work
        self.state = load_state(work, self.model, self.optimizer)
        self.metrics = Metrics(work / "metrics.jsonl", plan.run, plan.steps, self.state.step)

    def train(self) -> TrainResult:
        """Run the remaining steps; returns when the plan is fulfilled."""
        before, start = self.state.seconds, time.monotonic()
        while self.state.step < self.plan.steps:
            self.train_step()
            self.state.seconds = before + time.monotonic() - start
            if self._is_due(self.plan.validation.every_steps):
                self.validate()
            if self._is_due(self.plan.checkpoint_every_steps):
                save_state(self.work, self.state, self.model, self.optimizer)
        assert_masked(self.model, self.masks)
        return TrainResult(self.state.tokens_seen, self.state.step, self.state.seconds, self.validate(), self.precision)

    def train_step(self) -> None:
        """One optimiser step over the global batch, in micro-batches; the loss is the mean over its tokens."""
        start, step = time.monotonic(), self.state.step
        batch = torch.from_numpy(
            self.windows.read(step_sequences(self.plan.window_start, self.plan.global_batch_size, step))
        ).to(self.device)
        tokens = batch.shape[0] * self.plan.sequence_length
        loss = sum(self._accumulate(micro, tokens) for micro in batch.split(self.plan.micro_batch_size))
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.optimizer.gradient_clip)
        self._require_finite(float(loss), float(norm))
        rate = learning_rate(step, self.plan.steps, self.plan.peak_learning_rate, self.plan.schedule)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.step += 1
        self.metrics.add(
            {
                "step": self.state.step,
                "tokens": self.state.tokens_seen,
                "loss": float(loss),
                "learning_rate": rate,
                "gradient_norm": float(norm),
                "tokens_per_second": tokens / (time.monotonic() - start),
            }
        )

    def validate(self) -> float:
        """Mean loss on the validation windows, recorded in the metrics."""
        self.model.eval()
        with autocast(self.precision, self.device):
            loss = float(sequence_losses(self.model, self.validation, self.plan.micro_batch_size).mean())
        self.model.train()
        self.metrics.add_validation(self.state.step, loss)
        return loss

    def _accumulate(self, micro: torch.Tensor, tokens_in_batch: int) -> torch.Tensor:
        inputs, targets = micro[:, :-1], micro[:, 1:]
        with autocast(self.precision, self.device):
            logits = self.model(input_ids=inputs, use_cache=False).logits
        loss = token_losses(logits, targets).sum() / tokens_in_batch
        loss.backward()
        self.state.tokens_seen += inputs.numel()
        return loss.detach()

    def _is_due(self, every: int | None) -> bool:
        """Whether a periodic action falls on this step; the last step has its own validation and export."""
        return every is not None and self.state.step % every == 0 and self.state.step < self.plan.steps

    def _require_finite(self, loss: float, norm: float) -> None:
        if not (torch.isfinite(torch.tensor([loss, norm])).all()):
            raise UserError(
                f"run {self.plan.run} diverged at step {self.state.step + 1}: loss {loss}, gradient norm {norm}. "
                f"The last good state is kept in {self.work}; look at its metrics.jsonl, lower "
                "training.peak_learning_rate or lengthen the warmup"
            )
