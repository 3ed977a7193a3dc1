"""Shared trunks: runs with the same start that differ only in budget train the steps before the decay once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pruning_vs_scratch.config.training import ConstantSchedule, PartSchedule, PlannedSchedule, WsdSchedule
from pruning_vs_scratch.study import names
from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.study.runs import Run

Runs = dict[str, Run]


def with_trunks(runs: Mapping[str, Run]) -> tuple[Runs, Runs]:
    """The runs, each with the trunk that it continues from if there is one, and the trunks.

    The trunks of one start form a chain: that of the smallest budget ends where its decay begins, and the next
    continues from there. Every budget has a trunk, including the largest, so that a larger one can be added later at
    little cost. A start with a single budget has none. The first part of a longer schedule continues from the last
    trunk that ends before it and before any decay of its own.
    """
    joined, trunks = dict(runs), Runs()
    for group in _of_one_start(runs.values()):
        chain: list[Run] = []
        for run in sorted(filter(_is_whole, group), key=lambda run: _plan(run).steps):
            trunk = _trunk(run, chain[-1] if chain else None)
            chain += [trunk] if trunk not in chain else []
            joined[run.name] = replace(run, trunk=trunk.name)
        for run in group:
            if not _is_whole(run):
                shared = [trunk for trunk in chain if _plan(trunk).steps < _steps_before_decay(_plan(run))]
                joined[run.name] = replace(run, trunk=shared[-1].name if shared else None)
        trunks |= {trunk.name: trunk for trunk in chain}
    return joined, trunks


def _of_one_start(runs: Iterable[Run]) -> list[list[Run]]:
    """Groups of runs that share everything but their budget and role, if the schedule has a trunk."""
    groups: dict[Run, list[Run]] = defaultdict(list)
    for run in runs:
        if run.plan is not None and (constant := _constant(run.plan.schedule)) is not None:
            anonymous = run.plan.model_copy(update={"run": "", "window_end": 0, "schedule": constant})
            groups[replace(run, name="", role="trunk", plan=anonymous)].append(run)
    return [group for group in groups.values() if len(group) > 1]


def _constant(schedule: PlannedSchedule) -> ConstantSchedule | None:
    """The schedule before any decay, of a run that begins with it; None if it has no such steps."""
    if isinstance(schedule, PartSchedule) and schedule.start == 0:
        return _constant(schedule.whole)
    return schedule.trunk if isinstance(schedule, WsdSchedule) else None


def _is_whole(run: Run) -> bool:
    return isinstance(_plan(run).schedule, WsdSchedule)


def _steps_before_decay(plan: TrainingPlan) -> int:
    """Steps of a run before it decays; all of them if it ends earlier."""
    schedule = plan.schedule
    if isinstance(schedule, PartSchedule):
        assert isinstance(schedule.whole, WsdSchedule)
        return min(schedule.whole.decay_start(schedule.steps), plan.steps)
    assert isinstance(schedule, WsdSchedule)
    return schedule.decay_start(plan.steps)


def _trunk(run: Run, before: Run | None) -> Run:
    """The trunk of a run: the previous one if it ends at the same step, else one that continues from it."""
    plan = _plan(run)
    steps, constant = _steps_before_decay(plan), _constant(plan.schedule)
    assert constant is not None
    if before is not None and _plan(before).steps == steps:
        return before
    name = names.trunk_name(run.name, run.seed)
    begun = plan.begun(name, steps, constant)
    return replace(run, name=name, role="trunk", plan=begun, trunk=before.name if before else None)


def _plan(run: Run) -> TrainingPlan:
    assert run.plan is not None
    return run.plan
