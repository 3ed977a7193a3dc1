"""Facts of Minitron-depth (Sreenivas et al., 2408.11796, section 2.2)."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.pruning.facts import BlockScores, MethodFacts, Text, Workspace, always, loss_bytes

if TYPE_CHECKING:
    from pruning_vs_scratch.study.shape import ModelShape

Candidate = tuple[int, int]
"""Blocks [start, start + run) are left out: (run, start). The whole model is (0, layers)."""


class MinitronDepthOptions(Section):
    """Minitron-depth."""

    criterion: Literal["best", "closest"] = "best"
    """Which run of blocks goes: that without which the loss is lowest (the paper), or nearest to the whole model's."""


def candidates_of(layers: int, runs: Iterable[int]) -> list[Candidate]:
    """Every start of every length of run."""
    return [(run, start) for run in runs for start in range(layers - run + 1)]


def depth_candidates(layers: int, kept: Iterable[int], options: MinitronDepthOptions) -> list[Candidate]:
    """What the loss is taken of: every start of every run of blocks, for the depths that may be kept."""
    candidates = candidates_of(layers, sorted({layers - number for number in kept}))
    return [*candidates, (0, layers)] if options.criterion == "closest" else candidates


def score_numbers(shape: "ModelShape", goals: Sequence["ModelShape"], options: MinitronDepthOptions) -> int:
    """The loss of each candidate."""
    return len(depth_candidates(shape.layers, (goal.layers for goal in goals), options))


def calibration_flops(
    shape: "ModelShape", goals: Sequence["ModelShape"], options: MinitronDepthOptions, text: Text
) -> int:
    """The whole model's states go as far as the last candidate begins; each candidate goes on behind its run."""
    candidates = depth_candidates(shape.layers, (goal.layers for goal in goals), options)
    whole = min(shape.layers, max(start for _, start in candidates))
    blocks = whole + sum(shape.layers - run - start for run, start in candidates)
    size = text.sequences, text.length
    return blocks * shape.block_flops(*size) + len(candidates) * shape.output_flops(*size)


def workspace(shape: "ModelShape", text: Text, weight_bytes: int) -> Workspace:
    """The output projection, some tokens' logits, and all candidates' states side by side."""
    return Workspace(loss_bytes(shape, text, weight_bytes), copies_of_states=shape.layers)


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
    workspace=workspace,
    importance=(
        BlockScores(
            "loss_without_{dropped}", "loss_without", "loss without the run of blocks\nthat starts here (nats)"
        ),
    ),
)
