"""Trials of a sweep: a run of the study, trained on the sweep's budget at another peak learning rate."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pruning_vs_scratch.config.steps import Step
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import names
from pruning_vs_scratch.study.expand import Expansion
from pruning_vs_scratch.study.runs import Run

Side = Literal["pruned", "scratch"]


@dataclass(frozen=True)
class Trial:
    """One point of the grid."""

    side: Side
    """Whether it starts from pruned weights or from random ones."""
    on: str
    """The pruned model that it stands for."""
    peak_learning_rate: float
    run: Run


def side_of(run: Run) -> Side:
    """Which side of a comparison a run that is trained from something, or from nothing, belongs to."""
    return "scratch" if run.start is None else "pruned"


def trials_of(config: StudyConfig, expansion: Expansion) -> Iterator[Trial]:
    """All trials of a study; none without a sweep.

    Raises:
        UserError: a pruned model of the sweep is not in the matrix.
    """
    if config.sweep is None:
        return
    seed = config.seeds[0]
    for i, text in enumerate(config.sweep.on):
        pruned = names.pruned_name(names.parent_label(config.parent), names.pruning_label([Step.parse(text)]), seed)
        if pruned not in expansion.runs:
            known = ", ".join(str(steps[-1]) for steps in expansion.steps.values() if len(steps) == 1)
            raise UserError(f"sweep.on.{i}: {text} is not in the matrix, which has: {known}")
        for run in expansion.sides(pruned, config.sweep.tokens):
            for rate in config.sweep.peak_learning_rates:
                yield Trial(side_of(run), text, rate, _with_rate(run, rate))


def _with_rate(run: Run, rate: float) -> Run:
    assert run.plan is not None
    name = names.trial_name(run.name, rate, run.seed)
    plan = run.plan.model_copy(update={"run": name, "phase": "sweep", "peak_learning_rate": rate})
    return replace(run, name=name, role="trial", plan=plan)
