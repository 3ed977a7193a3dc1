"""What a published config.json must say before a library makes a model of it. No torch here."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.families.catalogue import families, family_facts, family_of_architecture
from pruning_vs_scratch.families.facts import FamilyFacts
from pruning_vs_scratch.files import CONFIG_FILE

LARGEST = {
    "vocab_size": 1 << 24,
    "hidden_size": 1 << 20,
    "intermediate_size": 1 << 22,
    "num_hidden_layers": 1 << 12,
    "num_attention_heads": 1 << 14,
    "num_key_value_heads": 1 << 14,
    "head_dim": 1 << 14,
    "max_position_embeddings": 1 << 32,
}
"""Sizes of a model, and far more than any has: a larger model would be made for hours before weights are missed."""
WITHOUT_EFFECT = frozenset(
    {
        *("model_type", "torch_dtype", "transformers_version", "transformers.js_config", "is_llama_config"),
        *("rope_theta", "rope_scaling", "partial_rotary_factor", "head_dim"),
        *("hidden_act", "pretraining_tp", "cache_implementation", "max_length", "temperature", "top_p"),
        *("unsloth_version", "unsloth_fixed", "output_attentions", "torchscript", "tokenizer_class"),
    }
)
"""Keys of published configurations that are no fields of the library's, but are no strangers: older names, which it
converts, ``head_dim``, which it reads all the same, and notes of the tools that wrote them. Nor are those that begin
with an underscore.
"""
KINDS = {"Moe": "a mixture of experts", "ForConditionalGeneration": "an encoder-decoder, or a model of images and text"}
"""What parts of a class's name say of a model that cannot be pruned here."""
FULL, SLIDING = "full_attention", "sliding_attention"
LAYER_TYPES = {FULL, SLIDING}
"""Which tokens a block sees: all earlier ones, or those of a window."""
OPTIONAL = ("num_key_value_heads", "head_dim")
"""Sizes that follow from others where they are null or not there."""


def require_sizes(config: dict[str, Any], file: Path) -> None:
    """Refuse sizes that no model has, and a padding token outside of the vocabulary.

    Raises:
        UserError: names the file, the key and its value.
    """
    for key, largest in LARGEST.items():
        size = config.get(key)
        if key not in config or (size is None and key in OPTIONAL):
            continue
        if type(size) is not int or not 0 < size <= largest:
            raise UserError(f"{file}: {key} is {_shown(size)}, not a whole number from 1 to {largest}; fetch it again")
    heads, kv_heads = config.get("num_attention_heads"), config.get("num_key_value_heads")
    if heads and kv_heads and heads % kv_heads:
        raise UserError(
            f"{file}: num_key_value_heads is {kv_heads}, which does not divide {heads} heads; fetch it again"
        )
    padding, vocabulary = config.get("pad_token_id"), config.get("vocab_size")
    if padding is None or vocabulary is None:
        return
    # As torch has it, -1 is the last entry: some published checkpoints say so.
    if type(padding) is not int or not -vocabulary <= padding < vocabulary:
        raise UserError(
            f"{file}: pad_token_id is {_shown(padding)}, outside of the vocabulary of {vocabulary}: make it null, or "
            "a token of the tokenizer"
        )


def require_family(config: dict[str, Any], folder: Path) -> FamilyFacts:
    """The family of a checkpoint.

    Raises:
        UserError: it is of none that is supported, or has settings of its family that are not.
    """
    supported = ", ".join(facts.architecture for facts in families().values())
    match config.get("architectures"):
        case [str(architecture), *_] if (family := family_of_architecture(architecture)) is not None:
            facts = family_facts(family)
        case other:
            found = str(other[0] if isinstance(other, list) and other else other or "unknown architecture")
            kind = next((f", {kind}" for part, kind in KINDS.items() if part in found), "")
            raise UserError(f"{folder} is a {found}{kind}; supported: {supported}")
    if (model_type := config.get("model_type")) != facts.model_type:
        raise UserError(
            f"{folder / CONFIG_FILE}: model_type is {_shown(model_type)}, but a {facts.architecture} has "
            f"{facts.model_type!r}; fetch it again"
        )
    if "auto_map" in config:
        raise UserError(f"{folder} needs code of its own (auto_map in {CONFIG_FILE}), never run here")
    if config.get("quantization_config"):
        raise UserError(f"{folder} is quantised; prune the checkpoint that it was made of, or dequantise it first")
    for key, values in facts.supported.items():
        if (value := config.get(key)) not in values:
            raise UserError(
                f"{folder / CONFIG_FILE}: {key} is {_shown(value)}; of {facts.label} models only those with "
                f"{' or '.join(map(_shown, values))} are supported"
            )
    if facts.has_layer_types:
        _require_layer_types(config, folder / CONFIG_FILE)
    return facts


def _require_layer_types(config: dict[str, Any], file: Path) -> None:
    kinds = config.get("layer_types") or []
    if strange := sorted({str(kind) for kind in kinds} - LAYER_TYPES):
        raise UserError(f"{file}: layer_types has {', '.join(strange)}; known: {', '.join(sorted(LAYER_TYPES))}")
    if SLIDING in kinds and not config.get("sliding_window"):
        raise UserError(f"{file}: layer_types has {SLIDING}, but there is no sliding_window; fetch it again")


def require_known_keys(config: dict[str, Any], fields: Collection[str], facts: FamilyFacts, file: Path) -> None:
    """Refuse settings that this version of the library does not know, unless they are off.

    ``fields`` are those that it knows: it ignores all others without a word, and so would make another model than a
    newer version.

    Raises:
        UserError: names the keys.
    """
    off: tuple[Any, ...] = (None, False, [], {})
    known = {*fields} | WITHOUT_EFFECT | facts.older_keys
    strange = [
        key for key, value in config.items() if key not in known and not key.startswith("_") and value not in off
    ]
    if strange:
        raise UserError(
            f"{file} has settings that are not known of {facts.label} models: {', '.join(strange)}; if they change "
            "nothing in the model, remove them from a copy of the checkpoint, and use that"
        )


def unreadable(folder: Path, error: Exception) -> UserError:
    """What to say of a configuration that transformers stumbles over."""
    said = " ".join(str(error).split())
    return UserError(
        f"{folder / CONFIG_FILE} is not a configuration that transformers can make a model of "
        f"({type(error).__name__}: {_shortened(said)}): fetch it again, or correct that setting"
    )


def _shown(value: Any) -> str:
    return _shortened(repr(value))


def _shortened(text: str, length: int = 200) -> str:
    return text if len(text) <= length else f"{text[:length]}..."
