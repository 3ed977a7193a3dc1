"""What the rest of the project has to know about a pruning method. No torch here.

Each method states its facts in ``methods/NAME/facts.py`` as ``FACTS``; ``catalogue.py`` collects them. A fact that a
method could get wrong by silence has no default.
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
"""Tokens whose logits are held at a time where a method takes a loss."""

Granularity = Literal["depth", "width", "sparse", "hybrid"]
Reads = Literal["calibration", "training", "nothing"]
"""Windows of the calibration split; a range of the training text, on which masks are learned; or no text."""


class NoOptions(Section):
    """A method that leaves nothing to choose."""


class MaskLearningOptions(Section):
    """What every method that learns masks on training text has to know. Its tokens count in the pipeline's budget."""

    tokens: PositiveInt | None = None
    """Mask-learning budget; a multiple of its global batch. Required when the method is used."""
    global_batch_size: PositiveInt = 32
    """Sequences a step."""
    micro_batch_size: PositiveInt = 32
    """Sequences run through the model together; divides the global batch."""
    weight_learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """Of the weights, meanwhile."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Of the weights, meanwhile; the training's unless given (the original of Sheared-LLaMA: 0)."""
    schedule: RelativeSchedule = CosineSchedule()
    """Of both learning rates."""
    checkpoint_every_steps: PositiveInt = 100
    """Save resume state each this many steps."""
    domain_update_steps: PositiveInt = 50
    """With several domains: steps between updates of their proportions (dynamic batch loading)."""
    domain_sequences: PositiveInt = 32
    """With several domains: validation windows of each, by whose loss the proportions change."""


@dataclass(frozen=True)
class BlockScores:
    """Importance as the method sees it: a number per block of the parent, in pruning.json."""

    name: str
    """Of the scores; ``{dropped}`` stands for how many blocks go."""
    measure: str
    """Name in the tables."""
    axis: str
    """What the figure's axis says."""


@dataclass(frozen=True)
class ChannelScores:
    """Importance as the method sees it: a number per channel of each block, in the file of scores."""

    name: str
    """Of the scores, shape (layers, channels)."""
    measure: str
    """Name in the tables."""
    axis: str
    """What the figure's axis says."""


@dataclass(frozen=True)
class Workspace:
    """What a method holds while it prunes, beyond one block, a batch, and the hidden states of the text."""

    device_bytes: int = 0
    copies_of_states: int = 0
    """Further sets of hidden states on the host; the host buffer bounds all together."""


@dataclass(frozen=True)
class Text:
    """Calibration text that passes through a model."""

    sequences: int
    length: int
    batch_size: int = 1


Candidate = tuple[int, int]
"""Blocks [start, start + run) are left out: (run, start). The whole model is (0, layers)."""
Options = Any
"""The method's section of the configuration, of the class ``MethodFacts.options``."""


@dataclass(frozen=True, kw_only=True)
class MethodFacts:
    """One method."""

    label: str
    """Its spelling in tables and figures."""
    granularity: Granularity
    reads: Reads
    options: type[Section]
    """What is to choose; of a method that reads training text, a class of ``MaskLearningOptions``."""
    shrinks: Callable[[Options], frozenset[str]]
    """Keys of the parent's shape that it can make smaller."""
    scored_once: Callable[[Options], bool]
    """Whether one calibration gives scores that serve every ratio, and so are kept as a file."""
    needs_goals: bool
    """Whether these scores depend on the targets, so that all of them have to be known when the parent is scored."""
    score_numbers: Callable[["ModelShape", Sequence["ModelShape"], Options], int]
    """How many numbers that file holds, for a parent's shape and the goals' shapes."""
    calibration_flops: Callable[["ModelShape", Sequence["ModelShape"], Options, Text], int]
    """FLOPs of its passes over calibration text, as pruning/calibration.py counts them while it runs."""
    workspace: Callable[["ModelShape", Text, int], Workspace]
    """What it holds, for a parent's shape, the text, and the bytes of a weight."""
    importance: tuple[BlockScores, ...] | tuple[ChannelScores, ...]
    """What the figure of importance shows; nothing if the method scores no blocks."""
    adds: Callable[[Options], frozenset[str]] = lambda _options: frozenset()
    """Biases that it gives to a model: ``attention_bias``, ``mlp_bias``."""
    shape_at: Callable[["ModelShape", float, Options], "ModelShape"] | None = None
    """The shape that a ratio means by hand; none for what its granularity usually means (study/solve.py)."""
    ratio_decides: Callable[[Options], bool] = lambda _options: False
    """Whether the ratio alone decides the shape (``shape_at``), so that a target can only agree."""
    least_layers: int = 1
    """Blocks that it always leaves."""
    problem: Callable[[Options, str], str | None] = lambda _options, _pattern: None
    """What is wrong with the options for a sparsity pattern ('dense' for other methods), after the option's key."""

    @property
    def learns_masks(self) -> bool:
        """Whether it trains masks, several processes together if need be."""
        return self.reads == "training"


# What many methods have in common.


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
    """FLOPs of sequential pruning: each block is seen whole, then the text moves on through what is left of it.

    Observing ends before the block's last linear layer, and no block follows the last.
    """
    size = text.sequences, text.length
    return shape.layers * shape.observed_block_flops(*size) + (shape.layers - 1) * shape.block_flops(*size)


def nothing_stored(_shape: "ModelShape", _goals: Sequence["ModelShape"], _options: Options) -> int:
    """Numbers in the file of a method that keeps no scores."""
    return 0


def no_workspace(_shape: "ModelShape", _text: Text, _weight_bytes: int) -> Workspace:
    """What a method holds whose statistics are as small as a few channels."""
    return Workspace()


def candidates_flops(shape: "ModelShape", layers: int, candidates: Sequence[Candidate], text: Text) -> int:
    """FLOPs of the losses of candidates in a model of so many blocks, as pruning/depth_losses.py takes them.

    The whole model's states go as far as the last candidate begins; each candidate moves on behind its run.
    """
    whole = min(layers, max(start for _, start in candidates))
    blocks = whole + sum(layers - run - start for run, start in candidates)
    size = text.sequences, text.length
    return blocks * shape.block_flops(*size) + len(candidates) * shape.output_flops(*size)


def candidates_side_by_side(shape: "ModelShape", text: Text, weight_bytes: int) -> Workspace:
    """The output projection, some tokens' logits, and the states of a candidate per block."""
    return Workspace(loss_bytes(shape, text, weight_bytes), copies_of_states=shape.layers)


def window_in_fp64(shape: "ModelShape", text: Text, _weight_bytes: int) -> Workspace:
    """A window's inputs of o_proj or down_proj in fp64, centred, or the weights that read them, squared."""
    channels = max(shape.ffn_size, shape.heads * shape.head_dim)
    return Workspace(2 * FP64_BYTES * max(text.length, shape.hidden_size) * channels)


def largest_layer(shape: "ModelShape", _text: Text, _weight_bytes: int) -> Workspace:
    """Scores of a block's largest linear layer in fp32, sorted, and its mask."""
    return Workspace(4 * shape.hidden_size * shape.ffn_size * FP32_BYTES)


def loss_bytes(shape: "ModelShape", text: Text, weight_bytes: int) -> int:
    """Bytes of the output projection, and of some tokens' logits in the model's dtype and twice in fp32."""
    tokens = min(LOSS_TOKENS, text.batch_size * text.length)
    return shape.vocab_size * (shape.hidden_size * weight_bytes + tokens * (weight_bytes + 2 * FP32_BYTES))
