"""Decoder-only models from shapes, and shapes from models."""

import copy
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.portable import HEADS, has_uneven_heads
from pruning_vs_scratch.study.shape import ModelShape

if TYPE_CHECKING:

    class CausalLM(PreTrainedModel):
        """A decoder-only language model, with what transformers does not declare for all families."""

        model: Any
        lm_head: torch.nn.Linear

else:
    CausalLM = PreTrainedModel

LINEAR_NAMES = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip
"""The linear layers of a decoder block, in the order of the forward pass."""
LINEARS_BY_INPUT = (LINEAR_NAMES[:3], LINEAR_NAMES[3:4], LINEAR_NAMES[4:6], LINEAR_NAMES[6:])
"""The same, grouped by the activation that they read: statistics of an input serve all of its readers."""
LINEARS_WITH_BIAS = {"attention_bias": LINEAR_NAMES[:4], "mlp_bias": LINEAR_NAMES[4:]}
"""Those that have biases, by the key of the configuration that says so."""
BLOCK_PREFIX = "model.layers."
"""How the names of a block's weights begin in a checkpoint; its index follows."""


def config_of(shape: ModelShape, positions: int, separator: int = 0) -> LlamaConfig:
    """The Hugging Face configuration of a shape, for sequences of up to ``positions`` tokens.

    ``separator`` is the token that stands between documents.
    """
    # transformers checks the heads of a configuration that it makes, though nothing depends on them (portable.py).
    uneven = has_uneven_heads(shape.hidden_size, shape.heads)
    config = LlamaConfig(
        vocab_size=shape.vocab_size,
        num_hidden_layers=shape.layers,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.ffn_size,
        num_attention_heads=1 if uneven else shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        tie_word_embeddings=shape.tie_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        rms_norm_eps=shape.norm_eps,
        attention_bias=shape.attention_bias,
        mlp_bias=shape.mlp_bias,
        max_position_embeddings=positions,
        bos_token_id=separator,
        eos_token_id=separator,
        dtype="float32",
    )
    config.update({HEADS: shape.heads})
    return config


def one_block_model(config: Any, dtype: torch.dtype = torch.float32) -> Any:
    """A model of a configuration with a single block, whose weights have shapes but no values."""
    one_block = copy.deepcopy(config)
    one_block.update({"num_hidden_layers": 1})
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(one_block, dtype=dtype, trust_remote_code=False).eval()


def weight_shapes(config: Any) -> tuple[dict[str, torch.Size], dict[str, torch.Size]]:
    """Shapes of the weights outside of the blocks by name, and of those of a block by their names inside it.

    A tied output projection is the embedding and has no weight of its own.
    """
    model = one_block_model(config)
    block = {name: tensor.shape for name, tensor in model.model.layers[0].state_dict().items()}
    outside = {name: t.shape for name, t in model.state_dict().items() if not name.startswith(BLOCK_PREFIX)}
    if config.tie_word_embeddings:
        outside.pop("lm_head.weight")
    return outside, block


def with_shape(config: Any, shape: ModelShape) -> Any:
    """A copy of a configuration with another shape; all else (positions, rotary scaling, ...) stays.

    Raises:
        UserError: the shape has biases, and models of this kind have none.
    """
    changed = copy.deepcopy(config)
    for key in LINEARS_WITH_BIAS:
        if hasattr(config, key):
            changed.update({key: getattr(shape, key)})
        elif getattr(shape, key):
            kind = config.model_type
            raise UserError(f"a {kind} model has no biases in its linear layers ({key}): choose options that add none")
    changed.update(
        {
            "num_hidden_layers": shape.layers,
            "hidden_size": shape.hidden_size,
            "intermediate_size": shape.ffn_size,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
        }
    )
    return changed


def random_model(shape: ModelShape, positions: int, seed: int, separator: int = 0) -> CausalLM:
    """A model with fresh random weights, the same for the same shape and seed."""
    torch.manual_seed(seed)
    model: CausalLM = AutoModelForCausalLM.from_config(config_of(shape, positions, separator), dtype=torch.float32)
    return model


def random_like(config: Any, shape: ModelShape, seed: int) -> Any:
    """A model with fresh random weights of a shape; all else (positions, rotary scaling, ...) is a configuration's."""
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(with_shape(config, shape), dtype=torch.float32, trust_remote_code=False)


def empty_model(config: Any) -> Any:
    """A model of a configuration whose weights have no values yet, and so take no memory before they get them."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    model = model.to_empty(device="cpu")
    model.tie_weights()
    # Its frequencies are computed, not stored.
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model


def with_linears_of(model: CausalLM, other: CausalLM, *, head: bool = False) -> CausalLM:
    """A model in place, with the linear layers of its blocks, biases included, replaced by those of another.

    With ``head`` the output projection is replaced too; where it is tied, that is the embedding.
    """
    for block, replacement in zip(model.model.layers, other.model.layers, strict=True):
        for name in LINEAR_NAMES:
            block.get_submodule(name).load_state_dict(replacement.get_submodule(name).state_dict())
    if head:
        model.lm_head.load_state_dict(other.lm_head.state_dict())
    return model


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
        attention_bias=getattr(config, "attention_bias", False),
        mlp_bias=getattr(config, "mlp_bias", False),
    )


def block_index(block: torch.nn.Module) -> int:
    """Index of a decoder block in its model."""
    attention: Any = block.self_attn
    return int(attention.layer_idx)


def block_linear(block: torch.nn.Module, name: str) -> torch.nn.Linear:
    """A linear layer of a block, by its name of ``LINEAR_NAMES``."""
    linear = block.get_submodule(name)
    assert isinstance(linear, torch.nn.Linear)
    return linear
