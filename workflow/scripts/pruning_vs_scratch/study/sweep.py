"""Trials of a sweep: a run of the study, trained on the sweep's budget at another peak learning rate."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pruning_vs_scratch.config.steps import Step
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.config.sweep import Choice, SweepConfig
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
    """The pruned model that it represents."""
    peak_learning_rate: float
    run: Run


def side_of(run: Run) -> Side:
    """The side of a comparison to which a run belongs, by whether it starts from pruned weights."""
    return "scratch" if run.start is None else "pruned"


def rate_name(run: Run, use: Choice) -> str:
    """The name of a run's rate among those that a sweep chooses: 'shared', 'pruned', 'pruned:wanda'.

    A sparse baseline is named after what made its mask, a dense one after its granularity, because methods share it.
    """
    side = side_of(run)
    if use == "shared":
        return use
    if use == "granularity":
        return f"{side}:{run.target.granularity}"
    if use == "method":
        method = run.method if side == "pruned" else run.target.mask_method
        return f"{side}:{method or run.target.granularity}"
    return side


def rate_groups(trials: Iterable[Trial], use: Choice) -> dict[str, list[str]]:
    """Names of the trials by which each rate is chosen: those of either side, of both, and those that ``use`` needs."""
    groups: dict[str, list[str]] = {"pruned": [], "scratch": [], "shared": []}
    for trial in trials:
        for name in dict.fromkeys((trial.side, "shared", rate_name(trial.run, use))):
            groups.setdefault(name, []).append(trial.run.name)
    return groups


def trials_of(config: StudyConfig, expansion: Expansion) -> Iterator[Trial]:
    """All trials of a study; none without a sweep.

    Raises:
        UserError: a pruned model of the sweep is not in the matrix, or no trial represents a run.
    """
    if config.sweep is None:
        return
    trials = list(_trials(config, config.sweep, expansion))
    used = {rate_name(run, config.sweep.use): run for run in expansion.runs.values() if follows_sweep(run)}
    missing = sorted(used.keys() - rate_groups(trials, config.sweep.use).keys())
    if missing:
        raise UserError(
            f"sweep.use: {config.sweep.use} needs rates that no trial finds: {', '.join(missing)}; add such models to "
            "sweep.on (chains cannot be tried), or choose own or shared"
        )
    yield from trials


def follows_sweep(run: Run) -> bool:
    """Whether a run may be trained at a rate that a sweep chose: retraining, baselines, and their trunks."""
    return run.plan is not None and not run.is_parent and run.role not in ("trial", "candidate", "joint")


def _trials(config: StudyConfig, sweep: SweepConfig, expansion: Expansion) -> Iterator[Trial]:
    seed = config.seeds[0]
    for i, text in enumerate(sweep.on):
        pruned = names.pruned_name(names.parent_label(config.parent), names.pruning_label([Step.parse(text)]), seed)
        if pruned not in expansion.runs:
            known = ", ".join(str(steps[-1]) for steps in expansion.steps.values() if len(steps) == 1)
            raise UserError(f"sweep.on.{i}: {text} is not in the matrix, which has: {known}")
        for run in expansion.sides(pruned, sweep.tokens):
            for rate in sweep.peak_learning_rates:
                yield Trial(side_of(run), text, rate, _with_rate(run, rate))


def _with_rate(run: Run, rate: float) -> Run:
    assert run.plan is not None
    name = names.trial_name(run.name, rate, run.seed)
    plan = run.plan.model_copy(update={"run": name, "phase": "sweep", "peak_learning_rate": rate})
    return replace(run, name=name, role="trial", plan=plan)
