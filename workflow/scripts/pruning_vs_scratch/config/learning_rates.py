"""Rules that give some of the trained runs their own peak learning rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from pruning_vs_scratch.config.base import PositiveInt, Section

PeakRate = Annotated[float, Field(gt=0, lt=1)]
RunKind = Literal["parent", "retrained", "scratch", "rewind"]


@dataclass(frozen=True)
class TrainedRun:
    """What rules match on. A parent has only a kind; a baseline takes the rest from the run it is compared with."""

    kind: RunKind
    method: str | None = None
    """Pruning method, or methods of a chain: 'minitron_depth+wanda'."""
    granularity: str | None = None
    budget: int | None = None
    """Retraining tokens, also for a baseline with the full budget."""


class LearningRateRule(Section):
    """The peak learning rate of the runs that match all given conditions; an omitted condition matches any run."""

    runs: list[RunKind] = Field(min_length=1)
    """Kinds of runs."""
    methods: list[str] = []
    """Pruning methods of the matrix; a chain is written minitron_depth+wanda."""
    granularities: list[str] = []
    """Granularities: depth, width, sparse, or hybrid for chains."""
    budgets: list[PositiveInt] = []
    """Retraining budgets in tokens; a baseline with the full budget counts under that of its pair."""
    peak: PeakRate

    def fits(self, run: TrainedRun) -> bool:
        """Whether the rule matches a run."""
        limits = ((self.methods, run.method), (self.granularities, run.granularity), (self.budgets, run.budget))
        return run.kind in self.runs and all(not allowed or value in allowed for allowed, value in limits)

    @property
    def label(self) -> str:
        """The runs in words, for tables: 'retrained, scratch; depth; 52428800000 tokens'."""
        budgets = [f"{budget} tokens" for budget in self.budgets]
        return "; ".join(", ".join(part) for part in (self.runs, self.methods, self.granularities, budgets) if part)


def rule_for(rules: Sequence[LearningRateRule], run: TrainedRun) -> LearningRateRule | None:
    """The first rule that fits a run; None if there is none."""
    return next((rule for rule in rules if rule.fits(run)), None)
