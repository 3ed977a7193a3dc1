"""The training loop: setup, train, train_step, validate, save.

It reads exactly the sequences of its plan, counts the tokens that its forward pass saw, and continues after a kill
from the last complete state with the same result. One process runs it alone, or several together (world.py): each
reads its share of every global batch and holds its shard of the model.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pruning_vs_scratch.config.training import sharing_problem
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.errors import Diverged, Interrupted, UserError
from pruning_vs_scratch.files import sha256_of_value
from pruning_vs_scratch.models.decoder import shape_of
from pruning_vs_scratch.models.device import forget_peak_memory
from pruning_vs_scratch.models.output import logit_cap
from pruning_vs_scratch.pruning.masks import PackedMask
from pruning_vs_scratch.training.ahead import BatchesAhead
from pruning_vs_scratch.training.attention import use_fastest_attention
from pruning_vs_scratch.training.collecting import garbage_collected_together
from pruning_vs_scratch.training.compiling import compile_blocks, pays
from pruning_vs_scratch.training.distillation import Teacher, distilled_loss_sums
from pruning_vs_scratch.training.float8 import use_float8
from pruning_vs_scratch.training.gradients import clip_gradients
from pruning_vs_scratch.training.interrupt import StopRequest
from pruning_vs_scratch.training.linear import use_fastest_linear
from pruning_vs_scratch.training.loss import loss_sum, sequence_losses
from pruning_vs_scratch.training.metrics import METRICS_FILE, Metrics
from pruning_vs_scratch.training.optimizer import build_optimizer, set_learning_rates
from pruning_vs_scratch.training.passes import Passes, fitting_passes
from pruning_vs_scratch.training.precision import autocast, resolve_precision
from pruning_vs_scratch.training.recomputing import recompute_blocks
from pruning_vs_scratch.training.reporters import Reporter
from pruning_vs_scratch.training.resume import load_state, state_tensors, write_state
from pruning_vs_scratch.training.saves import Saves, SavesBeside
from pruning_vs_scratch.training.sharding import add_up_copies, distributed_model, let_go
from pruning_vs_scratch.training.sparsity import assert_masked, fitted_masks, mask_gradients, mask_weights
from pruning_vs_scratch.training.task import TrainingTask
from pruning_vs_scratch.training.throughput import Throughput
from pruning_vs_scratch.training.world import TRAINING, World

log = logging.getLogger(__name__)

TOKENS_IN_CACHE = 256
"""Tokens whose logits a CPU computes at once, unless the plan sets it: they stay in its cache."""


@dataclass(frozen=True)
class TrainResult:
    """The report of a finished run."""

    tokens_seen: int
    tokens_trunk: int
    """Tokens seen in shared trunks."""
    tokens_distinct: int
    """Tokens seen for the first time."""
    steps: int
    seconds: float
    """Wall time of the loop over all attempts, shared trunks included."""
    seconds_trunk: float
    """Wall time spent in shared trunks."""
    validation_loss: float | None
    """Nats per token on the validation split, at the end; None for a plan without validation."""
    precision: str


class Trainer:
    """Executes a training task by its plan.

    ``separator`` is the token that begins each document, for a plan whose attention ends there. ``teacher`` is the
    model that a plan with distillation learns from. ``trunk`` is the state of a shared trunk: the run resumes from it.

    Raises:
        UserError: the corpus has fewer tokens than the plan needs, a mask or the trunk does not fit, the processes do
            not divide the global batch, or the loss is not finite.
    """

    def __init__(
        self,
        task: TrainingTask,
        *,
        masks: Mapping[str, PackedMask],
        validation: Windows | None,
        work: Path,
        world: World,
        separator: int | None = None,
        teacher: Any = None,
        trunk: Path | None = None,
        reporters: Sequence[Reporter] = (),
    ) -> None:
        plan = task.plan
        task.windows.require(plan.window_end, f"run {plan.run}")
        if plan.distillation is not None and teacher is None:
            raise UserError(
                f"run {plan.run} learns from a teacher, and none is given: add --teacher and its checkpoint"
            )
        if plan.distillation is None and teacher is not None:
            raise UserError(f"run {plan.run} has no distillation in its plan: leave --teacher out")
        if plan.attention == "document" and separator is None:
            raise UserError(
                f"run {plan.run}: attention within documents needs a tokenizer with a separator of documents"
            )
        self.separator = separator if plan.attention == "document" else None
        if plan.fused_loss and logit_cap(task.decoder.config) is not None:
            raise UserError(
                f"run {plan.run}: the fused loss cannot cap logits, as this model does: leave fused_loss out"
            )
        if problem := sharing_problem(plan, world.size):
            raise UserError(f"run {plan.run}: {problem}")
        self.task = task
        self.plan = plan
        self.world = world
        self.precision = resolve_precision(plan.precision, world.device)
        self.model: nn.Module = task.model.train()
        if plan.float8:
            use_float8(self.decoder, world.device, self.precision)
        recompute_blocks(self.decoder, plan, world, self.precision, masked=task.learns_masks)
        use_fastest_attention(self.decoder, plan.sequence_length, world.device, self.precision)
        shape = shape_of(self.decoder.config)
        flops = shape.training_flops(plan.sequences, plan.sequence_length)
        self.compiled = plan.compile is True or (plan.compile == "auto" and pays(flops, world.device, self.precision))
        if self.compiled:
            compile_blocks(self.decoder, world.device)
        else:
            use_fastest_linear(self.decoder, world.device, self.precision)
        self.chunk = plan.loss_chunk_tokens or (TOKENS_IN_CACHE if world.device.type == "cpu" else None)
        self.whole = distributed_model(self.decoder, world, self.precision)
        self.model.to(world.device)
        self.teacher = Teacher(teacher, world, self.precision) if teacher is not None else None
        self.throughput = Throughput(shape, plan.sequence_length, world, self.precision)
        self.masks = fitted_masks(self.model, masks)
        mask_weights(self.model, self.masks)
        self.passes = Passes(self._passes_at_once(), list(self.model.parameters()))
        self.optimizer = build_optimizer(task.parameter_groups(), plan.optimizer)
        self.validation = self._validation_windows(validation)
        self.work = work
        self.spec = sha256_of_value(plan.spec)
        self.state = load_state(work, self.model, self.optimizer, world, spec=self.spec, trunk=trunk)
        self._require_beginning(trunk)
        self.saved = time.monotonic()
        beside = plan.async_saves is True or (plan.async_saves == "auto" and world.device.type == "cuda")
        self.saves = (SavesBeside if beside else Saves)(work, world, spec=self.spec, keep=plan.keep_checkpoints)
        self.batches = BatchesAhead(
            lambda step: task.read_batch(step, world), plan.steps if task.reads_ahead else 0, world.device
        )
        self.metrics = (
            Metrics(work / METRICS_FILE, plan.run, plan.steps, self.state, reporters) if world.is_first else None
        )
        task.begin(self.state.loader, self.mean_loss)

    def train(self) -> TrainResult:
        """Run the remaining steps; returns when the plan is fulfilled.

        Raises:
            Interrupted: SIGTERM or SIGUSR1 came, or the time of a SLURM job runs out; the state is saved.
        """
        before, start, began = self.state.seconds, time.monotonic(), self.state.step
        forget_peak_memory(self.world.device)
        with (
            StopRequest(self.world.stop_at) as stop,
            garbage_collected_together(self.world) as collect,
        ):
            while self.state.step < self.plan.steps:
                self.train_step()
                self.state.seconds = before + time.monotonic() - start
                if self.state.step == began + 1:
                    self.world.wait_at_most(TRAINING)
                collect(self.state.step)
                self.saves.check()
                if self.plan.validation is not None and self._is_due(self.plan.validation.every_steps):
                    self.validate()
                # If one process has to stop, all stop after the same step.
                reason = stop.reason
                stops, is_late = self.world.sums(reason is not None, self._is_late())
                if stops and self.world.is_first:
                    log.warning(
                        "run %s stops%s after step %d and saves its state; a kill before that is done costs the steps "
                        "since step %d", self.plan.run, f" by {reason}" if reason else "", self.state.step,
                        began if self.saves.latest is None else self.saves.latest,
                    )  # fmt: skip
                if self._is_due(self.plan.checkpoint_every_steps) or is_late or stops:
                    self.save()
                if stops:
                    self.saves.finish()
                    by = f" by {reason}" if reason else ""
                    raise Interrupted(
                        f"run {self.plan.run} was stopped{by} after step {self.state.step} of {self.plan.steps}; its "
                        "state is saved, and the same command continues it"
                    )
        self.saves.finish()
        assert_masked(self.model, self.masks)
        return self.result(self.validate())

    def result(self, validation_loss: float | None) -> TrainResult:
        """What the run has done so far."""
        return TrainResult(
            self.state.tokens_seen, self.state.tokens_trunk,
            self.task.tokens_distinct(self.state.step), self.state.step, self.state.seconds,
            self.state.seconds_trunk, validation_loss, self.precision,
        )  # fmt: skip

    def train_step(self) -> None:
        """One optimiser step over the global batch, in micro-batches; the loss is the mean over its tokens."""
        start, step = time.monotonic(), self.state.step
        share = self.batches.of(step)
        tokens = self.plan.global_batch_size * self.plan.sequence_length
        parts = []
        for micro in (micro_batches := share.split(self.plan.micro_batch_size)):
            add_up_copies(self.whole, now=micro is micro_batches[-1])
            parts.append(self._accumulate(micro, tokens))
        loss, cross_entropy, seen = self.world.sums(*sum(parts[1:], parts[0]).tolist(), share[:, 1:].numel())
        with self.passes.cores_kept_free():
            self.task.backward_penalty(step, self.world)
            norm = self._clip_and_mask_gradients()
            self._require_finite(loss, norm)
            set_learning_rates(self.optimizer, step, self.plan.steps, self.plan.schedule)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        self.state.step += 1
        self.state.tokens_seen += round(seen)
        self.task.finish_step(self.state.step, self.mean_loss)
        self.record(
            {
                "step": self.state.step,
                "tokens": self.state.tokens_seen,
                "loss": loss,
                **({"cross_entropy": cross_entropy} if self.teacher else {}),
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "gradient_norm": norm,
                **self.throughput.measure(self.plan.global_batch_size, time.monotonic() - start),
                **self.task.extra_metrics(self.state.step),
            }
        )

    def validate(self) -> float | None:
        """Mean loss on the validation windows, recorded in the metrics; None for a plan without validation."""
        if self.validation is None:
            return None
        loss = self.mean_loss(self.validation)
        if self.metrics is not None:
            self.metrics.add_validation(self.state.step, loss)
        return loss

    def mean_loss(self, windows: torch.Tensor) -> float:
        """Mean loss in nats per token on windows of shape (n, length + 1), shared among the processes."""
        self.model.eval()
        losses = self.world.gathered(self._sequence_losses(self._share_of_windows(windows)))
        let_go(self.whole)
        self.model.train()
        # Window i belongs to process i modulo the number of processes.
        return float(losses.T.flatten()[: len(windows)].mean())

    def write_state(self, folder: Path) -> None:
        """Write the state as a separate output from which other runs resume."""
        self._complete_state()
        write_state(folder, self.state, state_tensors(self.model, self.optimizer), self.world, spec=self.spec)

    def save(self) -> None:
        """Write resume state, now or in the background."""
        assert_masked(self.model, self.masks)
        self._complete_state()
        self.saves.save(self.state, state_tensors(self.model, self.optimizer))
        self.saved = time.monotonic()

    def record(self, values: dict[str, Any]) -> None:
        """Record a step, once for all processes."""
        if self.metrics is not None:
            self.metrics.add(values)

    def _complete_state(self) -> None:
        """Store the reading position and the metrics so far in the state; the first process writes it."""
        self.state.loader = self.task.loader_state
        if self.metrics is not None:
            self.state.metrics = self.metrics.saved()

    @property
    def decoder(self) -> Any:
        """The language model that the forward pass runs."""
        return self.task.decoder

    def _passes_at_once(self) -> int:
        """How many parts of a micro-batch go forward and backward at the same time.

        One if masks are learned: all passes would share the graph of the masks, which the first one frees.
        """
        if self.world.size > 1 or self.compiled or self.task.learns_masks:
            return 1
        tokens = self.plan.micro_batch_size * self.plan.sequence_length
        return fitting_passes(tokens, list(self.model.parameters()), self.world.device)

    def _accumulate(self, micro: torch.Tensor, tokens_in_batch: int) -> torch.Tensor:
        """Add a micro-batch's gradients; returns its parts of the loss and of the cross-entropy, shape (2,)."""
        with self.task.around_pass(self.state.step):
            return self.passes.add_gradients(lambda windows: self._loss(windows, tokens_in_batch), micro)

    def _loss(self, windows: torch.Tensor, tokens_in_batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What windows contribute to the loss; and this and their part of the cross-entropy as numbers, shape (2,)."""
        with self._autocast():
            total, cross_entropy = self._loss_sums(windows[:, :-1], windows[:, 1:])
            loss = total / tokens_in_batch
        return loss, torch.stack([loss.detach(), cross_entropy.detach() / tokens_in_batch])

    def _loss_sums(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        chunk, distillation = self.chunk, self.plan.distillation
        if self.teacher is None or distillation is None:
            total = self.whole(loss_sum, inputs, targets, chunk, self.separator, self.plan.fused_loss)
            return total, total
        states = self.teacher.states(inputs, self.separator)
        sums: tuple[torch.Tensor, torch.Tensor]
        sums = self.whole(distilled_loss_sums, inputs, targets, states, distillation, chunk, self.separator)
        self.teacher.let_go()
        return sums

    def _clip_and_mask_gradients(self) -> float:
        """Clip and mask in the plan's order; returns the norm that is compared with the limit."""
        if self.plan.mask_gradients == "before_clip":
            mask_gradients(self.model, self.masks)
        norm = clip_gradients(self.model.parameters(), self.plan.optimizer.gradient_clip, self.world)
        if self.plan.mask_gradients == "after_clip":
            mask_gradients(self.model, self.masks)
        return norm

    def _sequence_losses(self, windows: torch.Tensor) -> torch.Tensor:
        with self._autocast():
            found: torch.Tensor = self.whole(
                sequence_losses, windows, self.plan.micro_batch_size, self.chunk, self.separator
            )
            return found

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.precision, self.world.device, keep_casts=self.world.size == 1)

    def _validation_windows(self, windows: Windows | None) -> torch.Tensor | None:
        if self.plan.validation is None or windows is None:
            return None
        windows.require(self.plan.validation.sequences, "training.validation.sequences")
        return torch.from_numpy(windows.read(np.arange(self.plan.validation.sequences)))

    def _share_of_windows(self, windows: torch.Tensor) -> torch.Tensor:
        """This process's windows, as many as for every other: FSDP2 gathers a block for all processes at once."""
        count = -(-len(windows) // self.world.size)
        return windows[(torch.arange(count) * self.world.size + self.world.rank) % len(windows)]

    def _is_due(self, every: int | None) -> bool:
        """Whether a periodic action falls on this step; the last step has its own validation and export."""
        return every is not None and self.state.step % every == 0 and self.state.step < self.plan.steps

    def _is_late(self) -> bool:
        """Whether the last save is longer ago than the plan allows."""
        minutes = self.plan.checkpoint_every_minutes
        return minutes is not None and time.monotonic() - self.saved >= 60 * minutes

    def _require_beginning(self, trunk: Path | None) -> None:
        """Check that a trunk ends within the plan and saw what the plan's first steps see."""
        tokens = self.state.step * self.plan.global_batch_size * self.plan.sequence_length
        if trunk is not None and (self.state.step > self.plan.steps or self.state.tokens_seen != tokens):
            raise UserError(
                f"the state in {trunk} (step {self.state.step}, {self.state.tokens_seen} tokens) is not a beginning of "
                f"run {self.plan.run}: {self.plan.steps} steps of {self.plan.global_batch_size} sequences of "
                f"{self.plan.sequence_length} tokens"
            )

    def _require_finite(self, loss: float, norm: float) -> None:
        if not (np.isfinite(loss) and np.isfinite(norm)):
            raise Diverged(
                f"run {self.plan.run} diverged at step {self.state.step + 1}: loss {loss}, gradient norm {norm}. "
                f"The last good state is kept in {self.work}; look at its metrics.jsonl, lower "
                "training.peak_learning_rate or lengthen the warmup"
            )
