"""From a configuration to the study's runs and pairs."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields, replace

from pruning_vs_scratch.config.learning_rates import RunKind, TrainedRun
from pruning_vs_scratch.config.model import PretrainedParent
from pruning_vs_scratch.config.pruning import Comparison
from pruning_vs_scratch.config.steps import Step, method_of
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.config.training import TrainingConfig
from pruning_vs_scratch.data.reading import READ_ONCE, Reading
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.facts import MaskLearningOptions
from pruning_vs_scratch.study import names
from pruning_vs_scratch.study.full_budget import check_apart, full_budget
from pruning_vs_scratch.study.plan import Phase, PruningPlan, TrainingPlan
from pruning_vs_scratch.study.runs import Pair, Role, Run, Setting
from pruning_vs_scratch.study.targets import Target, parent_target, pipelines_of, target_of


class Expansion:
    """Collects the runs and pairs of a study; runs that several comparisons share appear once."""

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self.label = names.parent_label(config.parent)
        """How the names of the parent, and of what is made of it, begin."""
        # A published parent has read none of the study's text.
        self._first_token = config.parent.tokens if isinstance(config.parent, PretrainedParent) else 0
        self.reading = Reading(
            passes=config.corpus.passes, parent_sequences=self._first_token // config.training.sequence_length
        )
        """How the training loop reads the text; masks are learned from its other end."""
        self.runs: dict[str, Run] = {}
        self.pairs: list[Pair] = []
        self.steps: dict[str, tuple[Step, ...]] = {}
        """By pruned run, the methods that made it."""
        self._full_labels = self._labels_of_full_budgets()
        for seed in config.seeds:
            self._add_seed(seed)

    def _add_seed(self, seed: int) -> None:
        parent = self.add(self._parent(seed))
        for comparison in self.config.matrix:
            for steps in pipelines_of(comparison):
                self._add_comparison(comparison, parent, self._add_pruned(parent, steps))

    def _add_pruned(self, parent: Run, steps: tuple[Step, ...]) -> Run:
        """The run that a method or chain makes, and before it those of the chain's earlier steps."""
        before = self._add_pruned(parent, steps[:-1]) if len(steps) > 1 else parent
        return self.pruned(before, steps, self.label)

    def _add_comparison(self, comparison: Comparison, parent: Run, pruned: Run) -> None:
        masked = self._add_mask_of_baselines(parent, pruned, "equal")
        masked_full = self._add_mask_of_baselines(parent, pruned, "full") if comparison.full else masked
        for budget in comparison.retrain:
            retrained = self.add(self._retrained(pruned, budget))
            baselines: dict[Setting, Run] = {"equal": self._scratch(pruned, masked, budget)}
            if budget in comparison.full:
                baselines["full"] = self._scratch_full(pruned, masked_full, budget)
            if budget in comparison.rewind:
                baselines["rewind"] = self._rewound(pruned, budget)
            for setting, baseline in baselines.items():
                self._add_pair(self._pair(setting, parent, retrained, self.add(baseline), budget))

    def _add_mask_of_baselines(self, parent: Run, pruned: Run, setting: Setting) -> Run:
        """The pruned run whose shape and mask the scratch baselines of a setting take over."""
        steps = self.steps[pruned.name]
        masking = self._masking_steps(steps, setting)
        return pruned if masking == steps else self._add_pruned(parent, masking)

    def _masking_steps(self, steps: tuple[Step, ...], setting: Setting) -> tuple[Step, ...]:
        """The method or chain whose shape and mask the scratch baselines of a setting take over."""
        random = {"inherited": False, "random": True, "random_at_full": setting == "full"}
        if steps[-1].granularity != "sparse" or not random[self.config.baselines.mask]:
            return steps
        return (*steps[:-1], replace(steps[-1], method="random"))

    def _labels_of_full_budgets(self) -> dict[str, dict[int, str]]:
        """By target and tokens, the names for the tokens of full-budget baselines.

        Raises:
            UserError: the tolerance does not separate two retraining budgets of a target.
        """
        tokens: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        for comparison in self.config.matrix:
            for steps in pipelines_of(comparison) if comparison.full else []:
                target = target_of(self.config, self._masking_steps(steps, "full")).name
                pruning = sum(self._pruning_plan("", step.method, 0).tokens for step in steps)
                for budget in comparison.full:
                    tokens[target][self._before_pruning(budget)].add(self._full_tokens(budget, pruning))
        labels = {target: names.token_labels(set().union(*by_budget.values())) for target, by_budget in tokens.items()}
        for target, by_budget in sorted(tokens.items()):
            baselines = {
                before: names.full_scratch_name(target, labels[target][min(found)], self.config.seeds[0])
                for before, found in by_budget.items()
            }
            check_apart(baselines, self._batch, self.config.baselines.full_tolerance)
        return labels

    @property
    def _batch(self) -> int:
        """Tokens of a global batch."""
        return self.config.training.global_batch_size * self.config.training.sequence_length

    def _before_pruning(self, budget: int) -> int:
        """Tokens of the parent and of retraining."""
        parent = self.config.parent.tokens
        assert parent is not None, "the configuration allows no full budget where tokens are not known"
        return parent + budget

    def _full_tokens(self, budget: int, pruning: int) -> int:
        return full_budget(self._before_pruning(budget), pruning, self._batch, self.config.baselines.full_tolerance)

    def sides(self, pruned: str, budget: int) -> tuple[Run, Run]:
        """A pruned run retrained on a budget, and its baseline of equal budget; neither becomes part of the study."""
        start = self.runs[pruned]
        masked = self._add_mask_of_baselines(self._parent(start.seed), start, "equal")
        return self._retrained(start, budget), self._scratch(start, masked, budget)

    def candidate(self, step: Step, target: Target, budget: int) -> tuple[Run, Run]:
        """The first parent pruned to a shape, and that retrained on a budget; neither becomes part of the study."""
        seed = self.config.seeds[0]
        label = names.candidate_target_name(names.pruning_label([step]), target.shape)
        name = names.pruned_name(self.label, label, seed)
        pruning = self._pruning_plan(name, step.method, seed)
        pruned = Run(
            name, "candidate", target, seed, pruning=pruning, method=step.method,
            start=names.parent_name(self.label, seed), tokens_parent=self.config.parent.tokens,
            tokens_prune=pruning.tokens,
        )  # fmt: skip
        retrained = names.retrained_name(self.label, label, budget, seed)
        peak = self.config.training.peak_learning_rate
        plan = self._training_plan(retrained, "retrain", seed, self._first_token, budget, peak)
        plan = plan.model_copy(update={"phase": "shape_search"})
        return pruned, replace(pruned, name=retrained, plan=plan, pruning=None, start=pruned.name)

    def add(self, run: Run) -> Run:
        """Make a run part of the study; returns the one that it has already, if there is one.

        Raises:
            UserError: that one has the same name, but another meaning.
        """
        known = self.runs.setdefault(run.name, run)
        if known.plan and run.plan and known.plan.tokens != run.plan.tokens:
            raise UserError(
                f"two budgets share the run name {run.name}: {known.plan.tokens} and {run.plan.tokens} tokens; "
                f"choose budgets that differ in their first {names.LABEL_DIGITS} digits"
            )
        if known.plan and run.plan and known.plan.peak_learning_rate != run.plan.peak_learning_rate:
            raise UserError(
                f"training.learning_rates: {run.name} is in several comparisons, whose rules give it the peak learning "
                f"rates {known.plan.peak_learning_rate:g} and {run.plan.peak_learning_rate:g}; let the same rule fit "
                "all of them, for instance by granularity"
            )
        if apart := _differences(known, run):
            raise UserError(
                f"two different runs share the name {run.name} (they differ in {', '.join(apart)}): names show ratios "
                "in six digits; choose ratios that differ in these"
            )
        return known

    def _add_pair(self, pair: Pair) -> None:
        if pair not in self.pairs:
            self.pairs.append(pair)

    def _parent(self, seed: int) -> Run:
        parent, name = self.config.parent, names.parent_name(self.label, seed)
        if not isinstance(parent, PretrainedParent):
            return Run(name, "parent", parent_target(self.config), seed, tokens_parent=parent.tokens)
        peak = self.config.training.peak_of(TrainedRun("parent"))
        plan = self._training_plan(name, "pretrain", seed, 0, parent.tokens, peak)
        return Run(name, "parent", parent_target(self.config), seed, plan)

    def pruned(self, before: Run, steps: tuple[Step, ...], label: str, role: Role = "pruned") -> Run:
        """Add what a method or the last step of a chain makes of ``before``; ``label`` names what the first pruned."""
        seed = before.seed
        name = names.pruned_name(label, names.pruning_label(steps), seed)
        self.steps[name] = steps
        plan = self._pruning_plan(name, steps[-1].method, seed)
        return self.add(
            Run(
                name, role, target_of(self.config, steps), seed, pruning=plan, method=method_of(steps),
                start=before.name, mask=name if steps[-1].granularity == "sparse" else None,
                tokens_parent=self._tokens_parent(before), tokens_prune=before.tokens_prune + plan.tokens,
            )
        )  # fmt: skip

    def _tokens_parent(self, before: Run) -> int | None:
        """Tokens of the parent of what a pruning step starts from; None if they are unknown."""
        if before.start is not None:
            return before.tokens_parent
        return before.plan.tokens if before.plan is not None else self.config.parent.tokens

    def _pruning_plan(self, run: str, method: str, seed: int) -> PruningPlan:
        config, options = self.config.pruning, self.config.pruning.options(method)
        reads = facts_of(method).reads
        learned = self._mask_learning_plan(run, options, seed) if reads == "training" else None
        return PruningPlan(
            method=method,
            options=options.model_dump(),
            seed=seed,
            sequences=config.calibration.sequences if reads == "calibration" else 0,
            sequence_length=learned.sequence_length if learned else config.calibration.sequence_length,
            batch_size=config.calibration.batch_size,
            threads=self.config.training.threads,
            low_memory=config.low_memory,
            host_buffer_gib=config.host_buffer_gib,
            device_buffer_gib=config.device_buffer_gib,
            precision=config.precision,
            training=learned,
        )

    def _mask_learning_plan(self, run: str, options: MaskLearningOptions, seed: int) -> TrainingPlan:
        """Masks are learned on the end of the text, which no retraining reaches (unless text is repeated)."""
        assert options.tokens is not None
        backwards = self.reading.model_copy(update={"backwards": True})
        if self.config.corpus.numbered_source is not None and self.reading.passes == 1:
            # The last parts form a separate text.
            backwards = Reading(backwards=True)
        return mask_learning_plan(self.config.training, options, run, seed, 0, options.tokens, backwards)

    def _retrained(self, pruned: Run, budget: int) -> Run:
        seed = pruned.seed
        name = names.retrained_name(self.label, names.pruning_label(self.steps[pruned.name]), budget, seed)
        peak = self._peak("retrained", pruned, budget)
        plan = self._training_plan(name, "retrain", seed, self._first_token, budget, peak)
        return replace(pruned, name=name, role="retrained", plan=plan, pruning=None, start=pruned.name)

    def _scratch(self, pruned: Run, masked: Run, budget: int) -> Run:
        name, peak = names.scratch_name(masked.target.name, budget, masked.seed), self._peak("scratch", pruned, budget)
        return self._baseline(name, masked, start_token=self._first_token, tokens=budget, peak=peak)

    def _scratch_full(self, pruned: Run, masked: Run, budget: int) -> Run:
        """A baseline on the whole pipeline's tokens (see ``full_budget``)."""
        tokens, peak = self._full_tokens(budget, pruned.tokens_prune), self._peak("scratch", pruned, budget)
        target = masked.target.name
        name = names.full_scratch_name(target, self._full_labels[target][tokens], masked.seed)
        return self._baseline(name, masked, start_token=0, tokens=tokens, peak=peak)

    def _baseline(self, name: str, masked: Run, *, start_token: int, tokens: int, peak: float) -> Run:
        target, seed = masked.target, masked.seed
        plan = self._training_plan(name, "scratch", seed, start_token, tokens, peak)
        keeps_dense = masked.mask is not None and self.config.baselines.redraw != "all"
        return Run(
            name, "scratch", target, seed, plan, method=target.mask_method, mask=masked.mask,
            redrawn=masked.name if keeps_dense else None,
        )  # fmt: skip

    def _rewound(self, pruned: Run, budget: int) -> Run:
        name = names.rewound_name(names.pruning_label(self.steps[pruned.name]), budget, pruned.seed)
        peak = self._peak("rewind", pruned, budget)
        plan = self._training_plan(name, "rewind", pruned.seed, self._first_token, budget, peak)
        return Run(
            name, "rewind", pruned.target, pruned.seed, plan, method=pruned.method, mask=pruned.mask,
            rewound=pruned.name,
        )  # fmt: skip

    def _peak(self, kind: RunKind, pruned: Run, budget: int) -> float:
        """The peak learning rate of a pruned run that is retrained on a budget, or of a baseline of that."""
        run = TrainedRun(kind, pruned.method, pruned.target.granularity, budget)
        return self.config.training.peak_of(run)

    def _training_plan(
        self, run: str, phase: Phase, seed: int, start_token: int, tokens: int, peak: float
    ) -> TrainingPlan:
        return TrainingPlan.of(
            self.config.training, run=run, phase=phase, seed=seed, start_token=start_token, tokens=tokens,
            reading=self.reading, peak_learning_rate=peak,
        )  # fmt: skip

    @staticmethod
    def _pair(setting: Setting, parent: Run, retrained: Run, baseline: Run, budget: int) -> Pair:
        target = retrained.target
        return Pair(
            setting, retrained.name, baseline.name, parent.name, str(retrained.method), str(target.granularity),
            target.pattern, target.ratio, budget, retrained.seed,
        )  # fmt: skip


