"""The measurements of gpu.py, each of which returns what it found."""

import json
import os
import shutil
import statistics
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gpu_proof import Proof, Result
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlamaForCausalLM

from pruning_vs_scratch.config.training import ValidationConfig
from pruning_vs_scratch.data.tokenizer import save_tokenizer, train_bpe
from pruning_vs_scratch.data.tokens import write_tokens
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.files import sha256_of_file
from pruning_vs_scratch.models.checkpoint import save_model
from pruning_vs_scratch.models.decoder import config_of
from pruning_vs_scratch.pruning.masks import PackedMask
from pruning_vs_scratch.study import ModelShape, Target
from pruning_vs_scratch.training import loop
from pruning_vs_scratch.training.loss import sequence_losses
from pruning_vs_scratch.training.sharding import Whole, distributed_model
from pruning_vs_scratch.training.world import World

STEPS_BEFORE, STEPS = 2, 3
"""Of training: until compiling, autotuning and the allocator have settled; and measured."""


def environment(proof: Proof) -> Result:
    """Versions, and the peak of bf16 products."""
    found: Result = {"torch": torch.__version__, "python": sys.version.split()[0]}
    if proof.device.type == "cuda":
        found |= {
            "gpu": torch.cuda.get_device_name(),
            "memory_gb": round(torch.cuda.get_device_properties(0).total_memory / 1e9, 1),
        }
    size = 256 if proof.tiny else 8192
    a, b = (torch.randn(size, size, device=proof.device, dtype=torch.bfloat16) for _ in range(2))
    proof.timed(lambda: a @ b, 3)
    return found | {"matmul_teraflops": round(2 * size**3 / proof.timed(lambda: a @ b, 20) / 1e12, 2)}


def attention(proof: Proof, dtype: torch.dtype, backend: SDPBackend | None, grouped: bool, backward: bool) -> Result:
    """Milliseconds of causal attention over one sequence of the parent's heads, and what part of the peak that is."""
    heads, groups, channels = (4, 2, 16) if proof.tiny else (32, 8, 128)
    length, options = proof.sizes.length, {"device": proof.device, "dtype": dtype, "requires_grad": backward}
    query = torch.randn(1, heads, length, channels, **options)
    key, value = (torch.randn(1, groups if grouped else heads, length, channels, **options) for _ in "kv")

    def attend() -> None:
        found = functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=grouped)
        if backward:
            found.sum().backward()

    with sdpa_kernel([backend] if backend else list(SDPBackend.__members__.values())[1:]):
        attend()
        seconds = proof.timed(attend, 5)
    flops = (3.5 if backward else 1) * 2 * length**2 * heads * channels
    return {"ms": round(1e3 * seconds, 2), "causal_teraflops": round(flops / seconds / 1e12, 2)}


def training(proof: Proof, name: str, masks: dict[str, PackedMask] | None = None, **plan: Any) -> Result:
    """Speed and loss of some steps."""
    trainer = proof.trainer(name, masks, **plan)
    first = proof.timed(trainer.train_step)
    for _ in range(STEPS_BEFORE - 1 + STEPS):
        trainer.train_step()
    assert trainer.metrics is not None
    records = [json.loads(line) for line in trainer.metrics.path.read_text(encoding="utf-8").splitlines()][-STEPS:]
    speeds = {
        key: round(statistics.median(record[key] for record in records), 4)
        for key in ("tokens_per_second", "tflops_per_second", "mfu")
        if key in records[0]
    }
    return {"first_step_seconds": round(first, 1), "loss": round(records[-1]["loss"], 4), **speeds}


def training_as_of_several(proof: Proof, name: str, **plan: Any) -> Result:
    """The same with FSDP2 around the model, as with several processes: its hooks and dtypes, without their traffic."""
    if not distributed.is_initialized():
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29555", "RANK": "0", "WORLD_SIZE": "1"}
        distributed.init_process_group("gloo" if proof.device.type == "cpu" else "cpu:gloo,cuda:nccl")
    mesh = init_device_mesh(proof.device.type, (1,))

    def sharded(model: Any, world: World, precision: Any) -> Whole:
        return distributed_model(model, replace(world, size=2, mesh=mesh), precision)

    plain, loop.distributed_model = loop.distributed_model, sharded
    try:
        return training(proof, name, **plan)
    finally:
        loop.distributed_model = plain


