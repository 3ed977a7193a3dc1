"""Facts of Minitron-depth (Sreenivas et al., 2408.11796, section 2.2)."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.pruning.facts import (
    BlockScores,
    Candidate,
    MethodFacts,
    Text,
    always,
    candidates_flops,
    logits_for_losses,
)

if TYPE_CHECKING:
    from pruning_vs_scratch.study.shape import ModelShape


class MinitronDepthOptions(Section):
    """Minitron-depth."""

    criterion: Literal["best", "closest"] = "best"
    """The run of blocks to drop: without it the loss is lowest (the paper), or closest to the whole model's."""


def candidates_of(layers: int, runs: Iterable[int]) -> list[Candidate]:
    """Every start of every length of run."""
    return [(run, start) for run in runs for start in range(layers - run + 1)]


def depth_candidates(layers: int, kept: Iterable[int], options: MinitronDepthOptions) -> list[Candidate]:
    """The candidates to compare: every start of every run of blocks, for the depths that may be kept."""
    candidates = candidates_of(layers, sorted({layers - number for number in kept}))
    return [*candidates, (0, layers)] if options.criterion == "closest" else candidates


def score_numbers(shape: "ModelShape", goals: Sequence["ModelShape"], options: MinitronDepthOptions) -> int:
    """The loss of each candidate."""
    return len(depth_candidates(shape.layers, (goal.layers for goal in goals), options))


def calibration_flops(
    shape: "ModelShape", goals: Sequence["ModelShape"], options: MinitronDepthOptions, text: Text
) -> int:
    """The losses of all candidates."""
    candidates = depth_candidates(shape.layers, (goal.layers for goal in goals), options)
    return candidates_flops(shape, shape.layers, candidates, text)


FACTS = MethodFacts(
    label="Minitron-depth",
    granularity="depth",
    reads="calibration",
    options=MinitronDepthOptions,
    shrinks=always("layers"),
    scored_once=lambda _options: True,
    needs_goals=True,
    score_numbers=score_numbers,
    calibration_flops=calibration_flops,
    workspace=logits_for_losses,
    candidates=score_numbers,
    importance=(
        BlockScores(
            "loss_without_{dropped}", "loss_without", "loss without the run of blocks\nthat starts here (nats)"
        ),
    ),
)
