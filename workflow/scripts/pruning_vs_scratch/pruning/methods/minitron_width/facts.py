"""Facts of Minitron-width (Muralidharan et al., 2407.14679, section 2.2)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.pruning.facts import ChannelScores, MethodFacts, activation_in_fp32, one_pass

if TYPE_CHECKING:
    from pruning_vs_scratch.study.shape import ModelShape


class MinitronWidthOptions(Section):
    """Minitron-width."""

    importance: Literal["nvidia", "authors"] = "nvidia"
    """Of a channel in one window: mean |a| (the Minitron paper), or sum of a^2 (this study's authors, no heads)."""
    aggregate: Literal["l2", "mean"] = "l2"
    """Aggregation over windows: L2 norm (the Minitron paper's choice), or mean."""


def shrinks(options: MinitronWidthOptions) -> frozenset[str]:
    """The authors do not rank heads."""
    heads = {"heads"} if options.importance == "nvidia" else set()
    return frozenset({"hidden_size", "ffn_size"} | heads)


def score_numbers(shape: "ModelShape", _goals: Sequence["ModelShape"], _options: MinitronWidthOptions) -> int:
    """Channels of the residual stream, summed over blocks; neurons and heads' channels of each block."""
    return shape.hidden_size + shape.layers * (shape.ffn_size + shape.heads * shape.head_dim)


FACTS = MethodFacts(
    label="Minitron-width",
    granularity="width",
    reads="calibration",
    options=MinitronWidthOptions,
    shrinks=shrinks,
    scored_once=lambda _options: True,
    needs_goals=False,
    score_numbers=score_numbers,
    calibration_flops=one_pass,
    workspace=activation_in_fp32,
    importance=(
        ChannelScores("ffn", "neuron_importance", "importance of neurons"),
        ChannelScores("heads", "attention_importance", "importance of\nattention channels"),
    ),
)
