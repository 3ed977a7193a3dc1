"""Facts of SLEB (Song et al., 2402.09025)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pruning_vs_scratch.pruning.facts import (
    BlockScores,
    Candidate,
    MethodFacts,
    NoOptions,
    Text,
    always,
    candidates_flops,
    logits_for_losses,
)

if TYPE_CHECKING:
    from pruning_vs_scratch.study.shape import ModelShape


def removable(layers: int) -> list[Candidate]:
    """Every block of a model except the first and the last, by position."""
    return [(1, position) for position in range(1, layers - 1)]


LEAST_LAYERS = 2


def rounds_of(shape: "ModelShape", goals: Sequence["ModelShape"]) -> int:
    """The number of rounds: as many blocks as the smallest goal drops, excluding the first and the last."""
    return shape.layers - max(LEAST_LAYERS, min(goal.layers for goal in goals))


def score_numbers(shape: "ModelShape", goals: Sequence["ModelShape"], _options: Any) -> int:
    """The block dropped in each round and the loss without it; and the loss without each single block."""
    return 2 * rounds_of(shape, goals) + shape.layers


def calibration_flops(shape: "ModelShape", goals: Sequence["ModelShape"], _options: Any, text: Text) -> int:
    """The losses of all candidates of each round."""
    left = [shape.layers - done for done in range(rounds_of(shape, goals))]
    return sum(candidates_flops(shape, layers, removable(layers), text) for layers in left)


FACTS = MethodFacts(
    label="SLEB",
    granularity="depth",
    reads="calibration",
    options=NoOptions,
    shrinks=always("layers"),
    scored_once=lambda _options: True,
    needs_goals=True,
    least_layers=LEAST_LAYERS,
    score_numbers=score_numbers,
    calibration_flops=calibration_flops,
    workspace=logits_for_losses,
    candidates=lambda shape, _goals, _options: len(removable(shape.layers)),
    importance=(BlockScores("loss_without_block", "loss_without_block", "loss without the block (nats)"),),
)
