"""Learning-rate schedules as pure functions of the step."""

import math

from pruning_vs_scratch.config.training import ScheduleConfig


def learning_rate(step: int, steps: int, peak: float, schedule: ScheduleConfig) -> float:
    """Learning rate of a step (0-based): linear warmup to ``peak``, then a cosine to ``floor_ratio * peak``.

    The last step of a run uses the floor itself (Loshchilov & Hutter, arXiv 1608.03983, without restarts).
    """
    warmup = warmup_steps(steps, schedule)
    if step < warmup:
        return peak * (step + 1) / warmup
    floor = schedule.floor_ratio * peak
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def warmup_steps(steps: int, schedule: ScheduleConfig) -> int:
    """Whole steps of warmup."""
    return round(steps * schedule.warmup_fraction)
