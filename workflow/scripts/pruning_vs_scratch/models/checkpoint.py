"""Plain Hugging Face checkpoints: safetensors only, no remote code."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from pruning_vs_scratch.data.tokenizer import copy_tokenizer
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import INDEX_FILE, PICKLE_SUFFIXES, SINGLE_FILE, read_json
from pruning_vs_scratch.models.tensors import writing_tensors

disable_progress_bar()

SUPPORTED = ("LlamaForCausalLM", "MistralForCausalLM")
"""Architectures of one form: grouped-query attention, gated feed-forward, RMSNorm, rotary positions."""


def load_llama(folder: Path) -> LlamaForCausalLM:
    """Load a checkpoint in fp32 on the CPU.

    Raises:
        UserError: it is missing, incomplete, damaged, a pickle, or not a Llama.
    """
    folder = Path(folder)
    check_checkpoint(folder)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except SafetensorError as error:
        raise UserError(f"the weights of the checkpoint {folder} are damaged ({error}); fetch it again") from error
    model, report = loaded
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    missing = sorted(set(report["missing_keys"]) - tied)
    if missing:
        raise UserError(f"the checkpoint {folder} lacks {len(missing)} weights, first {missing[0]}; fetch it again")
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise UserError(f"{name} of the checkpoint {folder} holds NaN or inf; fetch or train it again")
    return model


def read_llama_config(folder: Path) -> Any:
    """The configuration of a checkpoint."""
    return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def check_checkpoint(folder: Path) -> None:
    """Refuse a folder that is no complete safetensors checkpoint of a supported architecture.

    Raises:
        UserError: says which file or architecture is the trouble.
    """
    if not (folder / "config.json").exists():
        raise UserError(f"no checkpoint in {folder} (config.json is missing)")
    weights = [name for name in (SINGLE_FILE, INDEX_FILE) if (folder / name).exists()]
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLE_SUFFIXES)
    if not weights and pickles:
        raise UserError(f"{folder} holds pickle weights ({pickles[0]}); only safetensors are read: convert it first")
    if not weights:
        raise UserError(f"no weights in {folder} (neither {SINGLE_FILE} nor {INDEX_FILE})")
    index = folder / INDEX_FILE
    if index.exists():
        absent = sorted({f for f in read_json(index)["weight_map"].values() if not (folder / f).exists()})
        if absent:
            raise UserError(f"the checkpoint {folder} lacks shards: {', '.join(absent)}; fetch it again")
    config = read_json(folder / "config.json")
    architectures = config.get("architectures") or ["unknown architecture"]
    if architectures[0] not in SUPPORTED:
        raise UserError(f"{folder} is a {architectures[0]}; supported: {', '.join(SUPPORTED)}")
    if config.get("quantization_config"):
        raise UserError(f"{folder} is quantised; prune the checkpoint that it was made of, or dequantise it first")


def save_llama(model: LlamaForCausalLM, folder: Path, tokenizer: Path) -> None:
    """Write a complete checkpoint, tokenizer included, into an existing folder."""
    with writing_tensors(folder):
        model.save_pretrained(folder)
    copy_tokenizer(tokenizer, folder)
