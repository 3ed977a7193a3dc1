"""From a configuration to the study's runs and pairs."""

from collections.abc import Iterator

from pruning_vs_scratch.config import StudyConfig
from pruning_vs_scratch.config.pruning import CALIBRATION_FREE, Comparison
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import names
from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.study.runs import Pair, Run
from pruning_vs_scratch.study.targets import Target, parent_target, targets_of


class Expansion:
    """Collects the runs and pairs of a study; runs that several comparisons share appear once."""

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self.runs: dict[str, Run] = {}
        self.pairs: list[Pair] = []
        for seed in config.seeds:
            self._add_seed(seed)

    def _add_seed(self, seed: int) -> None:
        parent = self._add(self._parent(seed))
        for comparison in self.config.matrix:
            for method in comparison.methods:
                for target in targets_of(self.config, method, comparison):
                    pruned = self._add(self._pruned(parent, method, target))
                    self._add_comparison(comparison, parent, pruned)

    def _add_comparison(self, comparison: Comparison, parent: Run, pruned: Run) -> None:
        for budget in comparison.retrain:
            retrained = self._add(self._retrained(pruned, budget))
            self._add_pair(Pair("equal", scratch=self._add(self._scratch(pruned, budget)).name,
                                **self._pair_facts(parent, retrained, budget)))  # fmt: skip
            if budget in comparison.full:
                full = self._add(self._scratch_full(pruned, budget))
                self._add_pair(Pair("full", scratch=full.name, **self._pair_facts(parent, retrained, budget)))

    def _add(self, run: Run) -> Run:
        known = self.runs.setdefault(run.name, run)
        if known.plan and run.plan and known.plan.tokens != run.plan.tokens:
            raise UserError(
                f"two budgets share the run name {run.name}: {known.plan.tokens} and {run.plan.tokens} tokens; "
                f"choose budgets that differ in their first {names.LABEL_DIGITS} digits"
            )
        return known

    def _add_pair(self, pair: Pair) -> None:
        if pair not in self.pairs:
            self.pairs.append(pair)

    def _parent(self, seed: int) -> Run:
        tokens = self.config.parent.tokens
        name = names.parent_name(tokens, seed)
        plan = TrainingPlan.of(
            self.config.training, run=name, phase="pretrain", seed=seed, start_token=0, tokens=tokens
        )
        return Run(name, "parent", parent_target(self.config), seed, plan)

    def _pruned(self, parent: Run, method: str, target: Target) -> Run:
        tokens = self.config.parent.tokens
        label = names.target_name(method, target.ratio, _name_pattern(target))
        name = names.pruned_name(tokens, label, parent.seed)
        calibration = self.config.pruning.calibration
        consumed = 0 if method in CALIBRATION_FREE else calibration.sequences * calibration.sequence_length
        return Run(
            name, "pruned", target, parent.seed, method=method, start=parent.name,
            mask=name if target.granularity == "sparse" else None,
            tokens_parent=tokens, tokens_prune=consumed,
        )  # fmt: skip

    def _retrained(self, pruned: Run, budget: int) -> Run:
        tokens, seed, target = self.config.parent.tokens, pruned.seed, pruned.target
        label = names.target_name(str(pruned.method), target.ratio, _name_pattern(target))
        name = names.retrained_name(tokens, label, budget, seed)
        plan = TrainingPlan.of(
            self.config.training, run=name, phase="retrain", seed=seed, start_token=tokens, tokens=budget
        )
        return Run(
            name, "retrained", target, seed, plan, method=pruned.method, start=pruned.name, mask=pruned.mask,
            tokens_parent=tokens, tokens_prune=pruned.tokens_prune,
        )  # fmt: skip

    def _scratch(self, pruned: Run, budget: int) -> Run:
        name = names.scratch_name(pruned.target.name, budget, pruned.seed)
        return self._scratch_run(name, pruned, start_token=self.config.parent.tokens, tokens=budget)

    def _scratch_full(self, pruned: Run, budget: int) -> Run:
        """The whole pipeline's tokens: parent, retraining, and pruning, rounded up to a global batch."""
        training = self.config.training
        batch = training.global_batch_size * training.sequence_length
        spent = self.config.parent.tokens + budget + pruned.tokens_prune
        tokens = -(-spent // batch) * batch
        name = names.full_scratch_name(pruned.target.name, tokens, pruned.seed)
        return self._scratch_run(name, pruned, start_token=0, tokens=tokens)

    def _scratch_run(self, name: str, pruned: Run, *, start_token: int, tokens: int) -> Run:
        target, seed = pruned.target, pruned.seed
        plan = TrainingPlan.of(
            self.config.training, run=name, phase="scratch", seed=seed, start_token=start_token, tokens=tokens
        )
        return Run(name, "scratch", target, seed, plan, method=target.mask_method, mask=pruned.mask)

    def _pair_facts(self, parent: Run, retrained: Run, budget: int) -> dict:
        target = retrained.target
        return {
            "retrained": retrained.name, "parent": parent.name, "method": retrained.method,
            "granularity": target.granularity, "pattern": target.pattern, "ratio": target.ratio,
            "budget": budget, "seed": retrained.seed,
        }  # fmt: skip


def _name_pattern(target: Target) -> str:
    return target.pattern if target.granularity == "sparse" else "unstructured"


def corpora_of(config: StudyConfig) -> Iterator[str]:
    """Every corpus that is tokenised: the four splits, then the evaluation corpora."""
    yield from ("train", "calibration", "validation", "test")
    yield from config.corpus.evaluation
