"""Facts of Gemma 3's language models (Gemma Team, 2503.19786)."""

from typing import TYPE_CHECKING, Any

from pruning_vs_scratch.families.facts import BIASED_ATTENTION, FamilyFacts
from pruning_vs_scratch.families.gemma2.facts import ATTENTION_NORMS, FFN_NORMS, ONE_DIRECTION

if TYPE_CHECKING:
    from pruning_vs_scratch.study.shape import ModelShape

WINDOW = 512
"""Tokens that five of six blocks look back over (section 2)."""
LOCAL_THETA = 10_000.0
"""Base of their rotary positions; the shape's is that of the blocks that see everything."""


def settings(shape: "ModelShape") -> dict[str, Any]:
    """Scores are divided by the square root of a head's channels; two kinds of blocks."""
    return {
        "query_pre_attn_scalar": shape.head_dim,
        "sliding_window": WINDOW,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": shape.rope_theta},
            "sliding_attention": {"rope_type": "default", "rope_theta": LOCAL_THETA},
        },
    }


FACTS = FamilyFacts(
    label="Gemma 3",
    model_type="gemma3_text",
    architecture="Gemma3ForCausalLM",
    checkpoints=("google/gemma-3-270m", "google/gemma-3-1b-pt"),
    attention_norms=ATTENTION_NORMS,
    ffn_norms=FFN_NORMS,
    head_norms="head_dim",
    norm_offset=1.0,
    optional_biases=BIASED_ATTENTION,
    scales_embedding=True,
    has_layer_types=True,
    rotates_by_layer_type=True,
    divides_hidden_by_heads=True,
    settings=settings,
    older_keys=frozenset({"rope_local_base_freq", "sliding_window_pattern"}),
    supported=ONE_DIRECTION,
)
