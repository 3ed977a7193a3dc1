"""What the rest of the project needs to know about a family of models. No torch here.

All families are decoders with grouped-query attention, gated feed-forward blocks, RMSNorm and rotary positions, and
name their parts alike (parts.py). Each states its differences in ``families/NAME/facts.py`` as ``FACTS``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pruning_vs_scratch.families.parts import LINEAR_NAMES

if TYPE_CHECKING:
    from pruning_vs_scratch.study.shape import ModelShape

HeadNorms = Literal["none", "head_dim", "heads"]
"""Queries and keys are not normalised, or over the channels of each head, or over those of all heads together."""
ATTENTION_BIAS, FFN_BIAS = "attention_bias", "mlp_bias"
"""Keys of a configuration that switch biases on."""
BIASED_ATTENTION: Mapping[str, tuple[str, ...]] = {ATTENTION_BIAS: LINEAR_NAMES[:4]}
BIASED_FFN: Mapping[str, tuple[str, ...]] = {FFN_BIAS: LINEAR_NAMES[4:]}


@dataclass(frozen=True)
class SublayerNorms:
    """Norms of the residual stream's width around attention or the feed-forward layer, by their names in a block."""

    before: str | None
    """The norm of the sublayer's input."""
    after: str | None
    """The norm of what it adds to the residual stream."""

    @property
    def names(self) -> tuple[str, ...]:
        """The existing ones."""
        return tuple(name for name in (self.before, self.after) if name is not None)


def _nothing(_shape: "ModelShape") -> dict[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class FamilyFacts:
    """One family."""

    label: str
    """The family's spelling in texts."""
    model_type: str
    """The name by which transformers identifies its configuration."""
    architecture: str
    """The class of its language models."""
    checkpoints: tuple[str, ...]
    """Published checkpoints of this form, by their names on the hub."""
    attention_norms: SublayerNorms = SublayerNorms("input_layernorm", None)
    ffn_norms: SublayerNorms = SublayerNorms("post_attention_layernorm", None)
    head_norms: HeadNorms = "none"
    norm_offset: float = 0.0
    """A norm multiplies by this plus its weight."""
    optional_biases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Linear layers that have biases if a key of the configuration is set."""
    fixed_biases: tuple[str, ...] = ()
    """Linear layers that always have biases."""
    scales_embedding: bool = False
    """Whether embeddings are multiplied by the square root of the hidden size."""
    has_layer_types: bool = False
    """Whether blocks differ in which tokens they see, according to ``layer_types`` of the configuration."""
    rotates_by_layer_type: bool = False
    """Whether they also differ in their rotary positions."""
    caps_attention: bool = False
    """Whether attention may cap its scores, so that no fused kernel applies and all scores are held."""
    caps_logits: bool = False
    """Whether logits may be capped."""
    divides_hidden_by_heads: bool = False
    """Whether transformers refuses a hidden size that is not a multiple of the heads, though nothing depends on it."""
    settings: Callable[["ModelShape"], dict[str, Any]] = _nothing
    """Further settings of a new model of a shape; those left out have the family's defaults in transformers."""
    older_keys: frozenset[str] = frozenset()
    """Keys of published configurations that transformers converts, or that repeat others."""
    supported: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Settings that change the model's form, with the values that are supported."""

    def refuses(self, hidden_size: int, heads: int) -> bool:
        """Whether transformers 5 does not load a model of a hidden size and a number of heads."""
        return self.divides_hidden_by_heads and hidden_size % heads != 0

    @property
    def block_norms(self) -> tuple[str, ...]:
        """Norms of the residual stream's width in a block."""
        return self.attention_norms.names + self.ffn_norms.names

    def biased(self, keys: Mapping[str, bool]) -> tuple[str, ...]:
        """The linear layers that have biases if some keys are switched on."""
        optional = {name for key, names in self.optional_biases.items() if keys[key] for name in names}
        return tuple(name for name in LINEAR_NAMES if name in optional or name in self.fixed_biases)
