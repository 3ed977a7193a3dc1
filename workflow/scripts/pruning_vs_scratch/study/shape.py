"""The shape of a model, its parameters and its floating-point operations. Arithmetic only: no torch."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pruning_vs_scratch.config.model import DepthTarget, ShapeConfig, WidthTarget
from pruning_vs_scratch.families.catalogue import USUAL, family_facts
from pruning_vs_scratch.families.facts import ATTENTION_BIAS, FFN_BIAS, FamilyFacts
from pruning_vs_scratch.families.parts import LINEAR_NAMES


@dataclass(frozen=True)
class ModelShape:
    """Shape of a decoder-only model (grouped-query attention, gated feed-forward)."""

    vocab_size: int
    layers: int
    hidden_size: int
    ffn_size: int
    heads: int
    kv_heads: int
    head_dim: int
    tie_embeddings: bool
    rope_theta: float
    norm_eps: float
    attention_bias: bool = False
    mlp_bias: bool = False
    family: str = USUAL

    @classmethod
    def of(cls, config: ShapeConfig, vocab_size: int) -> "ModelShape":
        """The shape that a configuration describes."""
        return cls(vocab_size=vocab_size, **config.model_dump())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelShape":
        """The inverse of ``to_dict``."""
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def with_depth(self, target: DepthTarget) -> "ModelShape":
        """This shape with fewer decoder blocks."""
        return replace(self, layers=target.layers)

    def with_width(self, target: WidthTarget) -> "ModelShape":
        """This shape with narrower blocks."""
        return replace(
            self,
            layers=target.layers or self.layers,
            hidden_size=target.hidden_size,
            ffn_size=target.ffn_size,
            heads=target.heads,
            kv_heads=target.kv_heads or self.kv_heads,
        )

    def with_biases(self, keys: Collection[str]) -> "ModelShape":
        """This shape with further biases, by the keys of the configuration that switch them on."""
        return replace(
            self,
            attention_bias=self.attention_bias or ATTENTION_BIAS in keys,
            mlp_bias=self.mlp_bias or FFN_BIAS in keys,
        )

    @property
    def facts(self) -> FamilyFacts:
        """What the family of models of this shape has and has not."""
        return family_facts(self.family)

    @property
    def block_linear_params(self) -> int:
        """Weights of the seven linear layers of one decoder block."""
        attention = self.hidden_size * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return attention + 3 * self.hidden_size * self.ffn_size

    @property
    def block_params(self) -> int:
        """All parameters of one decoder block: linear layers, biases if there are any, and norms."""
        return self.block_linear_params + self._block_biases + self._block_norms

    @property
    def _block_biases(self) -> int:
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        sizes = (query, key, key, self.hidden_size, self.ffn_size, self.ffn_size, self.hidden_size)
        biased = self.facts.biased({ATTENTION_BIAS: self.attention_bias, FFN_BIAS: self.mlp_bias})
        return sum(size for name, size in zip(LINEAR_NAMES, sizes, strict=True) if name in biased)

    @property
    def _block_norms(self) -> int:
        of_heads = {"none": 0, "head_dim": 2 * self.head_dim, "heads": (self.heads + self.kv_heads) * self.head_dim}
        return len(self.facts.block_norms) * self.hidden_size + of_heads[self.facts.head_norms]

    @property
    def embedding_params(self) -> int:
        """Weights of the input embedding and, unless tied, of the output projection."""
        return self.vocab_size * self.hidden_size * (1 if self.tie_embeddings else 2)

    @property
    def params_nonembedding(self) -> int:
        """All parameters of the decoder blocks and the final norm."""
        return self.layers * self.block_params + self.hidden_size

    @property
    def params_total(self) -> int:
        """All parameters."""
        return self.params_nonembedding + self.embedding_params

    def block_flops(self, sequences: int, length: int, linear_density: float = 1.0) -> int:
        """FLOPs of one decoder block's forward pass: 2 for each multiply-add of linear layers and attention.

        ``linear_density`` is the share of non-zero weights in the linear layers (a theoretical count).
        """
        tokens = sequences * length
        attention = 4 * tokens * length * self.heads * self.head_dim
        linear = 2 * tokens * self.block_linear_params
        # A float holds no more than 53 bits: the count of a dense model stays whole at any size.
        return (linear if linear_density == 1.0 else round(linear * linear_density)) + attention

    def observed_block_flops(self, sequences: int, length: int) -> int:
        """FLOPs of a decoder block up to its last linear layer, where all inputs of linear layers have been seen."""
        last_linear = 2 * sequences * length * self.hidden_size * self.ffn_size
        return self.block_flops(sequences, length) - last_linear

    def held_scores(self, sequences: int, length: int) -> int:
        """Scores of attention that a block has in memory at a time: all of them where it caps them, else none."""
        return sequences * self.heads * length**2 if self.facts.caps_attention else 0

    def output_flops(self, sequences: int, length: int) -> int:
        """FLOPs of the projection to the vocabulary."""
        return 2 * sequences * length * self.vocab_size * self.hidden_size

    def forward_flops(self, sequences: int, length: int, linear_density: float = 1.0) -> int:
        """FLOPs of a forward pass."""
        blocks = self.layers * self.block_flops(sequences, length, linear_density)
        return blocks + self.output_flops(sequences, length)

    def training_flops(self, sequences: int, length: int) -> int:
        """FLOPs of forward and backward: three times the forward pass."""
        return 3 * self.forward_flops(sequences, length)
