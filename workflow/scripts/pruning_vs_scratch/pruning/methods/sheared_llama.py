"""Sheared-LLaMA (Xia et al., "Sheared LLaMA: Accelerating Language Model Pre-training via Structured Pruning",
2310.06694, section 2.1): masks on channels, neurons, heads and blocks are learned together with the weights, under
Lagrangian constraints that lead to the target shape; then what they close is cut off and the rest folded in.

The tokens of this training are the pruning step's own and count in the pipeline's budget. Masks and multipliers learn
at one rate, the weights at another; the target shrinks linearly while it warms up. Of several domains, those whose
loss lags behind the parent's are read more (dynamic batch loading, section 2.2; data/domains.py). Deviations: masks
of a step are drawn once, a pure function of (seed, step), so that a resumed run draws the same; the schedule of the
learning rates is the study's. See shape_masks.py for heads under grouped-query attention.
"""

import hashlib
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import LlamaForCausalLM

from pruning_vs_scratch.config.pruning import ShearedLlamaOptions
from pruning_vs_scratch.data.domains import DomainLoader, updated_weights
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.device import best_device
from pruning_vs_scratch.models.llama import shape_of
from pruning_vs_scratch.models.tensors import Tensors
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.method import Request
from pruning_vs_scratch.pruning.methods.masked_llama import folded, masking
from pruning_vs_scratch.pruning.methods.shape_masks import ShapeMasks
from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.training.loop import Trainer, TrainResult
from pruning_vs_scratch.training.loss import sequence_losses
from pruning_vs_scratch.training.optimizer import PEAK, weight_groups
from pruning_vs_scratch.training.world import World


class DomainText:
    """Text of several domains: what masks are learned on, and by whose loss the domains are weighed.

    ``validation`` holds windows of shape (n, length + 1) by domain; the references are the losses of the model as it
    is now, before masks are learned.
    """

    def __init__(
        self, loader: DomainLoader, validation: dict[str, torch.Tensor], model: LlamaForCausalLM, batch: int
    ) -> None:
        self.loader = loader
        self._validation = validation
        self.references = self.losses(model, batch)

    def losses(self, model: LlamaForCausalLM, batch: int) -> dict[str, float]:
        """Mean loss of a model on each domain, in nats per token."""
        return {name: float(sequence_losses(model, w, batch).mean()) for name, w in self._validation.items()}

    def reweigh(self, model: LlamaForCausalLM, batch: int) -> None:
        """Give the next batches more of the domains whose loss is above its reference."""
        losses = self.losses(model, batch)
        self.loader.weights = updated_weights(self.loader.weights, losses, self.references)


class MaskedLlama(nn.Module):
    """A Llama and the masks that are learned for it: one module, so that resume state holds both."""

    def __init__(self, llama: nn.Module, masks: ShapeMasks) -> None:
        super().__init__()
        self.llama = llama
        self.masks = masks

    def forward(self, **inputs: Any) -> Any:
        """The Llama's forward pass, with whatever masks are put on it."""
        return self.llama(**inputs)


