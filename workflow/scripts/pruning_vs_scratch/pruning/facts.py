"""What the rest of the project needs to know about a pruning method. No torch here.

Each method states its facts in ``methods/NAME/facts.py`` as ``FACTS``; ``catalogue.py`` collects them. A fact that
would be silently wrong if forgotten has no default.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from pruning_vs_scratch.config.base import PositiveInt, Section
from pruning_vs_scratch.config.training import CosineSchedule, RelativeSchedule

if TYPE_CHECKING:
    from pruning_vs_scratch.study.shape import ModelShape

FP32_BYTES, FP64_BYTES = 4, 8
LOSS_TOKENS = 1024
"""Tokens whose logits are held at a time when a method computes a loss."""

Granularity = Literal["depth", "width", "sparse", "hybrid"]
Reads = Literal["calibration", "training", "nothing"]
"""Windows of the calibration split; a range of the training text on which masks are learned; or no text."""


class NoOptions(Section):
    """For a method without options."""


class MaskLearningOptions(Section):
    """Options of every method that learns masks on training text. Its tokens count in the pipeline's budget."""

    tokens: PositiveInt | None = None
    """Mask-learning budget; a multiple of its global batch. Required when the method is used."""
    global_batch_size: PositiveInt = 32
    """Sequences per step."""
    micro_batch_size: PositiveInt = 32
    """Sequences run through the model together; divides the global batch."""
    weight_learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """Learning rate of the weights during mask learning."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Weight decay of the weights during mask learning; that of training unless given (Sheared-LLaMA: 0)."""
    schedule: RelativeSchedule = CosineSchedule()
    """Schedule of both learning rates."""
    checkpoint_every_steps: PositiveInt = 100
    """Save resume state every this many steps."""
    domain_update_steps: PositiveInt = 50
    """With several domains: steps between updates of their proportions (dynamic batch loading)."""
    domain_sequences: PositiveInt = 32
    """With several domains: validation windows of each, whose loss determines the proportions."""


@dataclass(frozen=True)
class BlockScores:
    """Importance as the method sees it: a number per block of the parent, in pruning.json."""

    name: str
    """Name of the scores; ``{dropped}`` stands for the number of dropped blocks."""
    measure: str
    """Name in the tables."""
    axis: str
    """Label of the figure's axis."""


@dataclass(frozen=True)
class ChannelScores:
    """Importance as the method sees it: a number per channel of each block, in the file of scores."""

    name: str
    """Name of the scores, which have shape (layers, channels)."""
    measure: str
    """Name in the tables."""
    axis: str
    """Label of the figure's axis."""


@dataclass(frozen=True)
class WeightBytes:
    """Bytes of a weight."""

    stored: int
    computed: int
    """Also of an activation."""

    @property
    def fp32_copy(self) -> int:
        """Bytes of an activation's copy in fp32; none if it already is fp32."""
        return 0 if self.computed == FP32_BYTES else FP32_BYTES


@dataclass(frozen=True)
class Workspace:
    """Bytes on the device that a method needs beyond blocks, hidden states, and a batch in a block."""

    held: int = 0
    """While text passes, for example statistics."""
    seeing: int = 0
    """In addition, while it processes the widest activation of a batch."""
    between: int = 0
    """While no batch is in a block: to prune a layer or to compute a loss."""


@dataclass(frozen=True)
class Text:
    """Calibration text that passes through a model."""

    sequences: int
    length: int
    batch_size: int = 1

    @property
    def batch_tokens(self) -> int:
        """Tokens that run together."""
        return min(self.batch_size, self.sequences) * self.length


Candidate = tuple[int, int]
"""(run, start): blocks [start, start + run) are left out. The whole model is (0, layers)."""
Options = Any
"""The method's section of the configuration, of the class ``MethodFacts.options``."""


