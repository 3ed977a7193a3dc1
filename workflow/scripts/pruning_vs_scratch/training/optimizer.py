"""AdamW over a model's parameters."""

from typing import Any

import torch
from torch import nn

from pruning_vs_scratch.config.training import OptimizerConfig, PlannedSchedule
from pruning_vs_scratch.training.schedule import learning_rate

PEAK = "peak_learning_rate"
"""Key of a parameter group: the peak learning rate of its schedule."""


def weight_groups(model: nn.Module, config: OptimizerConfig, peak: float) -> list[dict[str, Any]]:
    """Parameter groups of a model's weights: matrices, which decay, and norms and biases, which may decay."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    of_others = config.weight_decay if config.decay == "all" else 0.0
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay, PEAK: peak},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": of_others, PEAK: peak},
    ]


def build_optimizer(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over parameter groups; the learning rate is set before each step."""
    return torch.optim.AdamW(groups, lr=0.0, betas=(config.beta1, config.beta2), eps=config.epsilon, fused=True)


def set_learning_rates(optimizer: torch.optim.Optimizer, step: int, steps: int, schedule: PlannedSchedule) -> None:
    """Set the learning rate of a step (0-based) in every group, according to its peak."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, steps, group[PEAK], schedule)
