"""Learning-rate rules that match no run, that never apply, or that a sweep would override."""

from collections.abc import Iterator

from pruning_vs_scratch.config.learning_rates import LearningRateRule, TrainedRun
from pruning_vs_scratch.config.model import PretrainedParent
from pruning_vs_scratch.config.pruning import Comparison
from pruning_vs_scratch.config.steps import method_of, parse_chain
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.catalogue import facts_of


def learning_rate_problems(config: StudyConfig) -> Iterator[str]:
    """All problems with training.learning_rates."""
    rules, runs = config.training.learning_rates, _trained_runs(config)
    for i, rule in enumerate(rules):
        path = f"training.learning_rates.{i}"
        unknown = [*_unknown_names(path, rule, runs), *_parent_problems(path, rule)]
        yield from unknown or _idle_problems(path, rules, i, runs)
        if config.sweep is not None and config.sweep.use != "none" and set(rule.runs) != {"parent"}:
            yield (
                f"{path}: sweep.use: {config.sweep.use} chooses the rates of all runs but parents; "
                "leave the rule out, or set sweep.use: none"
            )


def _trained_runs(config: StudyConfig) -> list[TrainedRun]:
    """All runs of a study that rules can match."""
    runs = [TrainedRun("parent")] if isinstance(config.parent, PretrainedParent) else []
    for comparison in config.matrix:
        for method, granularity in _methods_of(comparison):
            runs += [TrainedRun("retrained", method, granularity, budget) for budget in comparison.retrain]
            runs += [TrainedRun("scratch", method, granularity, budget) for budget in comparison.retrain]
            runs += [TrainedRun("rewind", method, granularity, budget) for budget in comparison.rewind]
    return runs


def _methods_of(comparison: Comparison) -> Iterator[tuple[str, str]]:
    yield from ((method, facts_of(method).granularity) for method in comparison.methods)
    for chain in comparison.chains:
        try:
            yield method_of(parse_chain(chain)), "hybrid"
        except UserError:
            continue  # Reported with the chain itself.


def _unknown_names(path: str, rule: LearningRateRule, runs: list[TrainedRun]) -> Iterator[str]:
    for key, attribute in {
        "runs": "kind", "methods": "method", "granularities": "granularity", "budgets": "budget",
    }.items():  # fmt: skip
        known = {value for run in runs if (value := getattr(run, attribute)) is not None}
        for name in getattr(rule, key):
            if name not in known:
                yield f"{path}.{key}: the study has no {name}; it has: {', '.join(map(str, sorted(known)))}"


def _parent_problems(path: str, rule: LearningRateRule) -> Iterator[str]:
    if "parent" in rule.runs and (rule.methods or rule.granularities or rule.budgets):
        yield (
            f"{path}: a parent is not pruned, and so has no method, granularity or retraining budget; give it a rule "
            "with runs: [parent] alone"
        )


def _idle_problems(path: str, rules: list[LearningRateRule], index: int, runs: list[TrainedRun]) -> Iterator[str]:
    """The first matching rule applies, so each rule needs a run that no earlier rule matches."""
    label = rules[index].label
    deciding = {next(i for i, rule in enumerate(rules) if rule.fits(run)) for run in runs if rules[index].fits(run)}
    if not deciding:
        yield f"{path}: no run of the study matches all of its conditions ({label})"
    elif index not in deciding:
        before = " and ".join(f"training.learning_rates.{i}" for i in sorted(deciding))
        yield (
            f"{path}: it clashes with {before}, which comes first and matches all of its runs ({label}); leave one "
            "out, or put the narrower one first"
        )
