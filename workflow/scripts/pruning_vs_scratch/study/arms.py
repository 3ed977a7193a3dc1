"""Runs of the arms that the paper leaves open, and what each is compared with.

Every arm starts from a comparison of the matrix: a method at a ratio, retrained on a budget. Its runs read the same
windows of the text in the same order, except for those matched by FLOPs, which read the first of them.
"""

from collections.abc import Iterator
from dataclasses import replace

from pruning_vs_scratch.config.arms import EarlyArm, GradualArm
from pruning_vs_scratch.config.model import PretrainedParent
from pruning_vs_scratch.config.pruning import Comparison
from pruning_vs_scratch.config.steps import Step
from pruning_vs_scratch.config.training import ConstantSchedule, PartSchedule, WsdSchedule
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import names
from pruning_vs_scratch.study.expand import Expansion
from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.study.runs import Arm, ArmPair, Match, Run
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.study.targets import pipelines_of


def arm_pairs(expansion: Expansion) -> list[ArmPair]:
    """Add the runs of all arms to those of a study, and return their comparisons.

    Raises:
        UserError: a budget of FLOPs is too small for the schedule.
    """
    arms = Arms(expansion)
    return list(dict.fromkeys(pair for seed in expansion.config.seeds for pair in arms.of_seed(seed)))


def steps_of_equal_flops(shape: ModelShape, teacher: ModelShape, steps: int, batch: int, length: int) -> int:
    """Steps of distillation whose FLOPs do not exceed those of ``steps`` of training by language modelling.

    A step reads ``batch`` sequences of ``length`` tokens; the teacher runs forward only.
    """
    alone = shape.training_flops(batch, length)
    return steps * alone // (alone + teacher.forward_flops(batch, length))


