"""make gpu-proof: the GPU path measured on one GPU in ten minutes, a line of JSON per case.

What is measured: bf16 products and attention kernels; tokens/s, MFU and memory of training at a length of 8,192, eager,
compiled, with blocks run again, in the arithmetic of several processes (FSDP2 without traffic), with a fused loss, in
float8 and sparse; states saved at once and beside the training; perplexity; pruning methods on blocks of 8B's width,
stored in bf16 and in fp32; a small study by the commands. A case that fails or finds no time says so and the next one
runs. --tiny is a check of this file on CPUs.
"""

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlamaForCausalLM

from pruning_vs_scratch.config.training import CosineSchedule, OptimizerConfig, ValidationConfig
from pruning_vs_scratch.data.tokenizer import save_tokenizer, train_bpe
from pruning_vs_scratch.data.tokens import TokenArray, write_tokens
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.files import sha256_of_file
from pruning_vs_scratch.models.checkpoint import save_llama
from pruning_vs_scratch.models.llama import llama_config
from pruning_vs_scratch.pruning.masks import PackedMask
from pruning_vs_scratch.study import ModelShape, Target, TrainingPlan
from pruning_vs_scratch.training import loop
from pruning_vs_scratch.training.loop import Trainer
from pruning_vs_scratch.training.loss import sequence_losses
from pruning_vs_scratch.training.sharding import Whole, distributed_model
from pruning_vs_scratch.training.world import World

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
SECONDS_OF_A_CASE = 25
"""Left at the least when a case begins."""
STEPS_BEFORE, STEPS = 2, 3
"""Of training: until compiling, autotuning and the allocator have settled; and measured."""
Result = dict[str, Any]

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--stages", nargs="+", metavar="STAGE", help="only these")
parser.add_argument("--seconds", type=float, default=570, help="time for all (default: 570)")
parser.add_argument("--out", type=Path, default=Path("gpu-proof.jsonl"), help="file that lines are added to")
parser.add_argument("--tiny", action="store_true", help="tiny models, on CPUs too")


@dataclass(frozen=True)
class Sizes:
    """What is measured, at full size or tiny."""

    length: int
    vocabulary: int
    models: dict[str, ModelShape]
    compiled: tuple[bool, ...]
    threads: int

    @classmethod
    def of(cls, tiny: bool) -> "Sizes":
        """Llama-3.2-1B, and models of 2 to 8 of the blocks of Llama-3.1-8B."""
        if tiny:
            small = ModelShape(512, 2, 64, 128, 4, 2, 16, False, 5e5, 1e-5)
            return cls(64, 512, dict.fromkeys(("1.24B", "1.49B", "2.80B"), small), (False,), 1)
        wide = ModelShape(128256, 8, 4096, 14336, 32, 8, 128, False, 5e5, 1e-5)
        models = {
            "1.24B": ModelShape(128256, 16, 2048, 8192, 32, 8, 64, True, 5e5, 1e-5),
            "1.49B": replace(wide, layers=2),
            "2.80B": wide,
        }
        return cls(8192, 128256, models, (False, True), 8)


