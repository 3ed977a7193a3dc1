"""What a method does with calibration text, counted before it is done. Arithmetic only: no torch."""

from collections.abc import Iterable, Sequence

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.config.pruning import MinitronDepthOptions, scored_once
from pruning_vs_scratch.study.plan import PruningPlan
from pruning_vs_scratch.study.shape import ModelShape

Candidate = tuple[int, int]
"""Blocks [start, start + run) are left out: (run, start). The whole model is (0, layers)."""


def candidates_of(layers: int, runs: Sequence[int]) -> list[Candidate]:
    """Every start of every length of run."""
    return [(run, start) for run in runs for start in range(layers - run + 1)]


def depth_candidates(layers: int, kept: Iterable[int], options: MinitronDepthOptions) -> list[Candidate]:
    """What Minitron-depth takes the loss of: every start of every run of blocks, for the depths that may be kept."""
    candidates = candidates_of(layers, sorted({layers - number for number in kept}))
    return [*candidates, (0, layers)] if options.criterion == "closest" else candidates


def calibration_flops(plan: PruningPlan, options: Section, shape: ModelShape, kept: Iterable[int]) -> int:
    """FLOPs of a method's passes over its calibration text, as ``pruning.calibration`` counts them while it runs.

    ``shape`` is that of the model which is read; ``kept`` are the depths that Minitron-depth scores.
    """
    text = plan.sequences, plan.sequence_length
    if not plan.sequences:
        return 0
    if isinstance(options, MinitronDepthOptions):
        return _depth_flops(shape, depth_candidates(shape.layers, kept, options), text)
    if scored_once(plan.method, options):
        return shape.layers * shape.block_flops(*text)
    # Each block is seen whole, then the text moves on through what is left of it; no block follows the last.
    return shape.layers * shape.observed_block_flops(*text) + (shape.layers - 1) * shape.block_flops(*text)


def _depth_flops(shape: ModelShape, candidates: list[Candidate], text: tuple[int, int]) -> int:
    """The whole model's states go as far as the last candidate begins; each candidate goes on behind its run."""
    whole = min(shape.layers, max(start for _, start in candidates))
    blocks = whole + sum(shape.layers - run - start for run, start in candidates)
    return blocks * shape.block_flops(*text) + len(candidates) * shape.output_flops(*text)
