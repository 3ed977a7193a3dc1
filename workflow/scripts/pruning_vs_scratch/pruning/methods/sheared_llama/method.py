"""Sheared-LLaMA (Xia et al., "Sheared LLaMA: Accelerating Language Model Pre-training via Structured Pruning",
2310.06694, section 2.1): masks on channels, neurons, heads and blocks are learned together with the weights, under
Lagrangian constraints that lead to the target shape; then what they close is cut off, and the rest is folded in.

The tokens of this training belong to the pruning step and count in the pipeline's budget. Masks and multipliers learn
at one rate, the weights at another; the target shrinks linearly while it warms up. With several domains, those whose
loss lags behind the parent's are read more (dynamic batch loading, section 2.2; data/domains.py). Deviations: masks of
a step are drawn once, as a pure function of (seed, step), so that a resumed run draws the same ones; the schedule of
the learning rates is the study's; the embedding is masked while masks are learned, and the mask of the residual stream
is folded once, so that the cut model has the logits of the masked one, unlike in the release; the losses of domains are
taken with the masks of one draw, that of their step. See shape_masks.py for heads under grouped-query attention.
"""

import hashlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.decoder import CausalLM, shape_of
from pruning_vs_scratch.models.tensors import Tensors
from pruning_vs_scratch.pruning.domain_text import DomainText
from pruning_vs_scratch.pruning.method import Learned, LearnedMethod, PruningSpec
from pruning_vs_scratch.pruning.methods.sheared_llama.facts import ShearedLlamaOptions
from pruning_vs_scratch.pruning.methods.sheared_llama.masked_model import folded, masking
from pruning_vs_scratch.pruning.methods.sheared_llama.shape_masks import ShapeMasks
from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.training.accounting import training_fields
from pruning_vs_scratch.training.loop import Trainer
from pruning_vs_scratch.training.optimizer import PEAK, weight_groups
from pruning_vs_scratch.training.sharding import whole_tensors
from pruning_vs_scratch.training.task import MeanLoss, TrainingTask
from pruning_vs_scratch.training.world import World


class MaskedModel(nn.Module):
    """A model and the masks that are learned for it: one module, so that resume state includes both."""

    def __init__(self, decoder: nn.Module, masks: ShapeMasks) -> None:
        super().__init__()
        self.decoder = decoder
        self.masks = masks

    def forward(self, **inputs: Any) -> Any:
        """The model's forward pass, with whatever masks are put on it."""
        return self.decoder(**inputs)


