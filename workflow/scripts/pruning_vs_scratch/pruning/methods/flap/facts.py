"""Facts of FLAP (An et al., 2312.11983)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.pruning.facts import ChannelScores, MethodFacts, always, one_pass, window_in_fp64
from pruning_vs_scratch.pruning.methods.flap.counts import shape_of_counts, ul_mm_counts, ul_um_counts

if TYPE_CHECKING:
    from pruning_vs_scratch.study.shape import ModelShape

Metric = Literal["WIFV", "IFV", "WIFN"]
"""Weighted input feature variance (the paper's proposal), the same without weights, weighted input feature norm."""
Estimator = Literal["code", "paper"]
"""The variance of the authors' code, or the paper's."""
Structure = Literal["uniform", "UL-UM", "UL-MM", "AL-MM", "AL-AM"]
"""How groups and neurons are compared: in each layer (UL) or across layers (AL), separately (MM) or together (AM)."""


class FlapOptions(Section):
    """FLAP."""

    metric: Metric = "WIFV"
    """What ranks the input channels of o_proj and down_proj."""
    structure: Structure = "uniform"
    """uniform: the target's counts in every layer, as this study's authors retrain it. The others: FLAP's own."""
    variance: Estimator = "code"
    """How fluctuation is measured: as in the authors' code, or as in the paper."""
    biases: Literal["both", "authors", "none"] = "both"
    """Where biases compensate: in o_proj and down_proj, in o_proj only (this study's authors), or nowhere."""


def adds(options: FlapOptions) -> frozenset[str]:
    """The keys that switch biases on: a plain Llama has them in all linear layers of attention or of the feed-forward
    block, or in none; other families have fewer keys.
    """
    added = {"both": {"attention_bias", "mlp_bias"}, "authors": {"attention_bias"}, "none": set()}
    return frozenset(added[options.biases])


def shape_at(shape: "ModelShape", ratio: float, options: FlapOptions) -> "ModelShape":
    """The same share of groups and of neurons is dropped; with UL-MM and AL-MM, of groups, and neurons for the rest."""
    counts = ul_um_counts(shape, ratio)
    if options.structure in ("UL-MM", "AL-MM"):
        counts = ul_mm_counts(shape, ratio, shape.kv_heads - counts.groups)
    return shape_of_counts(shape, counts)


def score_numbers(shape: "ModelShape", _goals: Sequence["ModelShape"], _options: FlapOptions) -> int:
    """The metric and the mean of each input channel of o_proj and down_proj."""
    return 2 * shape.layers * (shape.heads * shape.head_dim + shape.ffn_size)


FACTS = MethodFacts(
    label="FLAP",
    granularity="width",
    reads="calibration",
    options=FlapOptions,
    shrinks=always("kv_heads", "heads", "ffn_size"),
    adds=adds,
    shape_at=shape_at,
    ratio_decides=lambda options: options.structure != "uniform",
    scored_once=lambda _options: True,
    needs_goals=False,
    score_numbers=score_numbers,
    calibration_flops=one_pass,
    workspace=window_in_fp64,
    importance=(
        ChannelScores("ffn", "neuron_importance", "importance of neurons"),
        ChannelScores("attention", "attention_importance", "importance of\nattention channels"),
    ),
)
