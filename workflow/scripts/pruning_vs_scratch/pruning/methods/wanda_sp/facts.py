"""Facts of Wanda-sp (An et al., 2312.11983, section 4.1; after Sun et al., 2306.11695)."""

from typing import TYPE_CHECKING, Any

from pruning_vs_scratch.pruning.facts import (
    MethodFacts,
    NoOptions,
    always,
    nothing_stored,
    observed_then_moved_on,
    window_in_fp64,
)
from pruning_vs_scratch.pruning.methods.flap.counts import shape_of_counts, ul_um_counts

if TYPE_CHECKING:
    from pruning_vs_scratch.study.shape import ModelShape


def shape_at(shape: "ModelShape", ratio: float, _options: Any) -> "ModelShape":
    """The same share of groups and of neurons is dropped."""
    return shape_of_counts(shape, ul_um_counts(shape, ratio))


FACTS = MethodFacts(
    label="Wanda-sp",
    granularity="width",
    reads="calibration",
    options=NoOptions,
    shrinks=always("kv_heads", "heads", "ffn_size"),
    shape_at=shape_at,
    scored_once=lambda _options: False,
    needs_goals=False,
    score_numbers=nothing_stored,
    calibration_flops=observed_then_moved_on,
    workspace=window_in_fp64,
    importance=(),
)
