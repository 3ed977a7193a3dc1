"""Tiny random models, calibration windows, and pruning methods at work on them, which the tests share."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from pruning_vs_scratch.families.catalogue import USUAL, families
from pruning_vs_scratch.families.parts import BLOCK_PREFIX
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.decoder import config_of, shape_of, with_shape
from pruning_vs_scratch.models.tensors import HeldTensors
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.catalogue import facts_of, implementation_of, methods
from pruning_vs_scratch.pruning.export import Exported, export
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.method import (
    PrunedBlock,
    PruningSpec,
    Scores,
    SparseMethod,
    StructuredMethod,
    options_of,
)
from pruning_vs_scratch.pruning.scores import score
from pruning_vs_scratch.pruning.sparse import sparse_blocks
from pruning_vs_scratch.pruning.structured import chosen_blocks
from pruning_vs_scratch.pruning.surgery import cut_outside, kept_blocks, kept_shape
from pruning_vs_scratch.study import ModelShape, Target

Tensors = dict[str, torch.Tensor]

IMPLEMENTATIONS = {name: implementation_of(name) for name in methods()}
STRUCTURED = {name: made for name, made in IMPLEMENTATIONS.items() if isinstance(made, StructuredMethod)}
SPARSE = {name: made for name, made in IMPLEMENTATIONS.items() if isinstance(made, SparseMethod)}

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

PLAIN: dict[str, dict[str, Any]] = {
    "tied": {},
    "untied": {"tie_embeddings": False},
    "biased": {"attention_bias": True, "mlp_bias": True},
    "head_dim 2": {"head_dim": 2, "heads": 4, "kv_heads": 4},
}
"""Arguments of ``tiny_model`` by the name of the kind of Llama."""
FAMILIES: dict[str, dict[str, Any]] = {
    **{family: {"family": family} for family in families() if family != USUAL},
    "untied gemma2": {"family": "gemma2", "tie_embeddings": False},
    "biased qwen3": {"family": "qwen3", "attention_bias": True},
}
"""The same for the other families."""
VARIANTS = PLAIN | FAMILIES

ALTERNATING = ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention"]
FELT: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 4},
    "qwen2": {"use_sliding_window": True},
    "qwen3": {"use_sliding_window": True},
    "gemma2": {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
}
"""By family, settings that a few tokens feel: windows that are shorter, and caps that are reached."""

AMPLE = 1 << 30
"""A host buffer that holds all hidden states."""


def tiny_config(positions: int = 64, **changes: Any) -> Any:
    """The configuration of ``SHAPE`` with some changes, and with settings that a few tokens feel."""
    config = config_of(replace(SHAPE, **changes), positions)
    config.update(FELT.get(changes.get("family", USUAL), {}))
    if getattr(config, "layer_types", None):
        config.update(
            {"sliding_window": 4, "layer_types": (ALTERNATING * config.num_hidden_layers)[: config.num_hidden_layers]}
        )
    return config


def tiny_model(seed: int = 0, **changes: Any) -> Any:
    """A random model of ``SHAPE`` with some changes; no weight, norm or bias is at a neutral value."""
    return randomised(AutoModelForCausalLM.from_config(tiny_config(**changes)), seed)


def randomised(model: Any, seed: int = 0) -> Any:
    """A model with all its parameters drawn anew, and the name of its architecture in its configuration."""
    model.config.architectures = [type(model).__name__]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.3 * noise if "norm" in name else 0.3 * noise)
    return model.eval()


def random_windows(sequences: int = 5, length: int = 11, vocab_size: int = SHAPE.vocab_size) -> torch.Tensor:
    """Calibration windows of shape (sequences, length + 1)."""
    return torch.randint(vocab_size, (sequences, length + 1), generator=torch.Generator().manual_seed(1))


def logits_of(model: Any, tokens: torch.Tensor | None = None) -> torch.Tensor:
    """Logits of a plain forward pass."""
    with torch.no_grad():
        return model(input_ids=random_windows() if tokens is None else tokens, use_cache=False).logits


def weights_of(model: torch.nn.Module) -> Tensors:
    """A copy of all weights by name."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same_tensors(left: Tensors, right: Tensors) -> bool:
    """Whether two sets of tensors have the same names and the same values, bit for bit; NaN equals NaN."""
    return left.keys() == right.keys() and all(
        left[name].shape == right[name].shape and torch.allclose(left[name], right[name], 0, 0, equal_nan=True)
        for name in left
    )