class MaskLearning(TrainingTask):
    """Minimises the loss over weights and masks, maximises over the multipliers.

    With several processes, each holds all masks and its shard of the weights.
    """

    learns_masks = True

    def __init__(
        self,
        plan: TrainingPlan,
        model: MaskedModel,
        windows: Windows,
        options: ShearedLlamaOptions,
        domains: DomainText | None,
    ) -> None:
        super().__init__(plan, model, windows)
        self.options = options
        self.shape_masks = model.masks
        self.domains = domains

    @property
    def decoder(self) -> Any:
        """The model under the masks."""
        return self.model.decoder

    @property
    def reads_ahead(self) -> bool:
        """Not with several domains, whose weights follow the losses."""
        return self.domains is None

    @property
    def loader_state(self) -> dict[str, Any]:
        """With several domains, how far each is read, and its weight."""
        return self.domains.state if self.domains is not None else {}

    def begin(self, loader_state: dict[str, Any], mean_loss: MeanLoss) -> None:
        """Resume reading in the domains; before the first step, compute the parent's losses on them."""
        if self.domains is not None and loader_state:
            self.domains.restore(loader_state)
        elif self.domains is not None:
            self.domains.references = domain_losses(self.domains, mean_loss)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Weights at the plan's rate, masks and multipliers at theirs; the multipliers ascend."""
        rate = {PEAK: self.options.mask_learning_rate, "weight_decay": 0.0}
        return [
            *weight_groups(self.decoder, self.plan.optimizer, self.plan.peak_learning_rate),
            {"params": list(self.shape_masks.mask_parameters()), **rate},
            {"params": list(self.shape_masks.multiplier_parameters()), "maximize": True, **rate},
        ]

    def read_batch(self, step: int, world: World) -> torch.Tensor:
        """The windows of a step; with several domains, drawn from each according to its weight."""
        if self.domains is None:
            return super().read_batch(step, world)
        sequences = self.domains.loader.next_batch(step, self.plan.global_batch_size)
        return torch.from_numpy(self.windows.read(sequences[world.rank :: world.size]))

    def tokens_distinct(self, steps: int) -> int:
        """The loader for several domains reads no window twice."""
        if self.domains is None:
            return super().tokens_distinct(steps)
        return steps * self.plan.global_batch_size * self.plan.sequence_length

    def around_pass(self, step: int) -> AbstractContextManager[object]:
        """The masks of this step, the same for all its micro-batches."""
        return masking(self.decoder, self.shape_masks.sample(step_generator(self.plan.seed, step)))

    def backward_penalty(self, step: int, world: World) -> None:
        """Sum the masks' gradients over all processes, and add that of the Lagrangian."""
        world.add_up_(p.grad for p in self.shape_masks.mask_parameters() if p.grad is not None)
        self.shape_masks.penalty(self._progress(step)).backward()

    def finish_step(self, steps: int, mean_loss: MeanLoss) -> None:
        """Keep the masks' parameters in their range, and reweigh the domains from time to time."""
        self.shape_masks.clamp_()
        if self.domains is not None and steps % self.options.domain_update_steps == 0:
            with self.around_pass(steps):
                self.domains.reweigh(domain_losses(self.domains, mean_loss))

    def extra_metrics(self, steps: int) -> dict[str, float]:
        """Progress of the target, the expected open share of each dimension, the weight of each domain."""
        shares = self.shape_masks.expected_shares()
        weights = self.domains.loader.weights if self.domains is not None else {}
        return {
            "progress": self._progress(steps),
            **{f"open_{name}": share.item() for name, share in shares.items()},
            **{f"weight_{name}": weight for name, weight in weights.items()},
        }

    def _progress(self, step: int) -> float:
        """How far the target has shrunk, from 0 (the parent) to 1 (the goal)."""
        warmup = max(1, round(self.plan.steps * self.options.target_warmup_fraction))
        return min(1.0, step / warmup)


def domain_losses(domains: DomainText, mean_loss: MeanLoss) -> dict[str, float]:
    """Mean loss of the current model on each domain, in nats per token."""
    return {name: mean_loss(windows) for name, windows in domains.validation.items()}


def step_generator(seed: int, step: int) -> torch.Generator:
    """The noise of a step's masks: a pure function of seed and step."""
    digest = hashlib.sha256(f"mask noise:{seed}:{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))


def learn(
    decoder: CausalLM,
    spec: PruningSpec,
    plan: TrainingPlan,
    windows: Windows,
    domains: DomainText | None,
    work: Path,
    world: World,
) -> Learned | None:
    """Train masks and weights by a plan, resuming from ``work``, which keeps the steps' records.

    With ``domains`` the batches follow them, not the plan's windows. All processes call it together; the first gets the
    result.

    Raises:
        UserError: no masks lead to the target, there is too little text, or the training diverges.
    """
    shape = shape_of(decoder.config)
    try:
        masks = ShapeMasks(shape, spec.target.shape, plan.init_seed)
    except ValueError as error:
        raise UserError(f"{spec.target.name}: {error}") from error
    task = MaskLearning(plan, MaskedModel(decoder, masks), windows, spec.options, domains)
    result = Trainer(task, masks={}, validation=None, work=work, world=world).train()
    tensors: Tensors = {}
    learned = masks.deterministic()
    for name, tensor in whole_tensors(decoder):
        if world.is_first:
            tensors |= folded({name: tensor.cpu()}, learned, shape)
    if not world.is_first:
        return None
    shares = {name: share.item() for name, share in masks.expected_shares().items()}
    spent = training_fields(plan, result, shape)
    if domains is not None:
        spent["window_end"] = domains.loader.last_sequence + 1
    return Learned(tensors, masks.kept(), spent, shares)


METHOD = LearnedMethod(learn)
