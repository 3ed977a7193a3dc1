"""What a method does with calibration text, counted before it is done. Arithmetic only: no torch."""

from collections.abc import Sequence
from typing import Any

from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.facts import Text
from pruning_vs_scratch.study.plan import PruningPlan
from pruning_vs_scratch.study.shape import ModelShape


def calibration_flops(plan: PruningPlan, options: Any, shape: ModelShape, goals: Sequence[ModelShape]) -> int:
    """FLOPs of a method's passes over its calibration text, as ``pruning.calibration`` counts them while it runs.

    ``shape`` is that of the model which is read; ``goals`` are the shapes that it is scored for.
    """
    if not plan.sequences:
        return 0
    text = Text(plan.sequences, plan.sequence_length, plan.batch_size)
    return facts_of(plan.method).calibration_flops(shape, goals, options, text)
