"""Pruning methods and the comparisons of the study."""

from typing import Literal, get_args

from pydantic import Field

from pruning_vs_scratch.config.base import PositiveInt, Ratio, Section

Method = Literal["shortgpt", "minitron_depth", "minitron_width", "wanda", "magnitude"]
Granularity = Literal["depth", "width", "sparse"]
Pattern = Literal["unstructured", "2:4", "4:8"]

GRANULARITY: dict[str, Granularity] = {
    "shortgpt": "depth",
    "minitron_depth": "depth",
    "minitron_width": "width",
    "wanda": "sparse",
    "magnitude": "sparse",
}
METHODS: tuple[str, ...] = get_args(Method)
CALIBRATION_FREE = frozenset({"magnitude"})
"""Methods that read no calibration text."""


class CalibrationConfig(Section):
    """Text that pruning methods may look at: windows of the calibration split."""

    sequences: PositiveInt
    """Number of windows."""
    sequence_length: PositiveInt
    """Tokens a window."""
    batch_size: PositiveInt = 16
    """Windows run through the model together; it changes rounding only."""


class PruningConfig(Section):
    """Settings shared by the pruning methods."""

    calibration: CalibrationConfig


class Comparison(Section):
    """A block of the study's matrix: every method at every ratio and pattern, on every budget."""

    methods: list[Method] = Field(min_length=1)
    ratios: list[Ratio] = Field(min_length=1)
    """Nominal pruning ratios; depth and width ratios need an entry under targets."""
    patterns: list[Pattern] = ["unstructured"]
    """Sparsity patterns; only for sparse methods."""
    retrain: list[PositiveInt] = Field(min_length=1)
    """Retraining budgets in tokens; each gets a scratch baseline S_R on the same tokens."""
    full: list[PositiveInt] = []
    """Those of the budgets that also get a scratch baseline on the full pipeline's tokens."""
