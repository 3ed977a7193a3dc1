"""Facts of ShortGPT (Men et al., 2403.03853)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pruning_vs_scratch.pruning.facts import (
    FP32_BYTES,
    BlockScores,
    MethodFacts,
    NoOptions,
    Text,
    WeightBytes,
    Workspace,
    always,
    one_pass,
)

if TYPE_CHECKING:
    from pruning_vs_scratch.study.shape import ModelShape


def score_numbers(shape: "ModelShape", _goals: Sequence["ModelShape"], _options: Any) -> int:
    """The influence of each block."""
    return shape.layers


def workspace(shape: "ModelShape", text: Text, weights: WeightBytes) -> Workspace:
    """The previous batch's inputs and outputs and the current inputs; a batch's two states compared in fp32. The cosine
    needs both, divided by their norms, and their product.
    """
    states = text.batch_tokens * shape.hidden_size
    compared = 2 * weights.computed + 2 * weights.fp32_copy + 3 * FP32_BYTES
    return Workspace(held=3 * states * weights.computed, between=states * compared)


FACTS = MethodFacts(
    label="ShortGPT",
    granularity="depth",
    reads="calibration",
    options=NoOptions,
    shrinks=always("layers"),
    scored_once=lambda _options: True,
    needs_goals=False,
    score_numbers=score_numbers,
    calibration_flops=one_pass,
    workspace=workspace,
    importance=(BlockScores("block_influence", "block_influence", "block influence\n(1 − cosine)"),),
)
