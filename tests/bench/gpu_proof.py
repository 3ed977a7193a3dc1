"""What the cases of gpu.py share: sizes, models, trainers, commands, and a log of what each case returned."""

import argparse
import gc
import json
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaForCausalLM

from pruning_vs_scratch.config.training import CosineSchedule, OptimizerConfig, ValidationConfig
from pruning_vs_scratch.data.tokens import TokenArray
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.models.decoder import config_of
from pruning_vs_scratch.pruning.masks import PackedMask
from pruning_vs_scratch.study import ModelShape, TrainingPlan
from pruning_vs_scratch.training.loop import Trainer
from pruning_vs_scratch.training.task import TrainingTask
from pruning_vs_scratch.training.world import World

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
SECONDS_OF_A_CASE = 25
"""Left at the least when a case begins."""
Result = dict[str, Any]


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
    """Runs cases one by one and records what they return."""

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
                return LlamaForCausalLM(config_of(shape, self.sizes.length))
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
        windows = Windows(self.text, self.sizes.length, 0)
        return Trainer(
            TrainingTask(self.plan(**plan), self.model(self.sizes.models[name]), windows), masks=masks or {},
            validation=Windows(self.text, self.sizes.length, 1),
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
