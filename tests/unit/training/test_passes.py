"""Passes at the same time add up to one pass over all, the same to the last bit each time."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from models import tiny_model
from pruning_vs_scratch.config.training import DistillationConfig
from pruning_vs_scratch.training import passes
from pruning_vs_scratch.training.passes import Passes, fitting_passes
from training_world import make_trainer, random_store, untimed_metrics, weights

CPU = torch.device("cpu")


@pytest.fixture
def three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three threads, and no micro-batch too small for three passes."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    monkeypatch.setattr(passes, "LEAST_TOKENS", 1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_gradients_are_those_of_the_plain_sum(count: int) -> None:
    weight, frozen = torch.randn(4, 3, requires_grad=True), torch.randn(3)
    batches = [torch.randn(size, 4) for size in (6, 5, 1)]
    (expected,) = torch.autograd.grad(sum(((b @ weight + frozen) ** 2).sum() for b in batches), weight)

    def loss(part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return ((part @ weight + frozen) ** 2).sum(), torch.tensor([1.0, len(part)])

    several = Passes(count, [weight, frozen])
    numbers = [several.add_gradients(loss, batch).tolist() for batch in batches]
    torch.testing.assert_close(weight.grad, expected)
    assert [rows for _, rows in numbers] == [6, 5, 1]
    assert numbers[0][0] == {1: 1, 2: 2, 3: 3, 5: 3}[count]
    assert frozen.grad is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"micro_batch_size": 3},
        {"activation_checkpointing": True},
        {"loss_chunk_tokens": 8},
        {"distillation": DistillationConfig(temperature=2.0, weight=0.5)},
        {"attention": "document"},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_a_run_is_the_same_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, three_threads: None, changes: dict[str, Any]
) -> None:
    store = random_store(tmp_path)
    kept = {"separator": 7} if "attention" in changes else {}
    plan = {"precision": "fp32"} | changes
    runs = []
    for name, least in (("one", 1000), ("three", 1), ("again", 1)):
        monkeypatch.setattr(passes, "LEAST_TOKENS", least)
        teacher = tiny_model(vocab_size=300) if "distillation" in changes else None
        trainer = make_trainer(store, tmp_path / name, teacher=teacher, **kept, **plan)
        assert (trainer.passes.count > 1) == (least == 1)
        trainer.train()
        runs.append(trainer)
    one, three, again = ([record.get("loss") for record in untimed_metrics(run)] for run in runs)
    assert three == pytest.approx(one, abs=1e-5 if plan["precision"] == "fp32" else 1e-3)
    assert three == again
    assert all(torch.equal(a, b) for a, b in zip(weights(runs[1]).values(), weights(runs[2]).values(), strict=True))
    assert torch.get_num_threads() == 3


def test_a_worker_keeps_its_threads_however_late_it_starts_to_work(three_threads: None) -> None:
    """The main thread has set its own number again by then."""
    several = Passes(2, [torch.zeros(1, requires_grad=True)])
    workers = several._pool
    both_are_there = threading.Barrier(2)
    list(workers.map(lambda _: both_are_there.wait(), range(2)))
    torch.set_num_threads(3)

    def number_after_an_operation(_: int) -> int:
        torch.ones(1 << 17).add_(1)
        both_are_there.wait()
        return torch.get_num_threads()

    assert list(workers.map(number_after_an_operation, range(2))) == [1, 1]


@pytest.mark.parametrize(("count", "inside"), [(1, 3), (2, 1)])
def test_between_passes_one_thread_works(three_threads: None, count: int, inside: int) -> None:
    several = Passes(count, [torch.zeros(1, requires_grad=True)])
    with pytest.raises(ZeroDivisionError), several.cores_kept_free():
        assert torch.get_num_threads() == inside
        raise ZeroDivisionError
    assert torch.get_num_threads() == 3


def test_there_are_as_many_as_threads_tokens_and_memory_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    small, large = [torch.zeros(10)], [torch.zeros(1, device="meta").expand(1 << 25)]
    assert [fitting_passes(tokens, small, CPU) for tokens in (100, 2048, 3000, 10**6)] == [1, 2, 2, 4]
    assert fitting_passes(10**6, large, CPU) == 2
    assert fitting_passes(10**6, [*large, *large, *large], CPU) == 1
    assert fitting_passes(10**6, small, torch.device("cuda")) == 1
