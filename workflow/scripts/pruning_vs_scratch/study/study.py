"""A study: what the workflow and the tables need to know about runs, plans and files. No torch here."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pruning_vs_scratch.config.load import parse_config
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.errors import UserError, nearest
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.study.arms import arm_pairs
from pruning_vs_scratch.study.candidate_runs import candidate_runs
from pruning_vs_scratch.study.expand import Expansion
from pruning_vs_scratch.study.paths import Paths
from pruning_vs_scratch.study.plan import PruningPlan, TrainingPlan
from pruning_vs_scratch.study.run_processes import RunProcesses
from pruning_vs_scratch.study.runs import ArmPair, Pair, Run
from pruning_vs_scratch.study.sources import StudySources
from pruning_vs_scratch.study.sweep import follows_sweep, rate_groups, rate_name, trials_of
from pruning_vs_scratch.study.targets import Target
from pruning_vs_scratch.study.text import StudyText
from pruning_vs_scratch.study.trunks import with_trunks


class Study:
    """The expansion of one configuration.

    Raises:
        UserError: the configuration is not valid (all problems are listed).
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.config: StudyConfig = parse_config(values)
        self.name = self.config.study
        self.paths = Paths(self.name)
        expansion = Expansion(self.config)
        self.reading = expansion.reading
        """How the training text is divided, and how often it is read."""
        self.arms: list[ArmPair] = arm_pairs(expansion)
        """Comparisons that the paper leaves open."""
        self.runs: dict[str, Run] = expansion.runs
        self.trunks: dict[str, Run] = {}
        """Trunks that some runs share. They are in no pair, and in no table but the ledger."""
        if self.config.training.share_trunks:
            self.runs, self.trunks = with_trunks(self.runs)
        self.trials = {trial.run.name: trial for trial in trials_of(self.config, expansion)}
        """Trials of a sweep. They are in no table but the ledger and the sweep's own."""
        self.candidates = {candidate.run.name: candidate for candidate in candidate_runs(self.config, expansion)}
        """Candidates of a shape search. They are in no table but the ledger and the search's own."""
        self.pairs: list[Pair] = expansion.pairs
        self.sources = StudySources(self.config, self.paths)
        """External inputs of the study."""
        self.text = StudyText(self.config, self.paths, self.reading, self._plans_of_text())
        """Corpora and the amount read of each."""

    def run(self, name: str) -> Run:
        """A run, trunk, trial or candidate by name.

        Raises:
            UserError: there is none; the nearest name is given.
        """
        if name not in self.recorded_runs:
            raise UserError(f"study {self.name} has no run {name!r}; {nearest(name, self.recorded_runs)}")
        return self.recorded_runs[name]

    @cached_property
    def recorded_runs(self) -> dict[str, Run]:
        """Runs, trunks, trials and candidates by name: everything with a manifest and a row in the ledger."""
        tried = {name: trial.run for name, trial in self.trials.items()}
        tried |= {run.name: run for candidate in self.candidates.values() for run in (candidate.pruned, candidate.run)}
        return self.runs | self.trunks | tried

    @cached_property
    def targets(self) -> dict[str, Target]:
        """Targets by name, the parent's own shape included."""
        return {run.target.name: run.target for run in self.runs.values()}

    @cached_property
    def searched_targets(self) -> list[str]:
        """Names of the targets whose shape is searched; the search's choice writes their files."""
        return list(dict.fromkeys(candidate.target for candidate in self.candidates.values()))

    @cached_property
    def given_targets(self) -> dict[str, Target]:
        """Targets by name whose shape is known beforehand, those of a search's candidates included."""
        tried = {candidate.run.target.name: candidate.run.target for candidate in self.candidates.values()}
        return {name: target for name, target in self.targets.items() if name not in self.searched_targets} | tried

    @property
    def pruned_runs(self) -> list[str]:
        """Names of the runs that a pruning method makes."""
        return [run.name for run in self.runs.values() if run.pruning is not None]

    @property
    def pruned_candidates(self) -> list[str]:
        """Names of the pruned models of a shape search, which are removed once they are retrained."""
        return [candidate.pruned.name for candidate in self.candidates.values()]

    @property
    def tried_runs(self) -> list[str]:
        """Names of the runs that are trained for their validation loss alone."""
        return [*self.trials, *self.candidates]

    @property
    def trained_runs(self) -> list[str]:
        """Names of the runs that the training loop makes."""
        return [run.name for run in self.runs.values() if run.plan is not None]

    @property
    def trained_by_plan(self) -> list[str]:
        """Names of the runs that the training loop makes, with trunks, trials and candidates."""
        return [name for name, run in self.recorded_runs.items() if run.plan is not None]

    @cached_property
    def adopted_parents(self) -> list[str]:
        """Names of published parents."""
        return [run.name for run in self.runs.values() if run.role == "parent" and run.plan is None]

    @cached_property
    def measured_runs(self) -> dict[str, str]:
        """By target, the run whose speed is measured for all runs of its shape."""
        return {run.target.name: run.name for run in reversed(self.runs.values())}

    @cached_property
    def evaluation_groups(self) -> dict[str, list[str]]:
        """Checkpoints that one process evaluates, by the group's name."""
        groups: dict[str, list[str]] = {}
        for run in self.runs.values():
            by_target = f"{run.target.name}-seed{run.seed}"
            groups.setdefault(run.name if self.config.evaluation.group_by == "run" else by_target, []).append(run.name)
        return groups

    def rate_from_sweep(self, name: str) -> str | None:
        """Which learning rate of the sweep a run is trained at; None for that of its plan."""
        run, sweep = self.run(name), self.config.sweep
        if sweep is None or sweep.use == "none" or not follows_sweep(run):
            return None
        return rate_name(run, sweep.use)

    @property
    def swept_rates(self) -> dict[str, list[str]]:
        """Trials by which each learning rate of the sweep is chosen; none without a sweep."""
        return rate_groups(self.trials.values(), self.config.sweep.use) if self.config.sweep is not None else {}

    @property
    def comparisons(self) -> str:
        """How many there are: '21 matched pairs', '13 matched pairs and 28 of arms'."""
        return f"{len(self.pairs)} matched pairs" + (f" and {len(self.arms)} of arms" if self.arms else "")

    def parent_of(self, run: Run) -> Run:
        """The parent of a run's seed."""
        return next(parent for parent in self.runs.values() if parent.role == "parent" and parent.seed == run.seed)

    def way(self, name: str) -> list[str]:
        """The runs that a model's weights went through, the first one first and its own last."""
        start = self.run(name).start
        return [*(self.way(start) if start is not None else []), name]

    def pruning_steps(self, name: str) -> list[str]:
        """The pruned runs that led to a retrained run, the last step first."""
        return [step for step in reversed(self.way(name)[:-1]) if self.run(step).pruning is not None]

    def pruning_plan(self, name: str) -> PruningPlan:
        """The plan of a pruned run."""
        plan = self.run(name).pruning
        assert plan is not None, f"{name} is not a pruned run"
        return plan

    def is_scored_once(self, name: str) -> bool:
        """Whether a pruned run's choice is made by a file of scores that other ratios share."""
        method = self.pruning_plan(name).method
        return facts_of(method).scored_once(self.config.pruning.options(method))

    @cached_property
    def scorings(self) -> dict[tuple[str, str], list[str]]:
        """Pruned runs that share scores, by the run that is scored and the method."""
        shared: dict[tuple[str, str], list[str]] = {}
        for name in filter(self.is_scored_once, [*self.pruned_runs, *self.pruned_candidates]):
            shared.setdefault((str(self.run(name).start), self.pruning_plan(name).method), []).append(name)
        return shared

    @cached_property
    def processes(self) -> RunProcesses:
        """Number of processes of each run, chosen once for all runs together."""
        needs = {name: self._needed_runs(run) for name, run in self.recorded_runs.items()}
        return RunProcesses(self.config, self.recorded_runs, needs)

    def _needed_runs(self, run: Run) -> list[str]:
        """Runs that must exist before a run can start."""
        names = [run.start, run.mask, run.redrawn, run.rewound, run.trunk]
        if self.rate_from_sweep(run.name) is not None:
            names += self.trials
        if run.target.name in self.searched_targets:
            names += self.candidates
        return [name for name in dict.fromkeys(names) if name is not None and name != run.name]

    def _plans_of_text(self) -> dict[str, TrainingPlan]:
        """By run, trunk, trial or candidate, the plan by which it reads training text."""
        plans = {name: run.plan or (run.pruning and run.pruning.training) for name, run in self.recorded_runs.items()}
        return {name: plan for name, plan in plans.items() if plan}
