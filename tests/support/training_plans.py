"""A small token plan."""

from typing import Any

from pruning_vs_scratch.config.training import CosineSchedule, OptimizerConfig, ValidationConfig
from pruning_vs_scratch.study import TrainingPlan

LENGTH = 16


def make_plan(**changes: Any) -> TrainingPlan:
    """A plan of 12 steps of 4 sequences."""
    values: dict[str, Any] = {
        "run": "a-run",
        "phase": "scratch",
        "seed": 0,
        "init_seed": 0,
        "window_start": 8,
        "window_end": 56,
        "sequence_length": LENGTH,
        "global_batch_size": 4,
        "micro_batch_size": 4,
        "attention": "window",
        "peak_learning_rate": 1e-2,
        "precision": "fp32",
        "loss_chunk_tokens": None,
        "fused_loss": False,
        "activation_checkpointing": False,
        "compile": False,
        "float8": False,
        "sharding": "all",
        "mask_gradients": "before_clip",
        "threads": 1,
        "optimizer": OptimizerConfig(),
        "schedule": CosineSchedule(warmup_fraction=0.25),
        "distillation": None,
        "validation": ValidationConfig(sequences=4, every_steps=5),
        "checkpoint_every_steps": 3,
        "checkpoint_every_minutes": None,
        "keep_checkpoints": 1,
        "async_saves": "auto",
    }
    return TrainingPlan.model_validate(values | changes)
