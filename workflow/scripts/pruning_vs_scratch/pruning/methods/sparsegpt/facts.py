"""Facts of SparseGPT (Frantar & Alistarh, 2301.00774)."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from pruning_vs_scratch.config.base import PositiveInt, Section
from pruning_vs_scratch.pruning.facts import (
    FP32_BYTES,
    MethodFacts,
    Text,
    WeightBytes,
    Workspace,
    always,
    nothing_stored,
    observed_then_moved_on,
)

if TYPE_CHECKING:
    from pruning_vs_scratch.study.shape import ModelShape


class SparseGPTOptions(Section):
    """SparseGPT."""

    damping: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Added to the diagonal of the Hessian, as a share of its mean."""
    block_size: PositiveInt = 128
    """Columns whose mask is chosen at once."""


def workspace(shape: "ModelShape", text: Text, weights: WeightBytes) -> Workspace:
    """The Hessians of a block's inputs; an activation in fp32; the memory to factorise one or to prune down_proj."""
    inputs = (shape.hidden_size, shape.heads * shape.head_dim, shape.hidden_size, shape.ffn_size)
    hessians = sum(size * size for size in inputs) * FP32_BYTES
    largest, layer = max(inputs) ** 2 * FP32_BYTES, shape.hidden_size * shape.ffn_size
    # Columns as rows in fp32 and their mask, and then both transposed back.
    pruning = largest + 2 * layer * (FP32_BYTES + 1)
    return Workspace(
        held=hessians,
        seeing=text.batch_tokens * shape.ffn_size * weights.fp32_copy,
        between=layer * weights.stored + max(2 * largest, pruning),
    )


def problem(options: SparseGPTOptions, pattern: str) -> str | None:
    """A block of columns holds whole groups of an N:M pattern."""
    if ":" not in pattern or options.block_size % (group := int(pattern.split(":")[1])) == 0:
        return None
    return f"block_size: {options.block_size} is not a multiple of {group}, which {pattern} needs"


FACTS = MethodFacts(
    label="SparseGPT",
    granularity="sparse",
    reads="calibration",
    options=SparseGPTOptions,
    shrinks=always(),
    scored_once=lambda _options: False,
    needs_goals=False,
    score_numbers=nothing_stored,
    calibration_flops=observed_then_moved_on,
    workspace=workspace,
    importance=(),
    problem=problem,
)
