"""Tokens and operations of every run, as in its later ledger row, before anything runs. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.facts import Text
from pruning_vs_scratch.study.plan import PruningPlan, TrainingPlan
from pruning_vs_scratch.study.priority import training_flops
from pruning_vs_scratch.study.runs import Run
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.study.study import Study
from pruning_vs_scratch.study.targets import shapes_to_score


@dataclass(frozen=True, kw_only=True)
class Costs:
    """One run. The columns are those of ``ledger.LedgerRow`` that a plan determines."""

    run: str
    phase: str
    tokens_planned: int
    tokens_trunk: int = 0
    flops: int
    flops_trunk: int = 0
    flops_teacher: int = 0
    flops_teacher_trunk: int = 0

    @property
    def tokens(self) -> int:
        """Tokens read by this run itself, not by the trunk that it continues from."""
        return self.tokens_planned - self.tokens_trunk

    @property
    def own_flops(self) -> int:
        """Operations of this run itself, including its teacher's."""
        return self.flops - self.flops_trunk + self.flops_teacher - self.flops_teacher_trunk


def training_costs(
    plan: TrainingPlan, tokens_trunk: int, shape: ModelShape, teacher: ModelShape | None
) -> dict[str, int]:
    """The FLOPs of a training run, as fields of the ledger; ``tokens_trunk`` were read in shared trunks."""
    length, in_trunk = plan.sequence_length, tokens_trunk // plan.sequence_length
    taught, taught_in_trunk = (
        teacher.forward_flops(sequences, length) if teacher else 0 for sequences in (plan.sequences, in_trunk)
    )
    return {
        "flops": shape.training_flops(plan.sequences, length),
        "flops_trunk": shape.training_flops(in_trunk, length),
        "flops_teacher": taught,
        "flops_teacher_trunk": taught_in_trunk,
    }


def planned_costs(study: Study) -> list[Costs]:
    """One row for each run, trunk and trial, in the order of the ledger.

    Runs that are pruned by the same scores each include the FLOPs of the scoring, which is done once
    (``scoring_flops``).
    """
    return [_costs(study, run) for run in study.recorded_runs.values()]


def scoring_flops(study: Study, start: str, method: str) -> int:
    """FLOPs of scoring a run once for all that is pruned by these scores."""
    return calibration_costs(study, study.run(study.scorings[start, method][0]))


def calibration_costs(study: Study, run: Run) -> int:
    """FLOPs of the calibration by which a run is pruned, whether or not others share it."""
    plan = study.pruning_plan(run.name)
    options = study.config.pruning.options(plan.method)
    shape = study.run(str(run.start)).target.shape
    return calibration_flops(plan, options, shape, shapes_to_score(study.config, plan.method, shape))


def _costs(study: Study, run: Run) -> Costs:
    if run.plan is not None:
        trunk = study.run(run.trunk).plan if run.trunk is not None else None
        tokens_trunk = trunk.tokens if trunk else 0
        teacher = study.parent_of(run).target.shape if run.plan.distillation is not None else None
        return Costs(
            run=run.name,
            phase=run.plan.phase,
            tokens_planned=run.plan.tokens,
            tokens_trunk=tokens_trunk,
            **training_costs(run.plan, tokens_trunk, run.target.shape, teacher),
        )
    if run.role == "parent":
        return Costs(run=run.name, phase="acquire", tokens_planned=0, flops=0)
    pruning = study.pruning_plan(run.name)
    learned = pruning.training is not None
    flops = training_flops(study.recorded_runs, run.name) if learned else calibration_costs(study, run)
    return Costs(run=run.name, phase="prune", tokens_planned=pruning.tokens, flops=flops)


def calibration_flops(plan: PruningPlan, options: Any, shape: ModelShape, goals: Sequence[ModelShape]) -> int:
    """FLOPs of a method's passes over its calibration text, as ``pruning.calibration`` counts them while it runs.

    ``shape`` is that of the model which is read; ``goals`` are the shapes that it is scored for.
    """
    if not plan.sequences:
        return 0
    text = Text(plan.sequences, plan.sequence_length, plan.batch_size)
    return facts_of(plan.method).calibration_flops(shape, goals, options, text)