class MaskLearner(Trainer):
    """The training loop with masks: minimises the loss over weights and masks, maximises over the multipliers."""

    def __init__(
        self,
        plan: TrainingPlan,
        model: MaskedLlama,
        options: ShearedLlamaOptions,
        *,
        train: Windows,
        domains: DomainText | None,
        work: Path,
    ) -> None:
        self.options = options
        self.shape_masks = model.masks
        self.domains = domains
        super().__init__(plan, model, masks={}, train=train, validation=None, work=work, world=World(best_device()))
        if domains is not None and self.state.loader:
            domains.loader.restore(self.state.loader)

    @property
    def llama(self) -> Any:
        """The Llama under the masks."""
        return self.model.llama

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Weights at the plan's rate, masks and multipliers at theirs; the multipliers ascend."""
        rate = {PEAK: self.options.mask_learning_rate, "weight_decay": 0.0}
        return [
            *weight_groups(self.llama, self.plan.optimizer, self.plan.peak_learning_rate),
            {"params": list(self.shape_masks.mask_parameters()), **rate},
            {"params": list(self.shape_masks.multiplier_parameters()), "maximize": True, **rate},
        ]

    def read_batch(self, step: int) -> torch.Tensor:
        """The windows of a step; of several domains, as many of each as its weight draws."""
        if self.domains is None:
            return super().read_batch(step)
        sequences = self.domains.loader.next_batch(step, self.plan.global_batch_size)
        self.state.loader = self.domains.loader.state
        return torch.from_numpy(self.windows.read(sequences))

    def passes_at_once(self) -> int:
        """One: all passes of a micro-batch would share the graph of its masks, which the first of them frees."""
        return 1

    def around_pass(self) -> AbstractContextManager[object]:
        """The masks of this step, the same for all its micro-batches."""
        return masking(self.llama, self.shape_masks.sample(step_generator(self.plan.seed, self.state.step)))

    def backward_penalty(self) -> None:
        """Add the gradient of the Lagrangian."""
        self.shape_masks.penalty(self._progress()).backward()

    def finish_step(self) -> None:
        """Keep the masks' parameters in their range, and now and then weigh the domains anew."""
        self.shape_masks.clamp_()
        if self.domains is not None and self.state.step % self.options.domain_update_steps == 0:
            with self.around_pass():
                self.domains.reweigh(self.llama, self.plan.micro_batch_size)
            self.state.loader = self.domains.loader.state

    def extra_metrics(self) -> dict[str, float]:
        """How far the target has come, the expected open share of each dimension, the weight of each domain."""
        shares = self.shape_masks.expected_shares()
        weights = self.domains.loader.weights if self.domains is not None else {}
        return {
            "progress": self._progress(),
            **{f"open_{name}": share.item() for name, share in shares.items()},
            **{f"weight_{name}": weight for name, weight in weights.items()},
        }

    def _progress(self) -> float:
        """How far the target has shrunk, from 0 (the parent) to 1 (the goal)."""
        warmup = max(1, round(self.plan.steps * self.options.target_warmup_fraction))
        return min(1.0, self.state.step / warmup)


def step_generator(seed: int, step: int) -> torch.Generator:
    """The noise of a step's masks: a pure function of seed and step."""
    digest = hashlib.sha256(f"mask noise:{seed}:{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))


@dataclass(frozen=True)
class Learned:
    """What mask learning leaves: weights with the soft masks folded in, and what stays of them."""

    weights: Tensors
    """Of the whole model, on the CPU."""
    kept: Kept
    result: TrainResult
    open_shares: dict[str, float]
    """By dimension, the expected share of open masks at the end, before exactly the target's counts are kept."""


def learn(
    llama: LlamaForCausalLM,
    request: Request,
    plan: TrainingPlan,
    windows: Windows,
    domains: DomainText | None,
    work: Path,
    metrics: Path,
) -> Learned:
    """Train masks and weights by a plan, resuming from ``work``; copies the steps' records to ``metrics``.

    With ``domains`` the batches follow them, not the plan's windows.

    Raises:
        UserError: no masks lead to the target, there is too little text, or the training diverges.
    """
    shape = shape_of(llama.config)
    try:
        masks = ShapeMasks(shape, request.target.shape, plan.init_seed)
    except ValueError as error:
        raise UserError(f"{request.target.name}: {error}") from error
    learner = MaskLearner(plan, MaskedLlama(llama, masks), request.options, train=windows, domains=domains, work=work)
    result = learner.train()
    assert learner.metrics is not None
    shutil.copyfile(learner.metrics.path, metrics)
    tied = llama.config.tie_word_embeddings
    weights = {name: tensor.detach().cpu() for name, tensor in llama.state_dict().items()}
    tensors = folded(weights, masks.deterministic(), tied)
    shares = {name: share.item() for name, share in masks.expected_shares().items()}
    return Learned(tensors, masks.kept(), result, shares)
