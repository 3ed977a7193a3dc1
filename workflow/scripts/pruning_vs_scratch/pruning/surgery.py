"""Cutting a Llama down: the same model with fewer blocks, or with some of its channels, heads and neurons."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import LlamaForCausalLM

from pruning_vs_scratch.models.llama import llama_config, shape_of


@dataclass(frozen=True)
class KeptWidth:
    """What width pruning keeps, as ascending indices into the parent."""

    hidden: torch.Tensor
    """Channels of the residual stream, the same for all blocks."""
    ffn: list[torch.Tensor]
    """Neurons of each block's feed-forward layer."""
    heads: list[torch.Tensor]
    """Query heads of each block, equally many of each key-value group."""


def keep_blocks(model: LlamaForCausalLM, kept: list[int]) -> LlamaForCausalLM:
    """A model of the kept decoder blocks, in order; all other weights unchanged."""
    weights = {}
    for name, tensor in model.state_dict().items():
        parts = name.split(".")
        if parts[:2] == ["model", "layers"]:
            if int(parts[2]) not in kept:
                continue
            parts[2] = str(kept.index(int(parts[2])))
        weights[".".join(parts)] = tensor
    return _rebuilt(model, weights, layers=len(kept))


def keep_width(model: LlamaForCausalLM, kept: KeptWidth) -> LlamaForCausalLM:
    """A narrower model: the kept channels of every weight, consistently.

    Tied embeddings are one tensor and are sliced once.
    """
    shape = shape_of(model.config)
    weights = {
        "model.embed_tokens.weight": model.model.embed_tokens.weight[:, kept.hidden],
        "model.norm.weight": model.model.norm.weight[kept.hidden],
        "lm_head.weight": model.lm_head.weight[:, kept.hidden],
    }
    for i, block in enumerate(model.model.layers):
        queries = head_channels(kept.heads[i], shape.head_dim)
        rows = {"q_proj": queries, "k_proj": None, "v_proj": None, "o_proj": kept.hidden}
        rows |= {"gate_proj": kept.ffn[i], "up_proj": kept.ffn[i], "down_proj": kept.hidden}
        columns = {"o_proj": queries, "down_proj": kept.ffn[i]}
        for name, tensor in block.state_dict().items():
            module = name.split(".")[-2]
            if module.endswith("layernorm"):
                tensor = tensor[kept.hidden]
            else:
                if rows[module] is not None:
                    tensor = tensor[rows[module]]
                if tensor.ndim == 2:
                    tensor = tensor[:, columns.get(module, kept.hidden)]
            weights[f"model.layers.{i}.{name}"] = tensor
    return _rebuilt(model, weights, hidden_size=len(kept.hidden), ffn_size=len(kept.ffn[0]), heads=len(kept.heads[0]))


def head_channels(heads: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Rows of q_proj (columns of o_proj) that belong to some query heads."""
    return (heads[:, None] * head_dim + torch.arange(head_dim)).flatten()


def _rebuilt(model: LlamaForCausalLM, weights: dict[str, torch.Tensor], **changes: Any) -> LlamaForCausalLM:
    shape = replace(shape_of(model.config), **changes)
    config = copy.deepcopy(model.config)
    config.update(
        {
            key: value
            for key, value in llama_config(shape, model.config.max_position_embeddings).to_dict().items()
            if key in {"num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "head_dim"}
        }
    )
    smaller = LlamaForCausalLM(config)
    smaller.load_state_dict({name: tensor.clone() for name, tensor in weights.items()})
    return smaller.eval()
