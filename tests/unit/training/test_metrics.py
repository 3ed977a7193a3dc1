"""metrics.jsonl: after any cut a resumed run has the records of an uninterrupted one, or says that it cannot."""

from pathlib import Path

import pytest

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.training.loop import Trainer
from pruning_vs_scratch.training.metrics import METRICS_FILE, begin_metrics
from training_world import make_trainer, random_store, step_with_periodic_actions, untimed_metrics

pytestmark = pytest.mark.usefixtures("one_thread")


def cut_after(steps: int, folder: Path, **plan: object) -> Trainer:
    """A run that ended without a word after some steps; states are saved after 3, 6 and 9, and 5 and 10 validate."""
    trainer = make_trainer(random_store(folder), folder / "work", **plan)  # type: ignore[arg-type]
    for _ in range(steps):
        step_with_periodic_actions(trainer)
    return trainer


def resumed(folder: Path) -> Trainer:
    """The run again."""
    return make_trainer(random_store(folder), folder / "work")


def test_whatever_a_kill_left_of_the_last_lines_the_records_are_those_of_an_uninterrupted_run(tmp_path: Path) -> None:
    cut_after(7, tmp_path)
    whole = make_trainer(random_store(tmp_path), tmp_path / "whole")
    whole.train()
    file = tmp_path / "work" / METRICS_FILE
    content = file.read_bytes()
    saved = sum(map(len, content.splitlines(keepends=True)[:7]))  # six steps and a validation
    assert len(content) > saved
    for left in (saved, saved + 1, len(content) - 1, len(content)):
        file.write_bytes(content[:left])
        assert [record["step"] for record in untimed_metrics(resumed(tmp_path))] == [1, 2, 3, 4, 5, 5, 6]
    trainer = resumed(tmp_path)
    trainer.train()
    assert untimed_metrics(trainer) == untimed_metrics(whole)


@pytest.mark.parametrize("steps", [3, 5], ids=["a step", "a validation"])
def test_a_record_before_the_state_that_is_lost_is_told(tmp_path: Path, steps: int) -> None:
    trainer = cut_after(steps, tmp_path)
    trainer.save()
    file = tmp_path / "work" / METRICS_FILE
    content = file.read_bytes()
    lines = content.splitlines(keepends=True)
    for changed in (content[:-1], content[:-20], b"".join(lines[:-1]), b"".join(lines[1:]), b"", b"[" + content[1:]):
        file.write_bytes(changed)
        with pytest.raises(
            UserError, match=rf"metrics.jsonl lacks records of the first {steps} steps, .*: delete \S*work"
        ):
            resumed(tmp_path)
    file.unlink()
    with pytest.raises(UserError, match=r"delete \S*work and run again; training begins again"):
        resumed(tmp_path)


def test_the_metrics_of_another_trunk_are_refused(tmp_path: Path) -> None:
    trainer = cut_after(4, tmp_path)
    trainer.write_state(tmp_path / "trunk")
    assert trainer.metrics is not None
    (tmp_path / "new").mkdir()
    begin_metrics(tmp_path / "new", tmp_path / "trunk", trainer.metrics.path)
    assert (tmp_path / "new" / METRICS_FILE).read_bytes() == trainer.metrics.path.read_bytes()
    trainer.train_step()
    with pytest.raises(UserError, match=r"work/metrics.jsonl does not hold the metrics that led to \S*trunk"):
        begin_metrics(tmp_path / "new", tmp_path / "trunk", trainer.metrics.path)


def test_a_run_from_a_trunk_without_its_metrics_begins_with_none(tmp_path: Path) -> None:
    (tmp_path / METRICS_FILE).write_text("left by an attempt that saved no state")
    begin_metrics(tmp_path, tmp_path / "trunk", None)
    assert (tmp_path / METRICS_FILE).read_text() == ""
