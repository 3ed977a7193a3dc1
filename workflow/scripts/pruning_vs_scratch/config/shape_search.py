"""The search for the shapes of width targets."""

from typing import Annotated, Literal

from pydantic import Field

from pruning_vs_scratch.config.base import PositiveInt, Ratio, Section
from pruning_vs_scratch.config.model import WidthTarget


class ShapeSearchConfig(Section):
    """Shapes of equal size, each pruned and briefly retrained; the best one is the width target of its ratio."""

    method: Literal["minitron_width"] = "minitron_width"
    """Method that prunes the parent to each candidate."""
    ratios: list[Ratio] = Field(min_length=1)
    """Width ratios whose shape is searched; they must have no entry under targets.width."""
    tokens: PositiveInt
    """Retraining budget of each candidate; a multiple of the global batch."""
    candidates: list[WidthTarget] = []
    """The shapes to try. A ratio without candidates here gets candidates computed for its size."""
    max: Annotated[int, Field(ge=2)] = 4
    """Largest number of computed candidates per ratio; those nearest to the parent's proportions are kept."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Largest relative deviation of a candidate's decoder parameters from the number that the ratio leaves."""