@dataclass(frozen=True, kw_only=True)
class MethodFacts:
    """One method."""

    label: str
    """The method's spelling in tables and figures."""
    granularity: Granularity
    reads: Reads
    options: type[Section]
    """Its options; for a method that reads training text, a class of ``MaskLearningOptions``."""
    shrinks: Callable[[Options], frozenset[str]]
    """Keys of the parent's shape that it can make smaller."""
    scored_once: Callable[[Options], bool]
    """Whether one calibration gives scores that are valid for every ratio, and so are kept as a file."""
    needs_goals: bool
    """Whether these scores depend on the targets, which must then all be known when the parent is scored."""
    score_numbers: Callable[["ModelShape", Sequence["ModelShape"], Options], int]
    """How many numbers that file contains, for a parent's shape and the goals' shapes."""
    calibration_flops: Callable[["ModelShape", Sequence["ModelShape"], Options, Text], int]
    """FLOPs of its passes over calibration text, as pruning/calibration.py counts them while it runs."""
    workspace: Callable[["ModelShape", Text, WeightBytes], Workspace]
    """The memory it needs on the device."""
    importance: tuple[BlockScores, ...] | tuple[ChannelScores, ...]
    """What the importance figure shows; nothing if the method scores no blocks."""
    candidates: Callable[["ModelShape", Sequence["ModelShape"], Options], int] | None = None
    """The maximum number of candidates whose hidden states it holds together; none if it compares no losses of
    candidates (pruning/depth_losses.py).
    """
    adds: Callable[[Options], frozenset[str]] = lambda _options: frozenset()
    """Biases that it adds to a model: ``attention_bias``, ``mlp_bias``."""
    shape_at: Callable[["ModelShape", float, Options], "ModelShape"] | None = None
    """The shape for a ratio given by hand; none for what its granularity usually means (study/solve.py)."""
    ratio_decides: Callable[[Options], bool] = lambda _options: False
    """Whether the ratio alone determines the shape (``shape_at``), so that a target can only agree."""
    least_layers: int = 1
    """The fewest blocks that it keeps."""
    problem: Callable[[Options, str], str | None] = lambda _options, _pattern: None
    """What is wrong with the options for a sparsity pattern ('dense' for other methods), after the option's key."""

    @property
    def learns_masks(self) -> bool:
        """Whether it trains masks, with several processes if necessary."""
        return self.reads == "training"


# Shared by many methods.


def always(*keys: str) -> Callable[[Options], frozenset[str]]:
    """The same keys of the shape, whatever the options."""
    return lambda _options: frozenset(keys)


def no_text(_shape: "ModelShape", _goals: Sequence["ModelShape"], _options: Options, _text: Text) -> int:
    """FLOPs of a method that runs no block on calibration text."""
    return 0


def one_pass(shape: "ModelShape", _goals: Sequence["ModelShape"], _options: Options, text: Text) -> int:
    """FLOPs of one pass of the text through all blocks."""
    return shape.layers * shape.block_flops(text.sequences, text.length)


def observed_then_moved_on(shape: "ModelShape", _goals: Sequence["ModelShape"], _options: Options, text: Text) -> int:
    """FLOPs of sequential pruning: each block is observed whole, then the text moves on through what is left of it.

    Observing ends before the block's last linear layer, and no block follows the last.
    """
    size = text.sequences, text.length
    return shape.layers * shape.observed_block_flops(*size) + (shape.layers - 1) * shape.block_flops(*size)


def nothing_stored(_shape: "ModelShape", _goals: Sequence["ModelShape"], _options: Options) -> int:
    """For a method that keeps no scores."""
    return 0


def no_workspace(_shape: "ModelShape", _text: Text, _weights: WeightBytes) -> Workspace:
    """For a method whose statistics are only a few channels, and that copies no activation."""
    return Workspace()


def activation_in_fp32(shape: "ModelShape", text: Text, weights: WeightBytes) -> Workspace:
    """The widest activation of a batch in fp32, and its squares or absolute values."""
    return Workspace(seeing=text.batch_tokens * shape.ffn_size * (weights.fp32_copy + FP32_BYTES))


def candidates_flops(shape: "ModelShape", layers: int, candidates: Sequence[Candidate], text: Text) -> int:
    """FLOPs of the losses of candidates in a model with this many blocks, as in pruning/depth_losses.py.

    The whole model's states go up to where the last candidate begins; each candidate moves on after its run.
    """
    whole = min(layers, max(start for _, start in candidates))
    blocks = whole + sum(layers - run - start for run, start in candidates)
    size = text.sequences, text.length
    return blocks * shape.block_flops(*size) + len(candidates) * shape.output_flops(*size)


def logits_for_losses(shape: "ModelShape", text: Text, weights: WeightBytes) -> Workspace:
    """The output projection; some tokens' logits in the model's dtype, in fp32, and as logarithms."""
    tokens = min(LOSS_TOKENS, text.batch_tokens)
    logits = tokens * shape.vocab_size * (weights.computed + weights.fp32_copy + FP32_BYTES)
    return Workspace(held=shape.vocab_size * shape.hidden_size * weights.computed, between=logits)


def window_in_fp64(shape: "ModelShape", text: Text, _weights: WeightBytes) -> Workspace:
    """A window of inputs of o_proj or down_proj in fp64, as it is and centred; the weights that read it, squared."""
    channels = max(shape.ffn_size, shape.heads * shape.head_dim)
    return Workspace(
        seeing=2 * FP64_BYTES * text.length * channels, between=2 * FP64_BYTES * shape.hidden_size * channels
    )


def largest_layer(shape: "ModelShape", _text: Text, weights: WeightBytes) -> Workspace:
    """The weights of gate and up projection, one of which is pruned: its scores in fp32, their order, and masks."""
    layer = shape.hidden_size * shape.ffn_size
    # To break ties, dropped entries of a row are counted in 8-byte integers; four masks are alive meanwhile.
    return Workspace(between=layer * (3 * weights.stored + FP32_BYTES + 8 + 4))
