"""The search for the peak learning rate."""

from typing import Literal

from pydantic import Field

from pruning_vs_scratch.config.base import PositiveInt, Section
from pruning_vs_scratch.config.learning_rates import PeakRate

Choice = Literal["none", "shared", "own", "granularity", "method"]


class SweepConfig(Section):
    """A grid of peak learning rates, each tried on pruned models and on their baselines from scratch."""

    peak_learning_rates: list[PeakRate] = Field(min_length=2)
    """The grid."""
    on: list[str] = Field(min_length=1)
    """Pruned models of the matrix that represent all, such as minitron_depth@0.5 or wanda@2:4; first seed only."""
    tokens: PositiveInt
    """Retraining budget of each trial; a multiple of the global batch."""
    use: Choice = "none"
    """Rate of retraining and baselines: training.peak_learning_rate, the best for both, or each side's own best
    over all trials or over those of its granularity or method. Dense baselines use granularity instead of method.
    """

    @property
    def by_side(self) -> bool:
        """Whether the two sides of a pair may be trained at different rates."""
        return self.use not in ("none", "shared")
