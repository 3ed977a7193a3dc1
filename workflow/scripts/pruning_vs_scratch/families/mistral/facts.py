"""Facts of Mistral (Jiang et al., 2310.06825)."""

from pruning_vs_scratch.families.facts import FamilyFacts

FACTS = FamilyFacts(
    label="Mistral",
    model_type="mistral",
    architecture="MistralForCausalLM",
    checkpoints=("mistralai/Mistral-7B-v0.3", "mistralai/Mistral-Nemo-Base-2407"),
)
