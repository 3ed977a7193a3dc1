"""Shared trunks: runs with the same start that differ only in budget train the steps before the decay once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pruning_vs_scratch.config.training import WsdSchedule
from pruning_vs_scratch.study import names
from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.study.runs import Run

Runs = dict[str, Run]


def with_trunks(runs: Mapping[str, Run]) -> tuple[Runs, Runs]:
    """The runs, each with the trunk that it continues from if there is one, and the trunks.

    The trunks of one start form a chain: that of the smallest budget ends where its decay begins, and the next
    continues from there. Every budget has a trunk, including the largest, so that a larger one can be added later at
    little cost. A start with a single budget has none.
    """
    joined, trunks = dict(runs), Runs()
    for group in _of_one_start(runs.values()):
        before: Run | None = None
        for run in sorted(group, key=lambda run: _plan(run).steps):
            trunk = _trunk(run, before)
            trunks[trunk.name] = before = trunk
            joined[run.name] = replace(run, trunk=trunk.name)
    return joined, trunks


def _of_one_start(runs: Iterable[Run]) -> list[list[Run]]:
    """Groups of runs that share everything but their budget, if the schedule has a trunk."""
    groups: dict[Run, list[Run]] = defaultdict(list)
    for run in runs:
        if run.plan is not None and isinstance(run.plan.schedule, WsdSchedule):
            anonymous = run.plan.model_copy(update={"run": "", "window_end": 0})
            groups[replace(run, name="", plan=anonymous)].append(run)
    return [group for group in groups.values() if len(group) > 1]


def _trunk(run: Run, before: Run | None) -> Run:
    """The trunk of a run: the previous one if it ends at the same step, else one that continues from it."""
    plan = _plan(run)
    assert isinstance(plan.schedule, WsdSchedule)
    steps = plan.schedule.decay_start(plan.steps)
    if before is not None and _plan(before).steps == steps:
        return before
    name = names.trunk_name(run.name, run.seed)
    begun = plan.begun(name, steps, plan.schedule.trunk)
    return replace(run, name=name, role="trunk", plan=begun, trunk=before.name if before else None)


def _plan(run: Run) -> TrainingPlan:
    assert run.plan is not None
    return run.plan
