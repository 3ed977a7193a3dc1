"""Facts of OLMo 2 (OLMo et al., 2501.00656)."""

from pruning_vs_scratch.families.facts import BIASED_ATTENTION, FamilyFacts, SublayerNorms

FACTS = FamilyFacts(
    label="OLMo 2",
    model_type="olmo2",
    architecture="Olmo2ForCausalLM",
    checkpoints=("allenai/OLMo-2-0425-1B", "allenai/OLMo-2-1124-7B"),
    attention_norms=SublayerNorms(None, "post_attention_layernorm"),
    ffn_norms=SublayerNorms(None, "post_feedforward_layernorm"),
    optional_biases=BIASED_ATTENTION,
    head_norms="heads",
)
