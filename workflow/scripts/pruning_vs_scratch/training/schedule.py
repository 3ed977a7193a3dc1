"""Learning-rate schedules as pure functions of the step."""

import math

from pruning_vs_scratch.config.training import ConstantSchedule, CosineSchedule, ScheduleConfig, WsdSchedule


def learning_rate(step: int, steps: int, peak: float, schedule: ScheduleConfig) -> float:
    """Learning rate of a step (0-based) of a run of ``steps``: linear warmup to ``peak``, then what the schedule does.

    Cosine: down to ``floor_ratio * peak`` (Loshchilov & Hutter, arXiv 1608.03983, without restarts). Constant: the
    peak. WSD: the peak, and from its decay's start on a line to ``floor_ratio * peak`` (Hu et al., 2404.06395). The
    last step of a run uses the floor itself.
    """
    warmup = warmup_steps(steps, schedule)
    if step < warmup:
        return peak * (step + 1) / warmup
    if isinstance(schedule, CosineSchedule):
        progress = (step - warmup) / max(1, steps - 1 - warmup)
        return _between(peak, schedule.floor_ratio, 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
    if isinstance(schedule, ConstantSchedule):
        return peak
    return _decayed(step, steps, peak, schedule)


def warmup_steps(steps: int, schedule: ScheduleConfig) -> int:
    """Whole steps of warmup."""
    return round(steps * schedule.warmup_fraction) if isinstance(schedule, CosineSchedule) else schedule.warmup_steps


def _decayed(step: int, steps: int, peak: float, schedule: WsdSchedule) -> float:
    start = schedule.decay_start(steps)
    if step < start:
        return peak
    return _between(peak, schedule.floor_ratio, 1 - (step + 1 - start) / (steps - start))


def _between(peak: float, floor_ratio: float, share: float) -> float:
    """A share of the way from the floor up to the peak."""
    floor = floor_ratio * peak
    return floor + (peak - floor) * share