def mask_learning_plan(
    training: TrainingConfig,
    options: MaskLearningOptions,
    run: str,
    seed: int,
    start_token: int,
    tokens: int,
    reading: Reading = READ_ONCE,
) -> TrainingPlan:
    """The plan by which masks are learned: the study's recipe with the method's own batch, rate and weight decay."""
    optimizer = training.optimizer
    if options.weight_decay is not None:
        optimizer = optimizer.model_copy(update={"weight_decay": options.weight_decay})
    return TrainingPlan.of(
        training, run=run, phase="prune", seed=seed, start_token=start_token, tokens=tokens, reading=reading,
        global_batch_size=options.global_batch_size, micro_batch_size=options.micro_batch_size,
        peak_learning_rate=options.weight_learning_rate, optimizer=optimizer, schedule=options.schedule,
        attention="window", validation=None,
        # Its masks differ in every step and would trigger a recompilation each time.
        compile=False,
        checkpoint_every_steps=options.checkpoint_every_steps,
    )  # fmt: skip


def corpora_of(config: StudyConfig) -> Iterator[str]:
    """Every corpus that is tokenised: the four splits, then the evaluation corpora."""
    yield from ("train", "calibration", "validation", "test")
    yield from config.corpus.evaluation


def _differences(one: Run, other: Run) -> list[str]:
    """Fields in which two runs differ; chains of other methods that make the same shape do not, nor do runs that an arm
    shares with the matrix.
    """
    without_steps = [replace(run, role=one.role, target=replace(run.target, steps=())) for run in (one, other)]
    return [field.name for field in fields(Run) if len({repr(getattr(run, field.name)) for run in without_steps}) > 1]
