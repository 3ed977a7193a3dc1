"""Facts of Llama (Touvron et al., 2302.13971; Grattafiori et al., 2407.21783)."""

from pruning_vs_scratch.families.facts import BIASED_ATTENTION, BIASED_FFN, FamilyFacts

FACTS = FamilyFacts(
    label="Llama",
    model_type="llama",
    architecture="LlamaForCausalLM",
    checkpoints=("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.2-1B", "HuggingFaceTB/SmolLM2-1.7B"),
    optional_biases={**BIASED_ATTENTION, **BIASED_FFN},
    divides_hidden_by_heads=True,
)
