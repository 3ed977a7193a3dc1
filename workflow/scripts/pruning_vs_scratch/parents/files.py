"""Which files of a published checkpoint are taken: safetensors, configuration and tokenizer, nothing that is run."""

from collections.abc import Collection, Iterable
from pathlib import Path

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import (
    CONFIG_FILE,
    GENERATION_FILE,
    INDEX_FILE,
    PICKLE_SUFFIXES,
    SINGLE_FILE,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    TOKENIZER_FILES,
    read_json_object,
    refuse_difference,
    sha256_of_file,
)
from pruning_vs_scratch.models.weight_files import say_which_weights, weight_entry, weight_map
from pruning_vs_scratch.study.checkpoints import Content


def required_weights(names: Collection[str], label: str) -> str:
    """The file that holds all weights, or the index of those that do.

    Raises:
        UserError: there are no safetensors; pickles are never read.
    """
    say_which_weights(names, label)
    if (entry := weight_entry(names)) is not None:
        return entry
    pickles = sorted(name for name in names if name.endswith(PICKLE_SUFFIXES))
    if pickles:
        raise UserError(
            f"{label} has its weights as pickles only ({pickles[0]}), which can run code when they are read; take a "
            "repository or revision with safetensors, or convert them where you trust them"
        )
    raise UserError(f"{label} has no weights (neither {SINGLE_FILE} nor {INDEX_FILE})")


def shards_of(index: Path, names: Collection[str], label: str) -> list[str]:
    """The files that an index names.

    Raises:
        UserError: one of them is missing, or is outside the checkpoint.
    """
    shards = sorted(set(weight_map(index).values()))
    for shard in shards:
        if shard not in names:
            raise UserError(f"{label} lacks {shard}, which its {INDEX_FILE} names: it is incomplete")
    return shards


def small_files(names: Collection[str], content: Content, label: str) -> list[str]:
    """Configuration and tokenizer, or the tokenizer alone.

    Raises:
        UserError: one that is needed is missing.
    """
    if TOKENIZER_FILE not in names:
        raise UserError(f"{label} has no {TOKENIZER_FILE}: its tokenizer must be a fast one, as transformers saves it")
    if content == "model" and CONFIG_FILE not in names:
        raise UserError(f"{label} has no {CONFIG_FILE}: it is not a checkpoint")
    wanted = TOKENIZER_FILES if content == "tokenizer" else (CONFIG_FILE, GENERATION_FILE, *TOKENIZER_FILES)
    return [name for name in wanted if name in names]


def refuse_remote_code(folder: Path, label: str) -> None:
    """Refuse a configuration that asks for code of its repository.

    Raises:
        UserError: names the key.
    """
    for name in (CONFIG_FILE, TOKENIZER_CONFIG_FILE):
        if (folder / name).exists() and "auto_map" in read_json_object(folder / name):
            raise UserError(f"{label} needs code of its own (auto_map in {name}), never run here: use a plain Llama")


def check_pinned(folder: Path, pinned: dict[str, str], names: Iterable[str], label: str) -> None:
    """Compare files with the hashes of the configuration.

    Raises:
        UserError: one differs, or a file that has a hash is none of the checkpoint's.
    """
    taken = set(names)
    for name, expected in pinned.items():
        if name not in taken:
            raise UserError(f"sha256: {label} has no file {name!r}; it has {', '.join(sorted(taken))}")
        refuse_difference(folder / name, name, expected, sha256_of_file(folder / name), label)
