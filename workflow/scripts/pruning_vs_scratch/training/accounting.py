"""What a training run cost, as fields of the ledger."""

from typing import Any

from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.training.loop import TrainResult


def training_fields(
    plan: TrainingPlan, result: TrainResult, shape: ModelShape, teacher: ModelShape | None = None
) -> dict[str, Any]:
    """Tokens, windows, recipe and work of a finished run."""
    in_trunk = result.tokens_trunk // plan.sequence_length
    taught, taught_in_trunk = (
        teacher.forward_flops(sequences, plan.sequence_length) if teacher else 0
        for sequences in (plan.sequences, in_trunk)
    )
    return {
        "tokens_planned": plan.tokens,
        "tokens_seen": result.tokens_seen,
        "tokens_trunk": result.tokens_trunk,
        "window_start": plan.window_start,
        "window_end": plan.window_end,
        "sequence_length": plan.sequence_length,
        "global_batch_size": plan.global_batch_size,
        "steps": result.steps,
        "peak_lr": plan.peak_learning_rate,
        "schedule": plan.schedule.label,
        "objective": plan.objective,
        "precision": result.precision,
        "flops": shape.training_flops(plan.sequences, plan.sequence_length),
        "flops_trunk": shape.training_flops(in_trunk, plan.sequence_length),
        "flops_teacher": taught,
        "flops_teacher_trunk": taught_in_trunk,
    }
