"""The interface of a pruning method: how it scores, chooses, and returns a smaller model block by block."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.models.tensors import Tensors
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.domain_text import DomainText
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.study.targets import Target
from pruning_vs_scratch.training.world import World

Scores = Tensors
"""What a choice is based on; one set serves every ratio and can be kept as a file."""


@dataclass(frozen=True)
class PruningSpec:
    """The task of a method."""

    target: Target
    options: Any
    """The method's section of the configuration."""
    seed: int


def _all_scores(scores: Scores, _parent: ModelShape, _spec: PruningSpec) -> Scores:
    return scores


def _cut_alone(
    cut: Tensors, _whole: Tensors, _scores: Scores, _kept: Kept, _block: int, _parent: ModelShape, _spec: PruningSpec
) -> Tensors:
    return cut


@dataclass(frozen=True)
class StructuredMethod:
    """Scores the parent, then keeps the best blocks or channels.

    A method that is not scored once for all ratios (facts.py) gets a single goal, and may score each block after the
    pruned ones before it.
    """

    score: Callable[[CalibrationStream, list[ModelShape], Any], Scores]
    """Scores from calibration text, for the shapes that will be needed, with the method's options."""
    keep: Callable[[Scores, ModelShape, PruningSpec], Kept]
    """What is kept of the parent."""
    shown: Callable[[Scores, ModelShape, PruningSpec], Scores] = _all_scores
    """The scores that pruning.json shows, or values derived from them."""
    finish: Callable[[Tensors, Tensors, Scores, Kept, int, ModelShape, PruningSpec], Tensors] = _cut_alone
    """A block's weights as they will be written, from the cut ones, the whole block's, and its index in the parent."""


class Statistic(Protocol):
    """What a sparse method learns about the inputs of a linear layer."""

    def see(self, activation: torch.Tensor) -> None:
        """Add a batch of shape (windows, length, channels)."""

    @property
    def value(self) -> torch.Tensor:
        """The statistic of everything seen."""


@dataclass(frozen=True)
class PrunedLayer:
    """A linear layer after sparse pruning."""

    mask: torch.Tensor
    """Boolean, shape of the weight; True is kept."""
    weight: torch.Tensor
    """The weight, zero where the mask drops it."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What a reader should know, as plain values."""


@dataclass(frozen=True)
class SparseMethod:
    """Masks the linear layers, block by block."""

    prune: Callable[[Tensors, torch.Tensor | None, PruningSpec], dict[str, PrunedLayer]]
    """Prunes the weights (by name) that read one input, given its statistic."""
    statistic: Callable[[], Statistic] | None = None
    """Created for each input; a method without a statistic reads no text."""


@dataclass(frozen=True)
class Learned:
    """The result of mask learning: weights with the soft masks folded in, and what is kept of them."""

    weights: Tensors
    """Weights of the whole model, on the CPU."""
    kept: Kept
    spent: dict[str, Any]
    """The cost, as fields of the ledger."""
    open_shares: dict[str, float]
    """By dimension, the expected share of open masks at the end, before the counts are cut to the target's."""


@dataclass(frozen=True)
class LearnedMethod:
    """Trains masks on training text, then keeps what they leave open."""

    learn: Callable[[Any, PruningSpec, TrainingPlan, Windows, DomainText | None, Path, World], Learned | None]
    """Learns the masks of a model by a plan on windows or domains, with its resume state in a folder.

    All processes of the world call it together; the first one gets the result.
    """


@dataclass(frozen=True)
class PrunedBlock:
    """A block of the pruned model."""

    tensors: Tensors
    """Weights by their names inside the block, in the dtype of the parent, on the CPU."""
    masks: Tensors = field(default_factory=dict)
    """Sparse methods: boolean masks by weight."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What a reader should know about its layers, by weight."""


def options_of(method: str, values: Mapping[str, Any]) -> Section:
    """A method's options from plain values.

    Raises:
        UserError: an option is unknown, or its value is invalid.
    """
    return facts_of(method).options.from_option(f"--options of {method}", values)