def keep_all(shape: ModelShape) -> Kept:
    """Pruning by index that prunes nothing."""
    return Kept(
        list(range(shape.layers)),
        torch.arange(shape.hidden_size),
        [torch.arange(shape.ffn_size)] * shape.layers,
        [torch.arange(shape.heads)] * shape.layers,
    )


def held(model: PreTrainedModel) -> HeldTensors:
    """The tensors of a model as a checkpoint has them; they are the model's own, not copies."""
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    return HeldTensors({name: tensor for name, tensor in model.state_dict().items() if name not in tied})


def blockwise(model: PreTrainedModel) -> BlockwiseModel:
    """A model in memory, block by block, on the CPU."""
    return BlockwiseModel(model.config, held(model), torch.device("cpu"))


def stream_of(
    model: PreTrainedModel | BlockwiseModel, batch_size: int = 2, buffer_bytes: int = AMPLE
) -> CalibrationStream:
    """The random windows in front of the first block of a model."""
    parent = model if isinstance(model, BlockwiseModel) else blockwise(model)
    windows = random_windows(vocab_size=min(SHAPE.vocab_size, parent.shape.vocab_size))
    return CalibrationStream(parent, windows, batch_size, buffer_bytes, Path(tempfile.gettempdir()))


@dataclass(frozen=True)
class Outcome:
    """What a method made of a model."""

    parent: BlockwiseModel
    kept: Kept
    blocks: list[PrunedBlock]
    scores: Scores
    """Of a method that scores once for all ratios."""

    @property
    def masks(self) -> Tensors:
        """Masks by the full names of their weights."""
        return {
            f"{BLOCK_PREFIX}{i}.{name}": m for i, block in enumerate(self.blocks) for name, m in block.masks.items()
        }

    @property
    def weights(self) -> Tensors:
        """Weights by their full names."""
        blocks = {f"{BLOCK_PREFIX}{i}.{n}": w for i, block in enumerate(self.blocks) for n, w in block.tensors.items()}
        return cut_outside(self.parent.outside, self.kept, self.parent.shape) | blocks

    @property
    def shape(self) -> ModelShape:
        """The shape that is left."""
        return kept_shape(self.parent.shape, self.kept)

    def model(self, like: PreTrainedModel) -> Any:
        """A whole model of these blocks, of the class of another."""
        model = type(like)(with_shape(like.config, self.shape, kept_blocks(self.parent.shape, self.kept)))
        model.load_state_dict(self.weights, strict=False)
        return model.eval()

    def export(self, folder: Path, *, low_memory: bool = False) -> Exported:
        """Write the checkpoint into a new folder."""
        folder.mkdir(parents=True)
        return export(self.parent, self.kept, self.blocks, folder, low_memory=low_memory)


