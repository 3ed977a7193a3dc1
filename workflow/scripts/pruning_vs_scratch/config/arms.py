"""Arms of a comparison that the paper leaves open, each at the same tokens as the comparison itself."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from pruning_vs_scratch.config.base import PositiveInt, Ratio, Section

Share = Annotated[float, Field(gt=0, lt=1)]


class DistilledArm(Section):
    """Initialisation x objective: both sides also learn from the parent (training.distillation)."""

    tokens: list[PositiveInt] = []
    """Retraining budgets on whose tokens both sides are distilled."""
    flops: list[PositiveInt] = []
    """Retraining budgets on whose FLOPs both sides are distilled: fewer tokens, since the parent's forward passes
    count.
    """


class GradualArm(Section):
    """Pruning in several steps, each followed by an equal part of the retraining budget."""

    ratios: list[Ratio] = Field(min_length=2)
    """Ratios of the steps, rising; the last is the comparison's."""
    retrain: list[PositiveInt] = Field(min_length=1)
    """Retraining budgets of all steps together."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if any(later <= earlier for earlier, later in zip(self.ratios, self.ratios[1:], strict=False)):
            raise ValueError(f"ratios {self.ratios} do not rise: each step prunes more of the parent than the last")
        return self


class EarlyArm(Section):
    """Pruning a parent that has read only a share of its tokens; the rest goes to retraining."""

    shares: list[Share] = Field(min_length=1)
    """Shares of the parent's tokens after which it is pruned. All of them is the comparison itself."""
    retrain: list[PositiveInt] = Field(min_length=1)
    """Retraining budgets after a whole parent, which fix the tokens of the whole pipeline."""
