"""Model shapes, the parent, and what a ratio means for each granularity."""

from typing import Annotated, Literal

from pydantic import Field

from pruning_vs_scratch.config.base import PositiveInt, Ratio, Section


class ShapeConfig(Section):
    """The shape of a Llama model."""

    layers: PositiveInt
    """Decoder blocks."""
    hidden_size: PositiveInt
    """Width of the residual stream."""
    ffn_size: PositiveInt
    """Neurons of each feed-forward block."""
    heads: PositiveInt
    """Query heads."""
    kv_heads: PositiveInt
    """Key-value heads (grouped-query attention)."""
    head_dim: Annotated[int, Field(gt=0, multiple_of=2)]
    """Channels of a head."""
    tie_embeddings: bool = True
    """Share the input embedding with the output projection."""
    rope_theta: Annotated[float, Field(gt=0)] = 10_000.0
    """Base of the rotary position embedding."""
    norm_eps: Annotated[float, Field(gt=0)] = 1e-5
    """Epsilon of RMSNorm."""
    attention_bias: bool = False
    """Biases in the linear layers of attention."""
    mlp_bias: bool = False
    """Biases in the linear layers of the feed-forward block."""


class PretrainedParent(Section):
    """A parent that the study pretrains itself, so that its tokens are known."""

    kind: Literal["pretrain"]
    tokens: PositiveInt
    """Pretraining budget in tokens."""
    shape: ShapeConfig


class DepthTarget(Section):
    """A model with fewer decoder blocks."""

    ratio: Ratio
    """Nominal pruning ratio, as used in run names."""
    layers: PositiveInt
    """Decoder blocks kept."""


class WidthTarget(Section):
    """A model with narrower blocks; head_dim stays."""

    ratio: Ratio
    """Nominal pruning ratio, as used in run names."""
    hidden_size: PositiveInt
    ffn_size: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt | None = None
    """Key-value heads; the parent's unless given. Only Sheared-LLaMA drops whole key-value groups."""
    layers: PositiveInt | None = None
    """Decoder blocks; the parent's unless given. Only Sheared-LLaMA drops blocks and channels at once."""


class TargetsConfig(Section):
    """The target shape of each ratio. A sparse target needs no entry: its ratio is the share of zeroed weights."""

    depth: list[DepthTarget] = []
    width: list[WidthTarget] = []
