"""Rules for the arms of a comparison: what each needs besides what the comparison itself needs."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from pruning_vs_scratch.config.arms import EarlyArm, GradualArm
from pruning_vs_scratch.config.model import PretrainedParent
from pruning_vs_scratch.config.pruning import Comparison
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.config.width_checks import NUMBERS, is_searched
from pruning_vs_scratch.pruning.catalogue import facts_of

Problems = Iterator[str]
BudgetProblem = Callable[[StudyConfig, str, int], Problems]
"""What is wrong with a number of training tokens: 'path: problem'."""
StepProblem = Callable[[StudyConfig, str, str, list[float]], Problems]
"""What is wrong with pruning by a method to some ratios."""


def arm_budgets(comparison: Comparison) -> Iterator[tuple[str, list[int]]]:
    """The retraining budgets of each arm, by the path in its block."""
    yield "distilled.tokens", comparison.distilled.tokens
    yield "distilled.flops", comparison.distilled.flops
    for i, gradual in enumerate(comparison.gradual):
        yield f"gradual.{i}.retrain", gradual.retrain
    yield "joint", comparison.joint
    for i, early in enumerate(comparison.early):
        yield f"early.{i}.retrain", early.retrain


def arm_problems(config: StudyConfig, budget_problem: BudgetProblem, step_problem: StepProblem) -> Problems:
    """All broken rules about arms, each as 'path: what is wrong and what would be right'."""
    for i, comparison in enumerate(config.matrix):
        path = f"matrix.{i}"
        yield from _distilled_problems(config, path, comparison)
        for j, gradual in enumerate(comparison.gradual):
            yield from _gradual_problems(config, f"{path}.gradual.{j}", comparison, gradual, budget_problem)
            for method in comparison.methods:
                yield from _gradual_method_problems(config, f"{path}.gradual.{j}", method, gradual, step_problem)
        if isinstance(config.parent, PretrainedParent):
            for j, early in enumerate(comparison.early):
                yield from _early_problems(config, config.parent, f"{path}.early.{j}", early, budget_problem)
        else:
            yield from _published_problems(path, comparison)


def _distilled_problems(config: StudyConfig, path: str, comparison: Comparison) -> Problems:
    if not (comparison.distilled.tokens or comparison.distilled.flops):
        return
    if config.training.objective == "kd":
        yield (
            f"{path}.distilled: training.objective is kd, so that all retraining is distilled and nothing is left to "
            "compare with; set it to ce"
        )
    if config.training.distillation.weight == 0:
        yield f"{path}.distilled: training.distillation.weight is 0, so that the parent teaches nothing; raise it"


def _gradual_problems(
    config: StudyConfig, path: str, comparison: Comparison, arm: GradualArm, budget_problem: BudgetProblem
) -> Problems:
    if not comparison.methods:
        yield f"{path}: chains prune in several steps already; give methods"
    if arm.ratios[-1] not in comparison.ratios and comparison.methods:
        yield f"{path}.ratios: the last, {arm.ratios[-1]}, is not one of this block's ratios {comparison.ratios}"
    if set(comparison.patterns) != {"unstructured"}:
        yield f"{path}: an N:M pattern has a single ratio; compare it in a block of its own"
    parts = len(arm.ratios)
    batch = config.training.global_batch_size * config.training.sequence_length
    for budget in arm.retrain:
        if budget % (parts * batch):
            unit = parts * batch
            below, above = budget // unit * unit, (budget // unit + 1) * unit
            yield (
                f"{path}.retrain: {budget} tokens cannot be divided among {parts} steps in whole batches of {batch} "
                f"tokens; nearest: {f'{below} or {above}' if below else above}"
            )
        else:
            yield from budget_problem(config, f"{path}.retrain, each step", budget // parts)


def _gradual_method_problems(
    config: StudyConfig, path: str, method: str, arm: GradualArm, step_problem: StepProblem
) -> Problems:
    facts = facts_of(method)
    if facts.learns_masks:
        yield f"{path}: {method} closes its masks gradually already; leave it out of this block"
        return
    if facts.granularity == "sparse":
        return
    yield from step_problem(config, f"{path}.ratios", method, arm.ratios[:-1])
    if facts.granularity == "width" and any(is_searched(config, method, ratio) for ratio in arm.ratios):
        yield f"{path}.ratios: the shapes of {method} are searched; gradual pruning needs shapes under targets.width"
        return
    yield from _growing_problems(path, method, arm, [_sizes(config, method, ratio) for ratio in arm.ratios])


def _sizes(config: StudyConfig, method: str, ratio: float) -> dict[str, int]:
    """What a target names of its shape; nothing without a target, which is reported elsewhere."""
    depth, width = facts_of(method).granularity == "depth", config.targets.width_of(method, ratio)
    target = next((t for t in config.targets.depth if t.ratio == ratio), None) if depth else width
    return target.model_dump(include=set(NUMBERS), exclude_none=True) if target is not None else {}


def _growing_problems(path: str, method: str, arm: GradualArm, sizes: Sequence[dict[str, int]]) -> Problems:
    """A later step's target must fit into the one before."""
    for (ratio, before), (next_ratio, after) in pairwise(zip(arm.ratios, sizes, strict=True)):
        for key in sorted(before.keys() & after.keys()):
            if after[key] > before[key]:
                yield (
                    f"{path}.ratios: from {ratio} to {next_ratio}, the targets of {method} raise {key} from "
                    f"{before[key]} to {after[key]}; pruning cannot add any"
                )


def _early_problems(
    config: StudyConfig, parent: PretrainedParent, path: str, arm: EarlyArm, budget_problem: BudgetProblem
) -> Problems:
    batch = config.training.global_batch_size * config.training.sequence_length
    steps = parent.tokens // batch
    for share in arm.shares:
        if abs(share * steps - round(share * steps)) > 1e-6:
            below, above = int(share * steps) / steps, (int(share * steps) + 1) / steps
            yield (
                f"{path}.shares: {share:g} of the parent's {steps} steps is not a whole number of steps; nearest: "
                f"{below:.6g} or {above:.6g}"
            )
        else:
            yield from budget_problem(config, f"{path}.shares, {share:g}", round(share * steps) * batch)


def _published_problems(path: str, comparison: Comparison) -> Problems:
    if comparison.joint:
        yield (
            f"{path}.joint: a published parent has ended its schedule, and its state before the decay is not known, so "
            "no schedule can continue from it; leave joint out, or pretrain the parent"
        )
    if comparison.early:
        yield f"{path}.early: a published parent cannot be pruned before its last token; leave early out"
