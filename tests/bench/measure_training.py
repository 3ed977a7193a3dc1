"""One measurement of bench/training.py, in a separate process: prints it as JSON.

speed SIDE PRECISION THREADS    seconds of a step of a small model, the median of those after the warm-up
memory CHUNK                    megabytes that a forward and backward pass at a large vocabulary takes
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import TrainerCallback, TrainingArguments

from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.data.tokens import TokenArray
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.models.decoder import random_model
from pruning_vs_scratch.models.device import keep_freed_memory
from pruning_vs_scratch.study import ModelShape, TrainingPlan
from pruning_vs_scratch.training.loop import Trainer
from pruning_vs_scratch.training.loss import loss_sum
from pruning_vs_scratch.training.task import TrainingTask
from pruning_vs_scratch.training.world import World

STEPS, WARMUP = 16, 6
ROOT = Path(__file__).parents[2]
SIDES: dict[str, dict[str, Any]] = {"ours": {}, "compiled": {"compile": True}}
VOCABULARY = 1024
SHAPE = {"layers": 8, "hidden_size": 96, "ffn_size": 256, "heads": 6, "kv_heads": 3, "head_dim": 16}
BATCH = {"global_batch_size": 16, "micro_batch_size": 16, "peak_learning_rate": 3e-3}
LARGE = ModelShape(131072, 1, 64, 128, 4, 4, 16, True, 1e4, 1e-5)


def main() -> None:
    """Print one measurement."""
    kind, *rest = sys.argv[1:]
    if kind == "memory":
        found: dict[str, Any] = {"megabytes": loss_memory(int(rest[0]) or None)}
    else:
        side, precision, threads = rest
        torch.set_num_threads(int(threads))
        found = hugging_face(precision) if side == "trainer" else ours(side, precision)
    sys.stdout.write(json.dumps(found) + "\n")


def ours(side: str, precision: str) -> dict[str, Any]:
    """Seconds of a step of our loop, and the arithmetic that it took."""
    keep_freed_memory()
    plan, shape = measured()
    changed = SIDES[side] | {"precision": precision, "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as folder:
        windows = Windows(TokenArray(tokens(plan, shape).flatten(), "random"), plan.sequence_length, 0)
        model = random_model(shape, plan.sequence_length, 0)
        trainer = Trainer(
            TrainingTask(plan.model_copy(update=changed), model, windows), masks={},
            validation=None, work=Path(folder), world=World(torch.device("cpu")),
        )  # fmt: skip
        trainer.train_step()
        times = [time.perf_counter()]
        for _ in range(STEPS):
            trainer.train_step()
            times.append(time.perf_counter())
    return {"seconds": step_seconds(times), "precision": trainer.precision}


def hugging_face(precision: str) -> dict[str, Any]:
    """Seconds of a step of the Hugging Face Trainer: same model, batch, optimiser and clipping, text in memory."""
    plan, shape = measured()
    rows = [{"input_ids": row, "labels": row} for row in torch.from_numpy(tokens(plan, shape)[:, :-1])]
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=plan.global_batch_size, max_steps=STEPS + 1,
            learning_rate=plan.peak_learning_rate, weight_decay=plan.optimizer.weight_decay,
            adam_beta2=plan.optimizer.beta2, max_grad_norm=plan.optimizer.gradient_clip, lr_scheduler_type="cosine",
            bf16=precision == "bf16", use_cpu=True, save_strategy="no", report_to=[], disable_tqdm=True,
        )  # fmt: skip
        model = random_model(shape, plan.sequence_length, 0)
        trainer = transformers.Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Clock()])
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return {"seconds": step_seconds(times), "precision": precision}


def measured() -> tuple[TrainingPlan, ModelShape]:
    """A model of 0.9M parameters and the demo's recipe at a larger batch, for the steps of a measurement."""
    config = load_config([ROOT / "config/config.yaml"])
    training = config.training.model_copy(update=BATCH)
    shape = replace(ModelShape.of(config.parent.shape, VOCABULARY), **SHAPE)
    count = (STEPS + 1) * training.global_batch_size * training.sequence_length
    plan = TrainingPlan.of(training, run="bench", phase="pretrain", seed=0, start_token=0, tokens=count)
    return plan.model_copy(update={"validation": None, "checkpoint_every_steps": 10**9}), shape


def tokens(plan: TrainingPlan, shape: ModelShape) -> np.ndarray:
    """Random windows, shape (sequences, length + 1)."""
    return np.random.default_rng(0).integers(0, shape.vocab_size, (plan.sequences, plan.sequence_length + 1))


def step_seconds(times: list[float]) -> float:
    """Median step after the warm-up."""
    return statistics.median(np.diff(times)[WARMUP:])


def loss_memory(chunk: int | None) -> float:
    """Peak memory of a forward and backward pass of 1,024 tokens above that of the model, in megabytes."""
    torch.set_num_threads(1)
    model = random_model(LARGE, 257, 0)
    text = torch.arange(4 * 257).view(4, 257)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loss_sum(model, text[:, :-1], text[:, 1:], chunk).backward()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3


if __name__ == "__main__":
    main()
