"""Facts of Qwen3 (Yang et al., 2505.09388)."""

from pruning_vs_scratch.families.facts import BIASED_ATTENTION, FamilyFacts

FACTS = FamilyFacts(
    label="Qwen3",
    model_type="qwen3",
    architecture="Qwen3ForCausalLM",
    checkpoints=("Qwen/Qwen3-0.6B-Base", "Qwen/Qwen3-8B-Base"),
    optional_biases=BIASED_ATTENTION,
    head_norms="head_dim",
    has_layer_types=True,
)
