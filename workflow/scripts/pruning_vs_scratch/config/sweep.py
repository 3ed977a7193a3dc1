"""The search for the peak learning rate."""

from typing import Annotated, Literal

from pydantic import Field

from pruning_vs_scratch.config.base import PositiveInt, Section

PeakRate = Annotated[float, Field(gt=0, lt=1)]
Choice = Literal["none", "shared", "own"]


class SweepConfig(Section):
    """A grid of peak learning rates, each tried on pruned models and on their baselines from scratch."""

    peak_learning_rates: list[PeakRate] = Field(min_length=2)
    """The grid."""
    on: list[str] = Field(min_length=1)
    """Pruned models of the matrix that stand for all, such as minitron_depth@0.5 or wanda@2:4; by the first seed."""
    tokens: PositiveInt
    """Retraining budget of each trial; a multiple of the global batch."""
    use: Choice = "none"
    """Rate of retraining and baselines: training.peak_learning_rate, the best for both, or each side's own best."""
