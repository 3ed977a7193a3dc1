"""What every pruning method returns."""

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import LlamaForCausalLM


@dataclass
class Pruned:
    """A pruned model and how it came about."""

    model: LlamaForCausalLM
    masks: dict[str, torch.Tensor] = field(default_factory=dict)
    """Sparse methods: boolean mask by parameter name; True is kept."""
    kept: dict[str, Any] = field(default_factory=dict)
    """Structured methods: kept indices in the parent, as plain lists."""
    scores: dict[str, Any] = field(default_factory=dict)
    """What the choice was made by, as plain numbers."""
