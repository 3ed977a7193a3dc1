"""Scoring of depth that is killed resumes with the losses that are finished, and ends with the same bits."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models import Case
from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.files import sha256_of_file
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.finished_losses import FinishedLosses
from pruning_world import World

CASES = {"minitron_depth": Case("minitron_depth", options={"criterion": "closest"}), "sleb": Case("sleb")}
SAVES = {"minitron_depth": 3, "sleb": 6}
"""One after each of three batches; SLEB takes two rounds."""
each_method = pytest.mark.parametrize("method", CASES)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def score(world: World, method: str) -> None:
    world.score(CASES[method])


def prune_by_hand(world: World, method: str) -> None:
    words = ["--shape", "layers=2", "--calibration", world.array, "--batch-size", 2, "--threads", 1]
    world.by_hand(method, *words, "--options", json.dumps(CASES[method].options))


WAYS: dict[str, Callable[[World, str], None]] = {"score": score, "prune": prune_by_hand}


def result(world: World, way: str) -> dict[str, Any]:
    """Hashes of what was written, and the operations that it took."""
    if way == "score":
        return {"scores": sha256_of_file(world.scores), "facts": read_manifest(world.folder / "scores.json")["facts"]}
    row = read_manifest(world.out.parent / "run.manifest.json")["facts"]["ledger"]
    summary = world.summary()
    weights = sha256_of_file(world.out / "model.safetensors")
    return {"weights": weights, "scores": summary["scores"], "kept": summary["kept"], "flops": row["flops"]}


def losses_file(world: World, way: str) -> Path:
    out = world.scores if way == "score" else world.out
    return out.with_name(f"{out.name}.losses.json")


def killed_at(folder: Path, way: str, method: str, number: int) -> None:
    """Run a command, in a separate process, that is killed in the middle of a save after a number of others."""
    torch.set_num_threads(1)
    saved, save = [], FinishedLosses.save

    def counted(self: FinishedLosses) -> None:
        saved.append(self)
        if len(saved) > number:
            os.kill(os.getpid(), signal.SIGKILL)
        save(self)

    FinishedLosses.save = counted  # type: ignore[method-assign]
    WAYS[way](World(folder), method)


@pytest.mark.slow
@pytest.mark.parametrize(("way", "method", "number"), [("score", "sleb", 4), ("prune", "minitron_depth", 2)])
def test_a_killed_step_resumes_and_ends_with_the_same_bits(
    way: str, method: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = World(tmp_path / "whole")
    WAYS[way](whole, method)
    process = multiprocessing.get_context("spawn").Process(
        target=killed_at, args=(tmp_path / "cut", way, method, number)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    cut = World(tmp_path / "cut")
    assert losses_file(cut, way).exists()
    assert not cut.scores.exists()
    assert not cut.out.exists()
    batches, take = [], CalibrationStream.language_model_loss

    def counted(self: CalibrationStream, batch: slice, states: torch.Tensor) -> float:
        batches.append(batch)
        return take(self, batch, states)

    monkeypatch.setattr(CalibrationStream, "language_model_loss", counted)
    WAYS[way](cut, method)
    assert result(cut, way) == result(whole, way)
    # SLEB: two batches of the second round, with two candidates; minitron: one batch, three starts and the whole.
    assert len(batches) == {"sleb": 2 * 1, "minitron_depth": 4}[method]
    assert not losses_file(cut, way).exists()


@each_method
def test_finished_losses_are_written_after_each_batch_and_deleted_at_the_end(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, texts, save = World(tmp_path), [], FinishedLosses.save

    def seen(self: FinishedLosses) -> None:
        save(self)
        texts.append(losses_file(world, "score").read_text())

    monkeypatch.setattr(FinishedLosses, "save", seen)
    score(world, method)
    windows = [[each["windows"] for each in json.loads(text)["passes"]] for text in texts]
    rounds = [[2], [4], [5]]
    assert windows == (rounds if method == "minitron_depth" else [*rounds, *([5, *each] for each in rounds)])
    assert len(texts) == SAVES[method]
    assert not losses_file(world, "score").exists()


def changed_text(text: str) -> str:
    values = json.loads(text)
    values["passes"][0]["sums"][0] += 1
    return json.dumps(values)


DAMAGE: dict[str, Callable[[str], str]] = {
    "changed": changed_text,
    "cut": lambda text: text[:-9],
    "a list": lambda _: "[]",
    "empty": lambda _: "{}",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_not_continued(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "losses.json"
    finished = FinishedLosses(path, "key")
    passed = finished.of([0, 1], [(1, 0)])
    passed.sums[0], passed.windows = 0.1 + 0.2, 4
    finished.save()
    again = FinishedLosses(path, "key").of([0, 1], [(1, 0)])
    assert (again.sums, again.windows) == ([0.1 + 0.2], 4)
    path.write_text(DAMAGE[damage](path.read_text()))
    assert FinishedLosses(path, "key").of([0, 1], [(1, 0)]).windows == 0
    assert "losses.json is not continued" in caplog.text


def test_losses_of_something_else_are_not_continued(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "losses.json"
    finished = FinishedLosses(path, "one checkpoint")
    finished.of([0], [(1, 0)]).windows = 4
    finished.save()
    assert FinishedLosses(path, "another").of([0], [(1, 0)]).windows == 0
    assert "of another checkpoint, text, option or version" in caplog.text
    assert FinishedLosses(path, "one checkpoint").of([0], [(2, 0)]).windows == 0


@pytest.mark.slow
def test_another_checkpoint_or_text_is_scored_from_the_beginning(tmp_path: Path) -> None:
    """A file with the losses of other weights, as left by a kill, changes nothing."""
    fresh, stale = World(tmp_path / "fresh"), World(tmp_path / "stale")
    process = multiprocessing.get_context("spawn").Process(
        target=killed_at, args=(tmp_path / "stale", "score", "minitron_depth", 2)
    )
    process.start()
    process.join()
    assert losses_file(stale, "score").exists()
    for world in (fresh, stale):
        world.change_weights(lambda weights: weights["model.layers.0.mlp.up_proj.weight"].mul_(2))
        score(world, "minitron_depth")
    assert result(fresh, "score") == result(stale, "score")