class Arms:
    """Collects the runs and comparisons of the arms of one study."""

    def __init__(self, expansion: Expansion) -> None:
        self.expansion, self.config = expansion, expansion.config

    def of_seed(self, seed: int) -> Iterator[ArmPair]:
        """The comparisons of one seed. Their runs are added to the expansion."""
        for i, comparison in enumerate(self.config.matrix):
            for steps in pipelines_of(comparison):
                pruned = self._run(names.pruned_name(self.expansion.label, names.pruning_label(steps), seed))
                yield from self._distilled(i, comparison, pruned)
                yield from self._gradual(comparison, pruned, steps)
                yield from self._joint(comparison, pruned)
                yield from self._early(comparison, pruned)

    def _run(self, name: str) -> Run:
        return self.expansion.runs[name]

    def _distilled(self, block: int, comparison: Comparison, pruned: Run) -> Iterator[ArmPair]:
        for budget in comparison.distilled.tokens:
            yield self._distilled_pair(pruned, budget, budget, "tokens")
        for budget in comparison.distilled.flops:
            steps = self._steps_of_equal_flops(pruned, budget)
            if steps < self._least_steps:
                raise UserError(
                    f"matrix.{block}.distilled.flops: the FLOPs of {budget} tokens are those of {steps} steps of "
                    "distillation, as the parent's forward passes count, and the schedule needs "
                    f"{self._least_steps}; choose a larger budget"
                )
            yield self._distilled_pair(pruned, budget, steps * self._batch, "flops")

    @property
    def _least_steps(self) -> int:
        """Steps of the shortest run."""
        schedule = self.config.training.schedule
        return schedule.least_steps if isinstance(schedule, WsdSchedule | ConstantSchedule) else 1

    def _steps_of_equal_flops(self, pruned: Run, budget: int) -> int:
        training = self.config.training
        teacher = self._run(names.parent_name(self.expansion.label, pruned.seed)).target.shape
        sequences, length = training.global_batch_size, training.sequence_length
        return steps_of_equal_flops(pruned.target.shape, teacher, budget // self._batch, sequences, length)

    @property
    def _batch(self) -> int:
        """Tokens of a global batch."""
        return self.config.training.global_batch_size * self.config.training.sequence_length

    def _distilled_pair(self, pruned: Run, budget: int, tokens: int, match: Match) -> ArmPair:
        """Both sides learn from the parent on the first ``tokens`` of a budget."""
        usual, scratch = self._usual(pruned, budget)
        shorter = self.expansion.sides(pruned.name, tokens)
        run, baseline = (self._distil(*sides) for sides in zip(shorter, (usual, scratch), strict=True))
        return self._pair("distilled", match, run, baseline, usual, budget)

    def _distil(self, run: Run, usual: Run) -> Run:
        """A run that learns from the parent, otherwise by the recipe of the usual one."""
        name = names.distilled_name(run.name, run.seed)
        rate = _plan(usual).peak_learning_rate
        recipe = {"distillation": self.config.training.distillation, "peak_learning_rate": rate}
        plan = _plan(run).model_copy(update={"run": name, **recipe})
        return self.expansion.add(replace(run, name=name, role="distilled", plan=plan))

    def _usual(self, pruned: Run, budget: int) -> tuple[Run, Run]:
        """The comparison that an arm varies: the retrained run and its baseline of equal tokens."""
        retrained, scratch = self.expansion.sides(pruned.name, budget)
        return self._run(retrained.name), self._run(scratch.name)

    def _gradual(self, comparison: Comparison, pruned: Run, steps: tuple[Step, ...]) -> Iterator[ArmPair]:
        for schedule in comparison.gradual:
            if len(steps) == 1 and schedule.ratios[-1] == steps[0].ratio:
                yield from (self._gradual_pair(schedule, pruned, steps[0], budget) for budget in schedule.retrain)

    def _gradual_pair(self, schedule: GradualArm, pruned: Run, last: Step, budget: int) -> ArmPair:
        usual, _ = self._usual(pruned, budget)
        run = self._run(str(pruned.start))
        part = budget // len(schedule.ratios)
        for i, ratio in enumerate(schedule.ratios):
            run = self._step(run, replace(last, ratio=ratio), part, i, usual)
        pair = self._pair("gradual", "tokens", run, usual, usual, budget)
        return replace(pair, steps="+".join(f"{ratio:g}" for ratio in schedule.ratios))

    def _step(self, before: Run, step: Step, tokens: int, index: int, usual: Run) -> Run:
        """Prune what the previous step left, and retrain it on the next part of the budget."""
        label = names.continued_label(before.name, before.seed)
        pruned = self.expansion.pruned(before, (step,), label, role="gradual")
        name = names.retrained_name(label, names.pruning_label([step]), tokens, before.seed)
        whole = _plan(usual)
        sequences = tokens // whole.sequence_length
        start = whole.window_start + index * sequences
        plan = whole.model_copy(update={"run": name, "window_start": start, "window_end": start + sequences})
        retrained = replace(pruned, name=name, plan=plan, pruning=None, start=pruned.name)
        return self.expansion.add(replace(retrained, tokens_retrained=index * tokens))

    def _joint(self, comparison: Comparison, pruned: Run) -> Iterator[ArmPair]:
        for budget in comparison.joint:
            usual, _ = self._usual(pruned, budget)
            parent = self._parent(pruned.seed)
            before, after = _plan(parent), _plan(usual)
            steps = before.steps + after.steps
            first = PartSchedule(whole=self.config.training.schedule, start=0, steps=steps)
            label = names.part_label(before.tokens, before.tokens + budget)
            younger = self._younger(parent, label, "joint", {"schedule": first})
            second = first.model_copy(update={"start": before.steps})
            recipe = {"schedule": second, "peak_learning_rate": before.peak_learning_rate}
            run = self._retrained(younger, label, pruned, after.model_copy(update=recipe))
            yield self._pair("joint", "tokens", run, usual, usual, budget)

    def _early(self, comparison: Comparison, pruned: Run) -> Iterator[ArmPair]:
        for arm in comparison.early:
            for budget in arm.retrain:
                yield from self._early_pairs(arm, pruned, budget)

    def _early_pairs(self, arm: EarlyArm, pruned: Run, budget: int) -> Iterator[ArmPair]:
        usual, _ = self._usual(pruned, budget)
        parent = self._parent(pruned.seed)
        for share in arm.shares:
            end = round(share * _plan(parent).window_end)
            label = names.pretrained_label(end * _plan(parent).sequence_length)
            younger = self._younger(parent, label, "early", {"window_end": end})
            run = self._retrained(younger, label, pruned, _plan(usual).model_copy(update={"window_start": end}))
            yield replace(self._pair("early", "tokens", run, usual, usual, budget), share=share)

    def _parent(self, seed: int) -> Run:
        assert isinstance(self.config.parent, PretrainedParent), "the configuration allows no such arm otherwise"
        return self._run(names.parent_name(self.expansion.label, seed))

    def _younger(self, parent: Run, label: str, arm: Arm, changes: dict[str, object]) -> Run:
        """A parent of which less was trained, or by less of a schedule."""
        name = names.parent_name(label, parent.seed)
        plan = _plan(parent).model_copy(update={"run": name, **changes})
        return self.expansion.add(replace(parent, name=name, role=arm, plan=plan))

    def _retrained(self, parent: Run, label: str, pruned: Run, plan: TrainingPlan) -> Run:
        """Another parent pruned in the same way, and retrained by a plan."""
        own = self._pruned_from(parent, label, pruned)
        steps = names.pruning_label(self.expansion.steps[pruned.name])
        name = names.retrained_name(label, steps, plan.tokens, own.seed)
        plan = plan.model_copy(update={"run": name})
        return self.expansion.add(replace(own, name=name, plan=plan, pruning=None, start=own.name))

    def _pruned_from(self, parent: Run, label: str, pruned: Run) -> Run:
        """Another parent pruned by the same method or chain."""
        before = self._run(str(pruned.start))
        own = parent if before.role == "parent" else self._pruned_from(parent, label, before)
        return self.expansion.pruned(own, self.expansion.steps[pruned.name], label, role=parent.role)

    @staticmethod
    def _pair(arm: Arm, match: Match, run: Run, baseline: Run, usual: Run, budget: int) -> ArmPair:
        target = usual.target
        return ArmPair(
            arm, match, run.name, baseline.name, usual.name, str(usual.method), str(target.granularity), target.pattern,
            target.ratio, budget, usual.seed,
        )  # fmt: skip


def _plan(run: Run) -> TrainingPlan:
    assert run.plan is not None, f"{run.name} is trained"
    return run.plan
