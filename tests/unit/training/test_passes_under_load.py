"""Training on several threads gives the same bits each time on a machine that is busy with other work."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from models import tiny_model
from pruning_vs_scratch.config.training import DistillationConfig
from pruning_vs_scratch.training import loop, passes
from training_world import half_mask, make_trainer, random_store, weights

REPETITIONS = 15
"""Of each of the seven kinds of runs: 105 in all."""
BUSY_PROCESSES = 3


class LateWorkers(ThreadPoolExecutor):
    """Workers that come to their first pass up to 30 ms late, as on a busy machine."""

    def __init__(self, count: int, initializer: Any, initargs: tuple[Any, ...]) -> None:
        lateness = random.Random(0)

        def late(*arguments: Any) -> None:
            initializer(*arguments)
            time.sleep(0.03 * lateness.random())

        super().__init__(count, initializer=late, initargs=initargs)


@pytest.fixture
def busy_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes that want the cores, workers that start late, three threads, and products that depend on them."""
    monkeypatch.setattr(passes, "LEAST_TOKENS", 1)
    monkeypatch.setattr(passes, "ThreadPoolExecutor", LateWorkers)
    # MKL's products differ in the last digit with the number of threads; oneDNN's do not at this size.
    monkeypatch.setattr(loop, "use_fastest_linear", lambda *_: None)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY_PROCESSES)]
    yield
    for process in busy:
        process.kill()
        process.wait()
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"masks": half_mask},
        {"loss_chunk_tokens": 8},
        {"distillation": DistillationConfig(temperature=2.0, weight=0.5)},
        {"attention": "document"},
        {"activation_checkpointing": True},
        {"precision": "bf16"},
    ],
    ids=["dense", "sparse", "chunked", "distilled", "documents", "checkpointed", "bf16"],
)
def test_runs_under_load_are_the_same(tmp_path: Path, busy_machine: None, changes: dict[str, Any]) -> None:
    store = random_store(tmp_path)
    plan: dict[str, Any] = {"precision": "fp32"} | changes
    masks = plan.pop("masks", dict)
    kept = {"separator": 7} if "attention" in changes else {}
    found = []
    for repetition in range(REPETITIONS):
        teacher = tiny_model(vocab_size=300) if "distillation" in changes else None
        trainer = make_trainer(store, tmp_path / str(repetition), masks(), teacher=teacher, **kept, **plan)
        assert trainer.passes.count == 3
        trainer.train()
        found.append(weights(trainer))
    different = [
        repetition
        for repetition, others in enumerate(found)
        if any(not torch.equal(tensor, others[name]) for name, tensor in found[0].items())
    ]
    assert not different
