"""Tiny random Llamas, calibration windows and targets that the tests share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import LlamaForCausalLM

from pruning_vs_scratch.config.pruning import GRANULARITY
from pruning_vs_scratch.models.llama import llama_config
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.pruned import Pruned
from pruning_vs_scratch.pruning.registry import CALIBRATED, CALIBRATION_FREE
from pruning_vs_scratch.pruning.surgery import KeptWidth
from pruning_vs_scratch.study import ModelShape, Target

SHAPE = ModelShape(
    vocab_size=61,
    layers=4,
    hidden_size=24,
    ffn_size=40,
    heads=6,
    kv_heads=2,
    head_dim=8,
    tie_embeddings=True,
    rope_theta=5_000.0,
    norm_eps=1e-5,
)
"""Three query heads a key-value head; the heads together are twice as wide as the residual stream."""

VARIANTS: dict[str, dict[str, Any]] = {
    "tied": {},
    "untied": {"tie_embeddings": False},
    "biased": {"attention_bias": True, "mlp_bias": True},
    "head_dim 2": {"head_dim": 2, "heads": 4, "kv_heads": 4},
}
"""Arguments of ``tiny_llama`` by the name of the kind of model."""


def tiny_llama(seed: int = 0, attention_bias: bool = False, mlp_bias: bool = False, **changes: Any) -> LlamaForCausalLM:
    """A random Llama of ``SHAPE`` with some changes; no weight, norm or bias is at a neutral value."""
    config = llama_config(replace(SHAPE, **changes), positions=64)
    config.update({"attention_bias": attention_bias, "mlp_bias": mlp_bias})
    model = LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.3 * noise if "norm" in name else 0.3 * noise)
    return model


def random_windows(sequences: int = 5, length: int = 11, vocab_size: int = SHAPE.vocab_size) -> torch.Tensor:
    """Calibration windows of shape (sequences, length + 1)."""
    return torch.randint(vocab_size, (sequences, length + 1), generator=torch.Generator().manual_seed(1))


def logits_of(model: LlamaForCausalLM, tokens: torch.Tensor | None = None) -> torch.Tensor:
    """Logits of a plain forward pass."""
    with torch.no_grad():
        return model(input_ids=random_windows() if tokens is None else tokens, use_cache=False).logits


def weights_of(model: LlamaForCausalLM) -> dict[str, torch.Tensor]:
    """A copy of all weights by name."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same_tensors(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors have the same names and the same values, bit for bit."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def keep_all(shape: ModelShape) -> KeptWidth:
    """Width pruning that prunes nothing."""
    everything = [torch.arange(shape.ffn_size)] * shape.layers, [torch.arange(shape.heads)] * shape.layers
    return KeptWidth(torch.arange(shape.hidden_size), *everything)


@dataclass(frozen=True)
class Case:
    """A pruning method and what it is asked for."""

    method: str
    ratio: float = 0.5
    pattern: str = "dense"

    def __str__(self) -> str:
        return f"{self.method} {self.ratio} {self.pattern}"

    def target(self, shape: ModelShape) -> Target:
        """The target for a parent of a shape: half of the blocks, or five sixths of the width, or a mask."""
        granularity = GRANULARITY[self.method]
        if granularity == "depth":
            shape = replace(shape, layers=shape.layers // 2)
        elif granularity == "width":
            shape = replace(shape, hidden_size=20, ffn_size=31, heads=shape.heads - shape.kv_heads or shape.heads)
        mask_method = self.method if granularity == "sparse" else None
        return Target("target", granularity, self.ratio, self.pattern, shape, mask_method)

    def prune(self, model: LlamaForCausalLM, shape: ModelShape, batch_size: int = 2) -> Pruned:
        """Run the method on the random windows."""
        if self.method in CALIBRATED:
            stream = CalibrationStream(model, random_windows(), batch_size)
            return CALIBRATED[self.method](model, self.target(shape), stream)
        return CALIBRATION_FREE[self.method](model, self.target(shape))


@contextmanager
def recorded_inputs(modules: dict[str, torch.nn.Module]) -> Iterator[dict[str, torch.Tensor]]:
    """While open, the input of each module in the last forward pass is stored under its name."""
    seen: dict[str, torch.Tensor] = {}

    def recorder(name: str) -> Any:
        return lambda _, positional: seen.__setitem__(name, positional[0].detach().clone())

    handles = [module.register_forward_pre_hook(recorder(name)) for name, module in modules.items()]
    yield seen
    for handle in handles:
        handle.remove()
