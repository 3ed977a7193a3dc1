"""Facts of ShortGPT (Men et al., 2403.03853)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pruning_vs_scratch.pruning.facts import BlockScores, MethodFacts, NoOptions, always, no_workspace, one_pass

if TYPE_CHECKING:
    from pruning_vs_scratch.study.shape import ModelShape


def score_numbers(shape: "ModelShape", _goals: Sequence["ModelShape"], _options: Any) -> int:
    """The influence of each block."""
    return shape.layers


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
    workspace=no_workspace,
    importance=(BlockScores("block_influence", "block_influence", "block influence\n(1 − cosine)"),),
)