class Proof:
    """Runs cases one after the other and writes down what they return."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.sizes = Sizes.of(args.tiny)
        self.tiny = args.tiny
        self.folder = folder
        self.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        self.text = TokenArray(
            np.random.default_rng(0).integers(0, self.sizes.vocabulary, 400 * (self.sizes.length + 1)), "random"
        )
        self._wanted, self._end, self._log = args.stages, time.monotonic() + args.seconds, args.out.open("a")

    @property
    def seconds_left(self) -> float:
        """Until the time is up."""
        return self._end - time.monotonic()

    def case(self, stage: str, name: str, measure: Callable[[], Result]) -> None:
        """Run one case, if its stage is wanted and there is time."""
        if self._wanted and stage not in self._wanted:
            return
        found: Result = {"stage": stage, "case": name}
        if self.seconds_left < SECONDS_OF_A_CASE:
            found |= {"skipped": "no time left"}
        else:
            self.clear()
            began = time.monotonic()
            try:
                found |= measure()
            except Exception as error:
                # The next case may pass.
                found |= {"failed": repr(error)[:300], "where": traceback.format_exc()[-600:]}
            found |= {"peak_gb": self.peak_gigabytes(), "seconds": round(time.monotonic() - began, 1)}
            self.clear()
        line = json.dumps(found, default=str) + "\n"
        for stream in (sys.stdout, self._log):
            stream.write(line)
            stream.flush()

    def clear(self) -> None:
        """Forget what the last case held and compiled."""
        gc.collect()
        torch._dynamo.reset()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_gigabytes(self) -> float | None:
        """Most memory of tensors on the GPU since ``clear``."""
        return round(torch.cuda.max_memory_allocated() / 1e9, 2) if self.device.type == "cuda" else None

    def timed(self, work: Callable[[], object], times: int = 1) -> float:
        """Seconds of some work, the mean of several times."""
        self._wait()
        began = time.monotonic()
        for _ in range(times):
            work()
        self._wait()
        return (time.monotonic() - began) / times

    def model(self, shape: ModelShape, dtype: torch.dtype = torch.float32) -> Any:
        """A random model on the device."""
        torch.manual_seed(0)
        torch.set_default_dtype(dtype)
        try:
            with self.device:
                return LlamaForCausalLM(llama_config(shape, self.sizes.length))
        finally:
            torch.set_default_dtype(torch.float32)

    def plan(self, **changes: Any) -> TrainingPlan:
        """A token plan in bf16."""
        values = {
            "run": "proof", "phase": "scratch", "seed": 0, "init_seed": 0, "window_start": 0, "window_end": 64,
            "sequence_length": self.sizes.length, "global_batch_size": 4, "micro_batch_size": 2,
            "attention": "window", "peak_learning_rate": 3e-4, "precision": "bf16", "loss_chunk_tokens": 2048,
            "fused_loss": False, "activation_checkpointing": True, "compile": False, "float8": False,
            "sharding": "all", "mask_gradients": "before_clip", "threads": self.sizes.threads,
            "optimizer": OptimizerConfig(), "schedule": CosineSchedule(), "distillation": None,
            "validation": ValidationConfig(sequences=4), "checkpoint_every_steps": 1000,
            "checkpoint_every_minutes": None, "keep_checkpoints": 1, "async_saves": False,
        }  # fmt: skip
        return TrainingPlan.model_validate(values | changes)

    def trainer(self, name: str, masks: dict[str, PackedMask] | None = None, **plan: Any) -> Trainer:
        """A trainer of a model by its name, with nothing to resume from."""
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        return self.resumed(name, masks, **plan)

    def resumed(self, name: str, masks: dict[str, PackedMask] | None = None, **plan: Any) -> Trainer:
        """A trainer that resumes from what the one before saved."""
        return Trainer(
            self.plan(**plan), self.model(self.sizes.models[name]), masks=masks or {},
            train=Windows(self.text, self.sizes.length, 0), validation=Windows(self.text, self.sizes.length, 1),
            work=self.folder / "work", world=World(self.device),
        )  # fmt: skip

    def call(self, script: str, *options: object) -> float:
        """Seconds of a command of the workflow."""
        command = [sys.executable, str(SCRIPTS / script), *map(str, options)]
        began = time.monotonic()
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=self.folder, timeout=max(10, self.seconds_left)
        )
        if done.returncode != 0:
            raise RuntimeError(f"{script}: {done.stderr[-400:]}")
        return round(time.monotonic() - began, 1)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


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
        model = LlamaForCausalLM(llama_config(shape, 8))
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
    save_llama(model, folder, proof.folder / "tokenizer")
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


def all_cases(proof: Proof) -> None:
    """The cases in the order of what is asked most."""
    proof.case("environment", "", lambda: environment(proof))
    half, full = torch.bfloat16, torch.float32
    kernels = [(half, None, True), (full, None, True), (full, None, False)]
    if proof.device.type == "cuda":
        kernels += [(half, SDPBackend.FLASH_ATTENTION, True), (half, SDPBackend.CUDNN_ATTENTION, True)]
    for dtype, backend, grouped in kernels:
        name = f"{dtype}, {backend.name if backend else 'default'}, {'grouped' if grouped else 'repeated'} heads"
        for backward in (False, True)[: 1 + (dtype == half)]:
            proof.case(
                "attention", name + ", backward too" * backward,
                lambda d=dtype, b=backend, g=grouped, w=backward: attention(proof, d, b, g, w),
            )  # fmt: skip
    variants: dict[str, Result] = {
        "all blocks run again": {},
        "each second block run again": {"activation_checkpointing": 2},
        "no block run again": {"activation_checkpointing": False},
        "auto, one sequence at a time": {"activation_checkpointing": "auto", "micro_batch_size": 1},
        "auto, logits of 8192 tokens": {"activation_checkpointing": "auto", "loss_chunk_tokens": 8192},
        "auto, fused loss": {"activation_checkpointing": "auto", "fused_loss": True},
    }
    for compiled in proof.sizes.compiled:
        how = "compiled" if compiled else "eager"
        for name, changes in variants.items():
            proof.case(
                "training", f"1.24B {how}, {name}",
                lambda c=compiled, v=changes: training(proof, "1.24B", compile=c, **v),
            )  # fmt: skip
        for model in ("1.49B", "2.80B"):
            proof.case(
                "training", f"{model} {how}, auto",
                lambda c=compiled, m=model: training(proof, m, compile=c, activation_checkpointing="auto"),
            )  # fmt: skip
        proof.case(
            "sharded", f"2.80B {how}, auto",
            lambda c=compiled: training_as_of_several(proof, "2.80B", compile=c, activation_checkpointing="auto"),
        )  # fmt: skip
    last = proof.sizes.compiled[-1]
    proof.case(
        "float8", "1.24B", lambda: training(proof, "1.24B", compile=last, activation_checkpointing="auto", float8=True)
    )
    masks = two_of_four(proof.sizes.models["1.24B"])
    proof.case("sparse", "1.24B, 2:4", lambda: training(proof, "1.24B", masks, compile=last))
    for beside in (False, True):
        proof.case("states", "1.24B, " + ("beside" if beside else "at once"), lambda b=beside: states(proof, b))
    proof.case("perplexity", "2.80B bf16", lambda: perplexity(proof))
    proof.case("study", "by the commands", lambda: study(proof))
    shape = f"layers={proof.sizes.models['2.80B'].layers // 2}"
    methods = {
        "wanda": ("--ratio", "0.5"), "sparsegpt": ("--pattern", "2:4"), "minitron_depth": ("--shape", shape),
        "minitron_width": ("--ratio", "0.5"), "flap": ("--ratio", "0.5"), "shortgpt": ("--shape", shape),
    }  # fmt: skip
    for dtype, precisions in ((half, ("auto",)), (full, ("auto", "fp32"))):
        name = str(dtype).removeprefix("torch.")
        proof.case("pruning", f"writing the parent in {name}", lambda d=dtype: stored(proof, d))
        for precision in precisions:
            for method, goal in methods.items() if dtype == half else [("wanda", methods["wanda"])]:
                proof.case(
                    "pruning", f"{method}, stored in {name}, precision {precision}",
                    lambda m=method, g=goal, p=precision: pruning(proof, m, *g, "--precision", p),
                )  # fmt: skip


if __name__ == "__main__":
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        all_cases(Proof(arguments, Path(temporary)))
