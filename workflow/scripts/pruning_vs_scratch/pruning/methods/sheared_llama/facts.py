"""Facts of Sheared-LLaMA (Xia et al., 2310.06694)."""

from typing import Annotated

from pydantic import Field

from pruning_vs_scratch.config.training import Fraction
from pruning_vs_scratch.pruning.facts import (
    MaskLearningOptions,
    MethodFacts,
    always,
    no_text,
    no_workspace,
    nothing_stored,
)


class ShearedLlamaOptions(MaskLearningOptions):
    """Sheared-LLaMA: the masks are learned on separate tokens, which count in the pipeline's budget."""

    mask_learning_rate: Annotated[float, Field(gt=0)] = 1.0
    """Learning rate of the masks and of the Lagrange multipliers."""
    target_warmup_fraction: Fraction = 0.1
    """Share of the steps in which the target shrinks from the parent's shape to the target's (320 of 3,200)."""


FACTS = MethodFacts(
    label="Sheared-LLaMA",
    granularity="width",
    reads="training",
    options=ShearedLlamaOptions,
    shrinks=always("layers", "hidden_size", "ffn_size", "heads", "kv_heads"),
    scored_once=lambda _options: False,
    needs_goals=False,
    score_numbers=nothing_stored,
    calibration_flops=no_text,
    workspace=no_workspace,
    importance=(),
)
