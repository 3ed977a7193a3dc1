"""Learning-rate schedules as pure functions of the step."""

import math

from pruning_vs_scratch.config.training import (
    ConstantSchedule,
    CosineSchedule,
    FmsSchedule,
    PartSchedule,
    PlannedSchedule,
    ScheduleConfig,
    WsdSchedule,
)


def learning_rate(step: int, steps: int, peak: float, schedule: PlannedSchedule) -> float:
    """Learning rate of a step (0-based) of a run of ``steps``: linear warmup to ``peak``, then as the schedule
    prescribes.

    Cosine: down to ``floor_ratio * peak`` (Loshchilov & Hutter, arXiv 1608.03983, without restarts). Constant: the
    peak. WSD: the peak, then from the start of the decay a line to ``floor_ratio * peak`` (Hu et al., 2404.06395). The
    last step of a run uses the floor itself. FMS has its own warmup, see ``_fms``. A part of a schedule: that of the
    whole at the same step.
    """
    if isinstance(schedule, PartSchedule):
        return learning_rate(schedule.start + step, schedule.steps, peak, schedule.whole)
    if isinstance(schedule, FmsSchedule):
        return _fms(step, steps, peak, schedule)
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
    if isinstance(schedule, CosineSchedule):
        return round(steps * schedule.warmup_fraction)
    if isinstance(schedule, FmsSchedule):
        return min(int(steps * schedule.warmup_fraction), schedule.most_warmup_steps)
    return schedule.warmup_steps


def _fms(step: int, steps: int, peak: float, schedule: FmsSchedule) -> float:
    """min(p (1 - (1 - s/W)^2), p (f + (1 - f) (1 + cos(pi s/N)) / 2)) at step s of N, for W steps of warmup.

    p is the peak, f the floor's share of it. Source: the training script of IBM's fms-fsdp, whose schedule the paper's
    authors adopted. Deviation: without a whole step of warmup, where the script divides by zero, only the cosine
    applies.
    """
    cosine = _between(peak, schedule.floor_ratio, 0.5 * (1 + math.cos(math.pi * step / steps)))
    warmup = warmup_steps(steps, schedule)
    return cosine if step >= warmup else min(peak * (1 - (1 - step / warmup) ** 2), cosine)


def _decayed(step: int, steps: int, peak: float, schedule: WsdSchedule) -> float:
    start = schedule.decay_start(steps)
    if step < start:
        return peak
    return _between(peak, schedule.floor_ratio, 1 - (step + 1 - start) / (steps - start))


def _between(peak: float, floor_ratio: float, share: float) -> float:
    """A share of the way from the floor up to the peak."""
    floor = floor_ratio * peak
    return floor + (peak - floor) * share