@dataclass(frozen=True)
class Case:
    """A pruning method and what it is asked for."""

    method: str
    ratio: float = 0.5
    pattern: str = "dense"
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([self.method, str(self.ratio), self.pattern, *map(str, self.options.values())])

    @property
    def is_sparse(self) -> bool:
        """Whether the method masks weights."""
        return self.method in SPARSE

    def target(self, shape: ModelShape) -> Target:
        """The target for a parent of a shape: half of the blocks, or five sixths of the width, or a mask."""
        facts = facts_of(self.method)
        granularity, options = facts.granularity, facts.options(**self.options)
        shape = shape.with_biases(facts.adds(options))
        if granularity == "depth":
            shape = replace(shape, layers=shape.layers // 2)
        elif granularity == "width" and "hidden_size" not in facts.shrinks(options):
            groups = shape.kv_heads // 2
            shape = replace(shape, kv_heads=groups, heads=groups * (shape.heads // shape.kv_heads), ffn_size=31)
        elif granularity == "width":
            fewer_heads = shape.heads - shape.kv_heads or shape.heads
            heads = shape.heads if self.options.get("importance") == "authors" else fewer_heads
            shape = replace(shape, hidden_size=20 if 20 % heads == 0 else 18, ffn_size=31, heads=heads)
        mask_method = self.method if granularity == "sparse" else None
        return Target("target", granularity, self.ratio, self.pattern, shape, mask_method)

    def spec(self, shape: ModelShape, seed: int = 0) -> PruningSpec:
        """What is asked of the method for a parent of a shape."""
        return PruningSpec(self.target(shape), options_of(self.method, self.options), seed)

    def prune(
        self,
        model: PreTrainedModel | BlockwiseModel,
        batch_size: int = 2,
        buffer_bytes: int = AMPLE,
        seed: int = 0,
    ) -> Outcome:
        """Run the method on the random windows."""
        parent = model if isinstance(model, BlockwiseModel) else blockwise(model)
        spec = self.spec(parent.shape, seed)
        if facts_of(self.method).reads == "nothing":
            return Outcome(parent, Kept(), list(sparse_blocks(parent, SPARSE[self.method], spec)), {})
        stream = stream_of(parent, batch_size, buffer_bytes)
        if self.method in STRUCTURED:
            scores = STRUCTURED[self.method].score(stream, [spec.target.shape], spec.options)
            return self.prune_by(scores, parent, spec)
        if not facts_of(self.method).scored_once(spec.options):
            return Outcome(parent, Kept(), list(sparse_blocks(parent, SPARSE[self.method], spec, stream)), {})
        scores = score(stream, self.method, [spec.target.shape], spec.options)
        return self.prune_by(scores, parent, spec)

    def prune_by(self, scores: Scores, parent: BlockwiseModel, spec: PruningSpec | None = None) -> Outcome:
        """Choose by scores that serve every ratio."""
        spec = spec or self.spec(parent.shape)
        if self.is_sparse:
            blocks = list(sparse_blocks(parent, SPARSE[self.method], spec, scores=scores))
            return Outcome(parent, Kept(), blocks, scores)
        kept = STRUCTURED[self.method].keep(scores, parent.shape, spec)
        blocks = list(chosen_blocks(parent, STRUCTURED[self.method], scores, kept, spec))
        return Outcome(parent, kept, blocks, scores)


@contextmanager
def recorded_inputs(modules: dict[Any, torch.nn.Module]) -> Iterator[dict[Any, torch.Tensor]]:
    """While open, the input of each module in the last forward pass is stored under its name."""
    seen: dict[Any, torch.Tensor] = {}

    def recorder(name: Any) -> Any:
        return lambda _, positional: seen.__setitem__(name, positional[0].detach().clone())

    handles = [module.register_forward_pre_hook(recorder(name)) for name, module in modules.items()]
    yield seen
    for handle in handles:
        handle.remove()


def states_around_blocks(model: Any, tokens: torch.Tensor) -> list[torch.Tensor]:
    """The residual stream before the first block and after each block.

    The last entry of ``hidden_states`` is after the final norm: what enters that norm stands in for it.
    """
    with recorded_inputs({"norm": model.model.norm}) as inputs, torch.no_grad():
        states = model(input_ids=tokens, output_hidden_states=True, use_cache=False).hidden_states
    return [*states[:-1], inputs["norm"]]


def hooks_of(module: torch.nn.Module) -> int:
    """How many hooks there are on a module and all inside it."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def shape_of_model(model: PreTrainedModel) -> ModelShape:
    """The shape of a model."""
    return shape_of(model.config)
