"""Facts of Gemma 2 (Gemma Team, 2408.00118)."""

from typing import TYPE_CHECKING, Any

from pruning_vs_scratch.families.facts import BIASED_ATTENTION, FamilyFacts, SublayerNorms

if TYPE_CHECKING:
    from pruning_vs_scratch.study.shape import ModelShape

ATTENTION_NORMS = SublayerNorms("input_layernorm", "post_attention_layernorm")
FFN_NORMS = SublayerNorms("pre_feedforward_layernorm", "post_feedforward_layernorm")
ONE_DIRECTION = {"use_bidirectional_attention": (None, False)}
"""Language models read from left to right; models for text embeddings do not."""


def settings(shape: "ModelShape") -> dict[str, Any]:
    """Scores are divided by the square root of a head's channels."""
    return {"query_pre_attn_scalar": shape.head_dim}


FACTS = FamilyFacts(
    label="Gemma 2",
    model_type="gemma2",
    architecture="Gemma2ForCausalLM",
    checkpoints=("google/gemma-2-2b", "google/gemma-2-9b"),
    attention_norms=ATTENTION_NORMS,
    ffn_norms=FFN_NORMS,
    norm_offset=1.0,
    optional_biases=BIASED_ATTENTION,
    scales_embedding=True,
    has_layer_types=True,
    caps_attention=True,
    caps_logits=True,
    divides_hidden_by_heads=True,
    settings=settings,
    older_keys=frozenset({"sliding_window_size"}),
    supported=ONE_DIRECTION,
)
