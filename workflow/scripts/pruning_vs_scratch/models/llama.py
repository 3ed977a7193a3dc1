"""Llama models from shapes, and shapes from models."""

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pruning_vs_scratch.study.shape import ModelShape

LINEAR_NAMES = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip
"""The linear layers of a decoder block, in the order of the forward pass."""


def llama_config(shape: ModelShape, positions: int) -> LlamaConfig:
    """The Hugging Face configuration of a shape, for sequences of up to ``positions`` tokens."""
    return LlamaConfig(
        vocab_size=shape.vocab_size,
        num_hidden_layers=shape.layers,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.ffn_size,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        tie_word_embeddings=shape.tie_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        rms_norm_eps=shape.norm_eps,
        max_position_embeddings=positions,
        bos_token_id=0,
        eos_token_id=0,
        dtype="float32",
    )


def random_llama(shape: ModelShape, positions: int, seed: int) -> LlamaForCausalLM:
    """A model with fresh random weights, the same for the same shape and seed."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(llama_config(shape, positions))


def shape_of(config: Any) -> ModelShape:
    """The shape of a Hugging Face Llama configuration."""
    return ModelShape(
        vocab_size=config.vocab_size,
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        ffn_size=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        tie_embeddings=config.tie_word_embeddings,
        rope_theta=float(config.rope_parameters["rope_theta"]),
        norm_eps=config.rms_norm_eps,
    )


def block_linears(model: LlamaForCausalLM) -> dict[str, torch.nn.Linear]:
    """The linear layers of all decoder blocks by parameter name; these are what sparse methods prune."""
    return {
        f"model.layers.{i}.{name}.weight": block.get_submodule(name)
        for i, block in enumerate(model.model.layers)
        for name in LINEAR_NAMES
    }
