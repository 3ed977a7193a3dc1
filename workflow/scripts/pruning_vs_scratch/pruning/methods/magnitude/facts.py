"""Facts of magnitude pruning (Han et al., 1506.02626)."""

from typing import Literal

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.pruning.facts import MethodFacts, always, largest_layer, no_text, nothing_stored


class MagnitudeOptions(Section):
    """Magnitude."""

    cut: Literal["matrix", "row"] = "matrix"
    """The scope of one unstructured threshold."""


FACTS = MethodFacts(
    label="Magnitude",
    granularity="sparse",
    reads="nothing",
    options=MagnitudeOptions,
    shrinks=always(),
    scored_once=lambda _options: False,
    needs_goals=False,
    score_numbers=nothing_stored,
    calibration_flops=no_text,
    workspace=largest_layer,
    importance=(),
)
