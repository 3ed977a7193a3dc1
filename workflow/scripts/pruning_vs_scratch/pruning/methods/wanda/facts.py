"""Facts of Wanda (Sun et al., 2306.11695)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.pruning.facts import (
    MethodFacts,
    Text,
    WeightBytes,
    Workspace,
    activation_in_fp32,
    always,
    largest_layer,
    observed_then_moved_on,
    one_pass,
)

if TYPE_CHECKING:
    from pruning_vs_scratch.study.shape import ModelShape


class WandaOptions(Section):
    """Wanda."""

    order: Literal["sequential", "dense"] = "sequential"
    """Input norms after the preceding pruned blocks (the paper), or in the dense model, scored once for all ratios."""


def scored_once(options: WandaOptions) -> bool:
    """The norms of the dense model serve every ratio."""
    return options.order == "dense"


def score_numbers(shape: "ModelShape", _goals: Sequence["ModelShape"], _options: WandaOptions) -> int:
    """The norms of the inputs of all linear layers."""
    return shape.layers * (2 * shape.hidden_size + shape.ffn_size + shape.heads * shape.head_dim)


def calibration_flops(shape: "ModelShape", goals: Sequence["ModelShape"], options: WandaOptions, text: Text) -> int:
    """In the dense model one pass is enough."""
    passes = one_pass if scored_once(options) else observed_then_moved_on
    return passes(shape, goals, options, text)


def workspace(shape: "ModelShape", text: Text, weights: WeightBytes) -> Workspace:
    """An activation in fp32 and its squares, or a layer that is pruned."""
    return replace(largest_layer(shape, text, weights), seeing=activation_in_fp32(shape, text, weights).seeing)


FACTS = MethodFacts(
    label="Wanda",
    granularity="sparse",
    reads="calibration",
    options=WandaOptions,
    shrinks=always(),
    scored_once=scored_once,
    needs_goals=False,
    score_numbers=score_numbers,
    calibration_flops=calibration_flops,
    workspace=workspace,
    importance=(),
)
