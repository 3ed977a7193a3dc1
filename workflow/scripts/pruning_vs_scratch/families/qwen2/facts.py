"""Facts of Qwen2 and Qwen2.5 (Yang et al., 2407.10671 and 2412.15115)."""

from pruning_vs_scratch.families.facts import FamilyFacts
from pruning_vs_scratch.families.parts import LINEAR_NAMES

FACTS = FamilyFacts(
    label="Qwen2",
    model_type="qwen2",
    architecture="Qwen2ForCausalLM",
    checkpoints=("Qwen/Qwen2-7B", "Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-7B"),
    fixed_biases=LINEAR_NAMES[:3],
    has_layer_types=True,
)
