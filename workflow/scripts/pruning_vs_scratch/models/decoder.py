"""Decoder-only models from shapes, and shapes from models."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.families.catalogue import family_facts, family_of
from pruning_vs_scratch.families.facts import ATTENTION_BIAS, FFN_BIAS
from pruning_vs_scratch.families.parts import BLOCK_PREFIX, LINEAR_NAMES, OUTPUT
from pruning_vs_scratch.models.config_checks import FULL
from pruning_vs_scratch.models.portable import HEADS, has_uneven_heads
from pruning_vs_scratch.study.shape import ModelShape

if TYPE_CHECKING:

    class CausalLM(PreTrainedModel):
        """A decoder-only language model, with what transformers does not declare for all families."""

        model: Any
        lm_head: torch.nn.Linear

else:
    CausalLM = PreTrainedModel


def config_of(shape: ModelShape, positions: int, separator: int = 0) -> Any:
    """The Hugging Face configuration of a shape, for sequences of up to ``positions`` tokens.

    ``separator`` is the token that stands between documents.
    """
    # transformers checks the heads of a configuration that it makes, though nothing depends on them (portable.py).
    uneven = has_uneven_heads(shape.hidden_size, shape.heads)
    values: dict[str, Any] = {
        "vocab_size": shape.vocab_size,
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.ffn_size,
        "num_attention_heads": 1 if uneven else shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "tie_word_embeddings": shape.tie_embeddings,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "rms_norm_eps": shape.norm_eps,
        "max_position_embeddings": positions,
        "bos_token_id": separator,
        "eos_token_id": separator,
        # The default of some families is a token of ours, whose embedding would never learn.
        "pad_token_id": None,
        "dtype": "float32",
    }
    biases = {key: getattr(shape, key) for key in shape.facts.optional_biases}
    config = AutoConfig.for_model(shape.facts.model_type, **values | biases | shape.facts.settings(shape))
    config.update({HEADS: shape.heads})
    return config


def layer_types(config: Any) -> list[str]:
    """Of each block which tokens it sees, in the words of transformers; of most families all blocks are alike."""
    found: list[str] | None = getattr(config, "layer_types", None)
    return found or [FULL] * config.num_hidden_layers


def one_block_of_each(config: Any, dtype: torch.dtype = torch.float32) -> Any:
    """A model of a configuration with a single block of each layer type, whose weights have shapes but no values."""
    kinds = list(dict.fromkeys(layer_types(config)))
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            _with_blocks(config, kinds), dtype=dtype, trust_remote_code=False
        ).eval()


def compute_buffers(model: Any) -> None:
    """Give a model that was made without values what is computed, not stored: rotary frequencies, embedding scales."""
    decoder = model.model
    decoder.rotary_emb = type(decoder.rotary_emb)(model.config)
    scale = getattr(decoder.embed_tokens, "scalar_embed_scale", None)
    if scale is not None:
        decoder.embed_tokens.embed_scale = torch.tensor(scale)


def weight_shapes(config: Any) -> tuple[dict[str, torch.Size], dict[str, torch.Size]]:
    """Shapes of the weights outside of the blocks by name, and of those of a block by their names inside it.

    A tied output projection is the embedding and has no weight of its own.
    """
    model = one_block_of_each(config)
    block = {name: tensor.shape for name, tensor in model.model.layers[0].state_dict().items()}
    outside = {name: t.shape for name, t in model.state_dict().items() if not name.startswith(BLOCK_PREFIX)}
    if config.tie_word_embeddings:
        outside.pop(f"{OUTPUT}.weight")
    return outside, block


def with_shape(config: Any, shape: ModelShape, blocks: Sequence[int] | None = None) -> Any:
    """A copy of a configuration with another shape; all else (positions, rotary scaling, ...) stays.

    ``blocks`` are those of the model that stay, each with its layer type; unless given, the first ones.

    Raises:
        UserError: the shape has biases, and models of this kind have none.
    """
    facts = family_facts(family_of(config.model_type))
    for key in (ATTENTION_BIAS, FFN_BIAS):
        if getattr(shape, key) and key not in facts.optional_biases:
            raise UserError(
                f"a {facts.label} model has no biases of this kind in its linear layers ({key}): choose options that "
                "add none"
            )
    kept = range(shape.layers) if blocks is None else blocks
    changed = _with_blocks(config, [layer_types(config)[index] for index in kept])
    changed.update({key: getattr(shape, key) for key in facts.optional_biases})
    changed.update(
        {
            "hidden_size": shape.hidden_size,
            "intermediate_size": shape.ffn_size,
            HEADS: shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
        }
    )
    return changed


def _with_blocks(config: Any, kinds: Sequence[str]) -> Any:
    """A copy of a configuration with blocks of these layer types."""
    changed = copy.deepcopy(config)
    changed.update({"num_hidden_layers": len(kinds)})
    if getattr(config, "layer_types", None):
        changed.update({"layer_types": list(kinds)})
    return changed


def model_of(config: Any) -> CausalLM:
    """A model of a configuration in fp32, with the random weights that torch's seed gives it."""
    model: CausalLM = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    return with_all_embeddings_learned(model)


def with_all_embeddings_learned(model: CausalLM) -> CausalLM:
    """A model whose padding token gets gradients like any other: text here is not padded, and may hold that token."""
    model.model.embed_tokens.padding_idx = None
    return model


def random_model(shape: ModelShape, positions: int, seed: int, separator: int = 0) -> CausalLM:
    """A model with fresh random weights, the same for the same shape and seed."""
    torch.manual_seed(seed)
    return model_of(config_of(shape, positions, separator))


def random_like(config: Any, shape: ModelShape, seed: int) -> CausalLM:
    """A model with fresh random weights of a shape; all else (positions, rotary scaling, ...) is a configuration's."""
    torch.manual_seed(seed)
    return model_of(with_shape(config, shape))


def empty_model(config: Any) -> Any:
    """A model of a configuration whose weights have no values yet, and so take no memory before they get them."""
    with torch.device("meta"):
        model: Any = model_of(config)
    model = model.to_empty(device="cpu")
    model.tie_weights()
    compute_buffers(model)
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
    """The shape of a Hugging Face configuration.

    Raises:
        UserError: it is of no supported family.
    """
    family = family_of(config.model_type)
    facts, rotation = family_facts(family), config.rope_parameters
    if facts.rotates_by_layer_type:
        rotation = rotation[FULL]
    return ModelShape(
        vocab_size=config.vocab_size,
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        ffn_size=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        tie_embeddings=config.tie_word_embeddings,
        rope_theta=float(rotation["rope_theta"]),
        norm_eps=config.rms_norm_eps,
        attention_bias=ATTENTION_BIAS in facts.optional_biases and config.attention_bias,
        mlp_bias=FFN_BIAS in facts.optional_biases and config.mlp_bias,
        family=family,
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
