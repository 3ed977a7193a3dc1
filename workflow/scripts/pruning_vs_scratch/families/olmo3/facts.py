"""Facts of OLMo 3 (Team OLMo, 2512.13961)."""

from typing import TYPE_CHECKING, Any

from pruning_vs_scratch.families.facts import BIASED_ATTENTION, FamilyFacts, SublayerNorms

if TYPE_CHECKING:
    from pruning_vs_scratch.study.shape import ModelShape


def settings(shape: "ModelShape") -> dict[str, Any]:
    """Both kinds of blocks rotate alike, unless longer contexts are scaled."""
    rotation = {"rope_type": "default", "rope_theta": shape.rope_theta}
    return {"rope_parameters": {"full_attention": rotation, "sliding_attention": dict(rotation)}}


FACTS = FamilyFacts(
    label="OLMo 3",
    model_type="olmo3",
    architecture="Olmo3ForCausalLM",
    checkpoints=("allenai/Olmo-3-1025-7B",),
    attention_norms=SublayerNorms(None, "post_attention_layernorm"),
    ffn_norms=SublayerNorms(None, "post_feedforward_layernorm"),
    optional_biases=BIASED_ATTENTION,
    head_norms="heads",
    has_layer_types=True,
    rotates_by_layer_type=True,
    settings=settings,
)
