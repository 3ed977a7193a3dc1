"""Curves shown live: the real TensorBoard, and the real Weights & Biases where it is installed."""

import json
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.training.reporters import reporters
from training_world import make_trainer, random_store, untimed_metrics


def test_tensorboard_shows_what_the_metrics_hold_also_after_a_kill(tmp_path: Path) -> None:
    store = random_store(tmp_path)
    with reporters(["tensorboard"], tmp_path, "a-run") as shown:
        cut = make_trainer(store, tmp_path / "work", reporters=shown)
        for _ in range(3):
            cut.train_step()
        cut.save()
        cut.train_step()
    with reporters(["tensorboard"], tmp_path, "a-run") as shown:
        trainer = make_trainer(store, tmp_path / "work", reporters=shown)
        trainer.train()
    events = EventAccumulator(str(tmp_path / "tensorboard/a-run"))
    events.Reload()
    for name in ("loss", "gradient_norm", "validation_loss"):
        expected = [(r["step"], r[name]) for r in untimed_metrics(trainer) if name in r]
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == [step for step, _ in expected]
        assert [value for _, value in found] == pytest.approx([value for _, value in expected])


def test_weights_and_biases_takes_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with reporters(["wandb"], tmp_path, "a-run") as [shown]:
        shown.add({"step": 1, "loss": 2.5})
        shown.add({"step": 2, "loss": 2.25})
    [log] = (tmp_path / "wandb").glob("wandb/offline-run-*/run-*.wandb")
    text = log.read_bytes()
    assert b"loss" in text
    assert b"2.25" in text
    assert str(tmp_path).encode() not in text


def test_a_library_that_is_missing_is_named_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in (("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")):
        monkeypatch.setitem(sys.modules, module, None)
        missing = pytest.raises(UserError, match=f"report_to: {name} is not installed: pip install")
        with missing, reporters([name], tmp_path, "a-run"):
            pass


def test_nothing_is_written_unless_asked_for(tmp_path: Path) -> None:
    with reporters([], tmp_path / "shown", "a-run") as shown:
        make_trainer(random_store(tmp_path), tmp_path / "work", reporters=shown).train_step()
    assert not (tmp_path / "shown").exists()
    assert json.loads((tmp_path / "work/metrics.jsonl").read_text())["step"] == 1
