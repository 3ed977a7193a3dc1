"""Cutting a model down, weight by weight: fewer blocks, or some of the channels, neurons and heads.

Pure functions on named tensors, so that a model can be cut one block at a time. Names are those of the Hugging Face
checkpoint; those of a block are relative to it (``self_attn.q_proj.weight``).
"""

from dataclasses import replace
from typing import Any

import torch

from pruning_vs_scratch.families.facts import FamilyFacts
from pruning_vs_scratch.families.parts import (
    ATTENTION_OUTPUT,
    BLOCK_PREFIX,
    EMBEDDING,
    FFN_OUTPUT,
    FINAL_NORM,
    KEY_NORM,
    LINEAR_NAMES,
    OUTPUT,
    QUERY_NORM,
)
from pruning_vs_scratch.models.decoder import CausalLM, shape_of, with_shape
from pruning_vs_scratch.models.tensors import Tensors
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.study.shape import ModelShape


def kept_shape(parent: ModelShape, kept: Kept) -> ModelShape:
    """The shape that is left of a parent after pruning."""
    changes: dict[str, Any] = {}
    if kept.blocks is not None:
        changes["layers"] = len(kept.blocks)
    if kept.hidden is not None:
        changes["hidden_size"] = len(kept.hidden)
    if kept.ffn is not None:
        changes["ffn_size"] = len(kept.ffn[0])
    if kept.heads is not None:
        changes |= {"heads": len(kept.heads[0]), "kv_heads": len(kept_kv_heads(kept.heads[0], parent))}
    changes |= dict.fromkeys(kept.added, True)
    return replace(parent, **changes)


def kept_blocks(parent: ModelShape, kept: Kept) -> list[int]:
    """The parent's blocks that stay, ascending."""
    return list(range(parent.layers)) if kept.blocks is None else kept.blocks


def kept_kv_heads(heads: torch.Tensor, parent: ModelShape) -> torch.Tensor:
    """The key-value heads that some query heads read."""
    found: torch.Tensor = torch.unique(heads // (parent.heads // parent.kv_heads))
    return found


def cut_outside(tensors: Tensors, kept: Kept, parent: ModelShape) -> Tensors:
    """The embedding, the final norm and the output projection (absent when tied), cut to the kept channels.

    Embeddings that a family multiplies by the square root of the hidden size are scaled, so that kept channels stay as
    they are; where they are the output projection too, the final norm takes that back.
    """
    if kept.hidden is None:
        return tensors
    cut = {name: tensor[..., kept.hidden].clone() for name, tensor in tensors.items()}
    if parent.facts.scales_embedding and len(kept.hidden) < parent.hidden_size:
        growth = (parent.hidden_size / len(kept.hidden)) ** 0.5
        shared = {EMBEDDING, OUTPUT} if parent.tie_embeddings else {EMBEDDING}
        for name in shared & {name.removesuffix(".weight") for name in cut}:
            cut[f"{name}.weight"] = (cut[f"{name}.weight"].float() * growth).to(cut[f"{name}.weight"].dtype)
        if parent.tie_embeddings:
            cut[f"{FINAL_NORM}.weight"] = scaled_norm(cut[f"{FINAL_NORM}.weight"], 1 / growth, parent.facts)
    return cut


def scaled_norm(weight: torch.Tensor, factor: float | torch.Tensor, facts: FamilyFacts) -> torch.Tensor:
    """The weight of a norm whose output is multiplied by a factor, or by one per channel."""
    return ((facts.norm_offset + weight.float()) * factor - facts.norm_offset).to(weight.dtype)


def cut_block(tensors: Tensors, kept: Kept, position: int, parent: ModelShape) -> Tensors:
    """One block cut to its kept channels, neurons and heads; ``position`` counts the kept blocks.

    Biases that are added are zero.
    """
    rows, columns = _kept_rows_and_columns(kept, position, parent)
    cut = {}
    for name, tensor in tensors.items():
        module, _ = name.rsplit(".", 1)
        if rows[module] is not None:
            tensor = tensor[rows[module]]
        if tensor.ndim == 2 and columns[module] is not None:
            tensor = tensor[:, columns[module]]
        cut[name] = tensor
    return _added_biases(cut, kept, parent) | cut


def _added_biases(cut: Tensors, kept: Kept, parent: ModelShape) -> Tensors:
    """Zero biases of the linear layers that get biases, by name."""
    modules = [name for key in kept.added for name in parent.facts.optional_biases[key]]
    return {f"{name}.bias": torch.zeros_like(cut[f"{name}.weight"][:, 0]) for name in modules}


def cut_model(model: CausalLM, kept: Kept) -> CausalLM:
    """A whole model cut to what is kept; the given one is not changed."""
    shape, tensors = shape_of(model.config), model.state_dict()
    cut = cut_outside({name: t for name, t in tensors.items() if not name.startswith(BLOCK_PREFIX)}, kept, shape)
    for position, index in enumerate(kept_blocks(shape, kept)):
        block = cut_block(model.model.layers[index].state_dict(), kept, position, shape)
        cut |= {f"{BLOCK_PREFIX}{position}.{name}": tensor for name, tensor in block.items()}
    smaller: CausalLM = type(model)(with_shape(model.config, kept_shape(shape, kept), kept_blocks(shape, kept)))
    smaller.load_state_dict(cut)
    smaller.train(model.training)
    return smaller


def head_channels(heads: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Rows of q_proj (columns of o_proj) that belong to some query heads."""
    return (heads[:, None] * head_dim + torch.arange(head_dim)).flatten()


def _kept_rows_and_columns(
    kept: Kept, position: int, parent: ModelShape
) -> tuple[dict[str, torch.Tensor | None], dict[str, torch.Tensor | None]]:
    """By module of a block, the output channels and the input channels that are kept."""
    hidden, queries, keys = kept.hidden, None, None
    neurons = None if kept.ffn is None else kept.ffn[position]
    if kept.heads is not None:
        queries = head_channels(kept.heads[position], parent.head_dim)
        keys = head_channels(kept_kv_heads(kept.heads[position], parent), parent.head_dim)
    by_name = dict(zip(LINEAR_NAMES, (queries, keys, keys, hidden, neurons, neurons, hidden), strict=True))
    rows = by_name | dict.fromkeys(parent.facts.block_norms, hidden) | _kept_head_norms(queries, keys, parent)
    columns = dict.fromkeys(rows, hidden) | {ATTENTION_OUTPUT: queries, FFN_OUTPUT: neurons}
    return rows, columns


def _kept_head_norms(
    queries: torch.Tensor | None, keys: torch.Tensor | None, parent: ModelShape
) -> dict[str, torch.Tensor | None]:
    """By norm of queries and keys, the channels that stay: all of a norm that is shared by heads."""
    if parent.facts.head_norms == "heads":
        return {QUERY_NORM: queries, KEY_NORM: keys}
    return {QUERY_NORM: None, KEY_NORM: None}
