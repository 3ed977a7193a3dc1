"""The cost of a training run, as fields of the ledger."""

from typing import Any

from pruning_vs_scratch.study.costs import training_costs
from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.training.loop import TrainResult


def training_fields(
    plan: TrainingPlan, result: TrainResult, shape: ModelShape, teacher: ModelShape | None = None
) -> dict[str, Any]:
    """Tokens, windows, recipe and work of a finished run."""
    return {
        "tokens_planned": plan.tokens,
        "tokens_seen": result.tokens_seen,
        "tokens_trunk": result.tokens_trunk,
        "tokens_distinct": result.tokens_distinct,
        "window_start": plan.window_start,
        "window_end": plan.window_end,
        "sequence_length": plan.sequence_length,
        "global_batch_size": plan.global_batch_size,
        "steps": result.steps,
        "peak_lr": plan.peak_learning_rate,
        "schedule": plan.schedule.label,
        "objective": plan.objective,
        "precision": result.precision,
        **training_costs(plan, result.tokens_trunk, shape, teacher),
    }
