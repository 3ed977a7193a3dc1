"""What a published config.json must say before a library makes a model of it. No torch here."""

from pathlib import Path
from typing import Any

from pruning_vs_scratch.errors import UserError
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
"""Sizes of a Llama, and far more than any has: a larger model would be made for hours before weights are missed."""
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
