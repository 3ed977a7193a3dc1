"""Plain Hugging Face checkpoints: safetensors only, no remote code."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from pruning_vs_scratch.data.tokenizer import copy_tokenizer
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.families.facts import FamilyFacts
from pruning_vs_scratch.families.parts import EMBEDDING, OUTPUT
from pruning_vs_scratch.files import (
    CONFIG_FILE,
    GENERATION_FILE,
    INDEX_FILE,
    PICKLE_SUFFIXES,
    SINGLE_FILE,
    read_json_object,
)
from pruning_vs_scratch.models.config_checks import require_family, require_known_keys, require_sizes, unreadable
from pruning_vs_scratch.models.decoder import CausalLM, one_block_of_each, with_all_embeddings_learned
from pruning_vs_scratch.models.portable import read_config, refuse_two_rotations
from pruning_vs_scratch.models.tensors import CheckpointTensors, stored_dtypes, writing_tensors
from pruning_vs_scratch.models.weight_files import say_which_weights, weight_entry, weight_map

disable_progress_bar()

EMBEDDING_WEIGHT, OUTPUT_WEIGHT = f"{EMBEDDING}.weight", f"{OUTPUT}.weight"
CPU = torch.device("cpu")


def load_model(folder: Path, device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> CausalLM:
    """Load a checkpoint onto a device; each weight is cast as it is read, and none waits on the host in fp32.

    The rotary frequencies stay in fp32 whatever the dtype, as transformers has them.

    Raises:
        UserError: it is missing, incomplete, damaged, a pickle, quantised, of no supported family, or its weights have
            other shapes than its configuration says.
    """
    folder = Path(folder)
    check_checkpoint(folder)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=read_config(folder),
            dtype=dtype,
            device_map={"": device},
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except SafetensorError as error:
        raise UserError(f"the weights of the checkpoint {folder} are damaged ({error}); fetch it again") from error
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        raise UserError(
            f"weights of the checkpoint {folder} have other shapes than its {CONFIG_FILE} says; fetch it again"
        ) from error
    model: CausalLM
    model, report = loaded
    tied = {OUTPUT_WEIGHT} if model.config.tie_word_embeddings else set()
    missing = sorted(set(report["missing_keys"]) - tied)
    if missing:
        raise UserError(f"the checkpoint {folder} lacks {len(missing)} weights, first {missing[0]}; fetch it again")
    stored = CheckpointTensors(folder)
    names = {name for name, _ in model.named_parameters()}
    stored_dtypes(stored, names & stored.names, f"the checkpoint {folder}")
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise UserError(f"{name} of the checkpoint {folder} holds NaN or inf; fetch or train it again")
    return with_all_embeddings_learned(model)


def check_checkpoint(folder: Path) -> None:
    """Refuse a folder that is not a complete safetensors checkpoint of a supported architecture.

    Raises:
        UserError: says which file or architecture is the trouble.
    """
    if not (folder / "config.json").exists():
        raise UserError(f"no checkpoint in {folder} (config.json is missing)")
    names = {file.name for file in folder.iterdir()}
    entry = weight_entry(names)
    pickles = sorted(name for name in names if name.endswith(PICKLE_SUFFIXES))
    if entry is None and pickles:
        raise UserError(f"{folder} holds pickle weights ({pickles[0]}); only safetensors are read: convert it first")
    if entry is None:
        raise UserError(f"no weights in {folder} (neither {SINGLE_FILE} nor {INDEX_FILE})")
    say_which_weights(names, f"the checkpoint {folder}")
    if entry == INDEX_FILE:
        absent = sorted({f for f in weight_map(folder / entry).values() if not (folder / f).exists()})
        if absent:
            raise UserError(f"the checkpoint {folder} lacks shards: {', '.join(absent)}; fetch it again")
    config = read_json_object(folder / CONFIG_FILE)
    facts = require_family(config, folder)
    require_sizes(config, folder / CONFIG_FILE)
    refuse_two_rotations(config, folder)
    known = _known_settings(config, facts, folder)
    if (folder / GENERATION_FILE).exists():
        read_json_object(folder / GENERATION_FILE)
    if known.tie_word_embeddings:
        _refuse_own_output(folder)


def _known_settings(values: dict[str, Any], facts: FamilyFacts, folder: Path) -> Any:
    """The configuration as transformers reads it. Refuse one of which it makes no model, or another one than is meant.

    Raises:
        UserError: says what it stumbles over, such as a kind of rotary positions, or what it does not know.
    """
    config = read_config(folder)
    require_known_keys(values, [field.name for field in fields(config)], facts, folder / CONFIG_FILE)
    try:
        one_block_of_each(config)
    except Exception as error:  # the library has no class of its own for it
        raise unreadable(folder, error) from error
    return config


def _refuse_own_output(folder: Path) -> None:
    """Refuse weights that are not tied although the configuration says so: readers disagree on what they mean.

    transformers 4 drops the stored output projection, transformers 5 keeps it.

    Raises:
        UserError: the stored output projection is not the embedding.
    """
    tensors = CheckpointTensors(folder)
    if EMBEDDING_WEIGHT not in tensors.names:
        raise UserError(f"the checkpoint {folder} lacks 1 weights, first {EMBEDDING_WEIGHT}; fetch it again")
    if OUTPUT_WEIGHT not in tensors.names:
        return
    if not torch.equal(*tensors.read([EMBEDDING_WEIGHT, OUTPUT_WEIGHT]).values()):
        raise UserError(
            f"{folder / CONFIG_FILE} says tie_word_embeddings: true, but {OUTPUT_WEIGHT} differs from "
            f"{EMBEDDING_WEIGHT}: say false to keep {OUTPUT_WEIGHT}, or remove that weight to use the embedding in its "
            "place"
        )


def save_model(model: CausalLM, folder: Path, tokenizer: Path) -> None:
    """Write a complete checkpoint, tokenizer included, into an existing folder."""
    with writing_tensors(folder):
        model.save_pretrained(folder)
    copy_tokenizer(tokenizer, folder)
