"""States written in the background: from the moment of the save, one at a time, and never lost silently."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from pruning_vs_scratch.training import saves
from pruning_vs_scratch.training.loop import Trainer
from training_world import make_trainer, moments, random_store, untimed_metrics, weights

STEPS = 3


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Writing waits until this is set."""
    gate, write = threading.Event(), saves.save_state

    def wait_and_write(*arguments: Any, **options: Any) -> None:
        assert gate.wait(60)
        write(*arguments, **options)

    monkeypatch.setattr(saves, "save_state", wait_and_write)
    return gate


def trainer_of(tmp_path: Path, name: str = "work") -> Trainer:
    """A trainer that saves in the background."""
    return make_trainer(random_store(tmp_path), tmp_path / name, async_saves=True)


def saved_and_trained_on(trainer: Trainer) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    """Weights and moments when the state was saved; training is two steps further."""
    for _ in range(STEPS):
        trainer.train_step()
    trainer.save()
    then = weights(trainer), [moment.clone() for moment in moments(trainer)]
    for _ in range(2):
        trainer.train_step()
    return then


def test_a_state_is_that_of_the_moment_it_was_saved_in(tmp_path: Path, held: threading.Event) -> None:
    trainer = trainer_of(tmp_path)
    then_weights, then_moments = saved_and_trained_on(trainer)
    assert not list((tmp_path / "work").glob("step-*"))
    assert trainer.saves.latest is None
    held.set()
    trainer.saves.finish()
    assert trainer.saves.latest == STEPS
    resumed = trainer_of(tmp_path)
    assert resumed.state.step == STEPS
    assert not torch.equal(weights(trainer)["model.norm.weight"], then_weights["model.norm.weight"])
    assert all(torch.equal(weights(resumed)[name], value) for name, value in then_weights.items())
    assert all(map(torch.equal, moments(resumed), then_moments))
    assert [record["step"] for record in untimed_metrics(resumed)] == [*range(1, STEPS + 1)]


def test_a_second_save_waits_for_the_first(tmp_path: Path, held: threading.Event) -> None:
    trainer = trainer_of(tmp_path)
    saved_and_trained_on(trainer)
    threading.Timer(0.3, held.set).start()
    trainer.save()
    assert trainer.saves.latest == STEPS
    trainer.saves.finish()
    assert [folder.name for folder in (tmp_path / "work").glob("step-*")] == [f"step-{STEPS + 2:08d}"]


def test_a_run_ends_with_its_last_state_complete(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path)
    trainer.train()
    assert [folder.name for folder in (tmp_path / "work").glob("step-*")] == ["step-00000009"]


def test_an_error_in_the_background_ends_the_run_at_its_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saves, "save_state", fail)
    trainer = trainer_of(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        trainer.train()
    assert trainer.state.step <= 6