def two_of_four(shape: ModelShape) -> dict[str, PackedMask]:
    """Masks that keep every second weight of the linear layers."""
    with torch.device("meta"):
        model = LlamaForCausalLM(config_of(shape, 8))
    pattern = torch.tensor([True, False, True, False])
    return {
        name: PackedMask.of(pattern.repeat(weight.numel() // 4).view(weight.shape))
        for name, weight in model.named_parameters()
        if "layers" in name and weight.ndim == 2
    }


def states(proof: Proof, beside: bool) -> Result:
    """Seconds that a save keeps training waiting, until the state is complete, and to load it; and whether it is it."""
    trainer = proof.trainer("1.24B", async_saves=beside)
    trainer.train_step()
    before = {name: weight.detach().float().sum().item() for name, weight in trainer.model.named_parameters()}
    waiting = proof.timed(trainer.save)
    complete = waiting + proof.timed(trainer.saves.finish)
    size = sum(file.stat().st_size for file in (proof.folder / "work").rglob("*.safetensors"))
    del trainer
    proof.clear()
    began = time.monotonic()
    again = proof.resumed("1.24B", async_saves=beside)
    loading = time.monotonic() - began
    same = all(before[name] == weight.detach().float().sum().item() for name, weight in again.model.named_parameters())
    seconds = {"waiting": waiting, "complete": complete, "loading": loading}
    return {"gb": round(size / 1e9, 2), "same": same} | {f"{key}_s": round(value, 1) for key, value in seconds.items()}


def perplexity(proof: Proof) -> Result:
    """Speed of losses on windows, as evaluation takes them."""
    shape, length = proof.sizes.models["2.80B"], proof.sizes.length
    model = proof.model(shape, torch.bfloat16).eval()
    windows = torch.from_numpy(Windows(proof.text, length, 0).read(np.arange(16)))
    sequence_losses(model, windows[:4], 4, 4096)
    seconds = proof.timed(lambda: sequence_losses(model, windows, 4, 4096))
    return {
        "tokens_per_second": round(16 * length / seconds),
        "teraflops": round(shape.forward_flops(16, length) / seconds / 1e12, 2),
    }


def stored(proof: Proof, dtype: torch.dtype) -> Result:
    """Write the checkpoint that pruning reads, and its calibration windows."""
    save_tokenizer(train_bpe(["the quick brown fox jumps over the lazy dog " * 20], 280), proof.folder / "tokenizer")
    model = proof.model(proof.sizes.models["2.80B"], dtype)
    model.config.dtype = str(dtype).removeprefix("torch.")
    folder = proof.folder / "stored"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    save_model(model, folder, proof.folder / "tokenizer")
    windows = np.random.default_rng(1).integers(0, proof.sizes.vocabulary, (32, proof.sizes.length + 1))
    np.save(proof.folder / "windows.npy", windows)
    return {}


def pruning(proof: Proof, method: str, *options: str, sequences: int = 32) -> Result:
    """Seconds and memory of a method by its command, low in memory as in study paper."""
    out = proof.folder / "pruned"
    shutil.rmtree(out, ignore_errors=True)
    seconds = proof.call(
        "prune.py", "--model", proof.folder / "stored", "--method", method, *options,
        "--calibration", proof.folder / "windows.npy", "--sequences", sequences, "--batch-size", 4,
        "--threads", proof.sizes.threads, "--low-memory", "--out", out,
    )  # fmt: skip
    record = json.loads((out / "pruning.json").read_text(encoding="utf-8"))
    return {
        "command_s": seconds,
        "prune_s": record["seconds"],
        "host_gb": round(record["peak_memory_bytes"] / 1e9, 1),
        "device_gb": round((record["peak_device_memory_bytes"] or 0) / 1e9, 2),
    }


def study(proof: Proof) -> Result:
    """Validation losses of a parent, of what two methods make of it, retrained, and from scratch, by the commands."""
    vocabulary, length = 512, 64 if proof.tiny else 1024
    tokenizer = proof.folder / "study-tokenizer"
    save_tokenizer(train_bpe(["the quick brown fox jumps over the lazy dog " * 20], 280), tokenizer)
    digest = sha256_of_file(tokenizer / "tokenizer.json")
    period = np.random.default_rng(3).integers(1, vocabulary, 997)
    for name, count in (("train", 700), ("validation", 40)):
        tokens = np.resize(period, count * (length + 1)).tolist()
        write_tokens(proof.folder / name, [tokens], vocab_size=vocabulary, shard_tokens=10**9, tokenizer_sha256=digest)
    sizes = (64, 128, 4, 2, 16) if proof.tiny else (512, 1408, 8, 4, 64)
    parent = ModelShape(vocabulary, 8, *sizes, False, 1e4, 1e-5)
    half = replace(parent, layers=4)
    for target in (Target("parent", None, 0.0, "dense", parent), Target("half", "depth", 0.5, "dense", half)):
        (proof.folder / f"{target.name}.json").write_text(json.dumps(target.to_dict()), encoding="utf-8")

    def trained(run: str, start: tuple[object, ...], steps: int, phase: str) -> float:
        plan = proof.plan(
            run=run, phase=phase, window_end=steps * 8, sequence_length=length, global_batch_size=8,
            micro_batch_size=4, loss_chunk_tokens=None, validation=ValidationConfig(sequences=8),
        )  # fmt: skip
        manifest = proof.folder / f"{run}.manifest.json"
        proof.call(
            "train.py", "--plan", plan.model_dump_json(), *start, "--tokens", proof.folder / "train",
            "--validation", proof.folder / "validation", "--tokenizer", tokenizer, "--work", proof.folder / "w",
            "--out", proof.folder / run, "--metrics", proof.folder / f"{run}.jsonl", "--manifest", manifest,
        )  # fmt: skip
        return round(json.loads(manifest.read_text(encoding="utf-8"))["facts"]["validation_loss"], 4)

    losses = {"parent": trained("parent", ("--target", proof.folder / "parent.json"), 40, "pretrain")}
    for method, goal in {
        "minitron_depth": ("--target", proof.folder / "half.json"),
        "sparsegpt": ("--ratio", "0.5"),
    }.items():
        out = proof.folder / f"parent-{method}"
        proof.call(
            "prune.py", "--model", proof.folder / "parent", "--method", method, *goal, "--calibration",
            proof.folder / "train", "--tokenizer", tokenizer, "--sequence-length", length, "--sequences", 16,
            "--batch-size", 4, "--out", out,
        )  # fmt: skip
        mask = ("--mask", out) if method == "sparsegpt" else ()
        losses[method] = trained(f"R-{method}", ("--model", out, *mask), 20, "retrain")
    losses["scratch"] = trained("S", ("--target", proof.folder / "half.json"), 20, "scratch")
    return {"validation_losses": losses}
