"""Resume states: complete or absent, of this plan or refused, and the same after going through files."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from pruning_vs_scratch.data.tokens import TokenStore
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import read_json, write_json
from pruning_vs_scratch.training.world import World
from shape_learning import learner
from together import run_together
from training_world import (
    half_mask,
    make_trainer,
    moments,
    random_store,
    step_with_periodic_actions,
    untimed_metrics,
    weights,
)


def saved(tmp_path: Path) -> Path:
    """The state of the third step of a run."""
    trainer = make_trainer(random_store(tmp_path), tmp_path / "work")
    for _ in range(3):
        trainer.train_step()
    trainer.save()
    [state] = (tmp_path / "work").glob("step-*")
    return state


def go_on(tmp_path: Path, **plan: object) -> None:
    """Start the run again."""
    make_trainer(random_store(tmp_path), tmp_path / "work", **plan)  # type: ignore[arg-type]


def test_a_state_is_safetensors_and_json_alone(tmp_path: Path) -> None:
    state = saved(tmp_path)
    assert {file.suffix for file in state.iterdir()} == {".safetensors", ".json"}
    names: set[str] = set()
    for file in state.glob("*.safetensors"):
        with safe_open(file, framework="pt") as stream:
            names.update(stream.keys())
    assert {name.split(".")[0] for name in names} == {"weight", "exp_avg", "exp_avg_sq"}


@pytest.mark.parametrize("masked", [False, True], ids=["dense", "sparse"])
def test_weights_and_moments_come_back_bit_for_bit(tmp_path: Path, masked: bool) -> None:
    masks = half_mask() if masked else None
    trainer = make_trainer(random_store(tmp_path), tmp_path / "work", masks)
    for _ in range(3):
        trainer.train_step()
    trainer.save()
    again = make_trainer(random_store(tmp_path), tmp_path / "work", masks)
    assert again.state == trainer.state
    assert all(torch.equal(weights(again)[name], tensor) for name, tensor in weights(trainer).items())
    assert all(torch.equal(a, b) for a, b in zip(moments(again), moments(trainer), strict=True))
    if masked:
        state = dict(zip(weights(again), zip(*[iter(moments(again))] * 2, strict=True), strict=True))
        for name, mask in half_mask().items():
            assert not any(moment[~mask].any() for moment in state[name])


def test_how_a_run_is_carried_out_may_change_between_two_attempts(tmp_path: Path) -> None:
    saved(tmp_path)
    changed = {"micro_batch_size": 2, "loss_chunk_tokens": 16, "activation_checkpointing": True, "keep_checkpoints": 2}
    trainer = make_trainer(random_store(tmp_path), tmp_path / "work", **changed)
    assert trainer.state.step == 3
    trainer.train()
    alone = make_trainer(random_store(tmp_path), tmp_path / "alone")
    alone.train()
    ours, theirs = ([r["loss"] for r in untimed_metrics(t) if "loss" in r] for t in (trainer, alone))
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_the_state_of_another_plan_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(UserError, match=r"step-00000003 is the state of another plan; delete that folder"):
        go_on(tmp_path, peak_learning_rate=0.5)


def flip(file: Path, position: int) -> None:
    """Change one bit of a file."""
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


def damaged(state: Path) -> str:
    """The beginning of the message about a damaged state, as a pattern."""
    return rf"the training state \S*{state.name} is damaged: "


@pytest.mark.parametrize("place", [0.0, 0.02, 0.5, 0.999])
def test_a_flipped_bit_in_any_file_of_a_state_is_refused(tmp_path: Path, place: float) -> None:
    state = saved(tmp_path)
    files = sorted(file for file in state.iterdir() if file.is_file())
    assert len(files) == 2
    for file in files:
        content = file.read_bytes()
        flip(file, int(place * len(content)))
        with pytest.raises(UserError, match=damaged(state) + rf"{file.name} .*; delete that folder and run again: "):
            go_on(tmp_path)
        file.write_bytes(content)
    assert make_trainer(random_store(tmp_path), tmp_path / "work").state.step == 3


def test_a_flipped_bit_in_the_state_of_mask_learning_is_refused(tmp_path: Path) -> None:
    learning = learner(tmp_path, steps=4)
    learning.train_step()
    learning.save()
    [state] = tmp_path.glob("step-*")
    [file] = state.glob("*.safetensors")
    flip(file, 20_000)
    with pytest.raises(UserError, match=damaged(state) + file.name):
        learner(tmp_path, steps=4)
    flip(file, 20_000)
    assert learner(tmp_path, steps=4).state == learning.state


@pytest.mark.slow
def test_several_processes_refuse_what_one_of_them_finds(tmp_path: Path) -> None:
    random_store(tmp_path)
    files, *messages = zip(*run_together(2, refusals, tmp_path), strict=True)
    assert len(files[0]) == 2
    for file, (one, other) in zip(files[0], messages[:-1], strict=True):
        assert one == other
        assert re.search(rf"step-00000002 is damaged: {file} is missing or has changed", one)
    assert messages[-1] == ("", "")


def refusals(world: World, folder: Path) -> list[Any]:
    """The files of a state; what a process reports while each of them is damaged, and when none is."""
    options: dict[str, Any] = {"world": world, "micro_batch_size": 2}
    trainer = make_trainer(TokenStore(folder / "train"), folder / "work", **options)
    for _ in range(2):
        trainer.train_step()
    trainer.save()
    files = sorted((folder / "work").glob("step-*/*.safetensors"))
    messages = []
    for damaged in [*files, None]:
        for _ in range(2):
            if world.is_first and damaged:
                flip(damaged, -1)
            world.wait()
            try:
                make_trainer(TokenStore(folder / "train"), folder / "work", **options)
                messages.append("")
            except UserError as error:
                messages.append(str(error))
            world.wait()
    return [[file.name for file in files], *messages[::2]]


BAD_STATE_FILES = {
    "cut": ('{"spec": "a"', r"state.json cannot be read \(Expecting"),
    "not text": ("\udcff", r"state.json cannot be read \('utf-8' codec"),
    "a list": ("[1, 2]", r"state.json is not of the expected form \(the whole: "),
    "a number": ("7", r"state.json is not of the expected form \(the whole: "),
    "no counters": ('{"spec": "a"}', r"state.json is not of the expected form \(step: Field required\)"),
    "nothing": ("", "state.json cannot be read"),
}


@pytest.mark.parametrize("case", BAD_STATE_FILES)
def test_a_file_of_counters_in_another_form_is_refused(case: str, tmp_path: Path) -> None:
    state = saved(tmp_path)
    content, problem = BAD_STATE_FILES[case]
    (state / "state.json").write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(UserError, match=damaged(state) + problem):
        go_on(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("step", "3"), ("step", -1), ("step", 3.5), ("loader", []), ("seconds", None), ("files", {"a": 1}), ("more", 1)],
)
def test_counters_of_other_types_are_refused(key: str, value: object, tmp_path: Path) -> None:
    state = saved(tmp_path)
    counters = read_json(state / "state.json")
    write_json(state / "state.json", counters | {key: value})
    with pytest.raises(UserError, match=damaged(state) + rf"state.json is not of the expected form \({key}"):
        go_on(tmp_path)


def test_a_missing_file_of_a_state_is_named(tmp_path: Path) -> None:
    state = saved(tmp_path)
    for file in [*state.iterdir()]:
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(UserError, match=damaged(state) + rf"{file.name} is missing"):
            go_on(tmp_path)
        file.write_bytes(content)


def test_what_a_state_without_hashes_lacks_is_named(tmp_path: Path) -> None:
    state = saved(tmp_path)
    without_hashes(state)
    [file] = state.glob("*.safetensors")
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    with pytest.raises(UserError, match=damaged(state) + rf"{file.name} cannot be read"):
        go_on(tmp_path)
    file.unlink()
    with pytest.raises(UserError, match=damaged(state) + r"it lacks \d+ tensors, first exp_avg.model.embed_tokens"):
        go_on(tmp_path)
    file.write_bytes(content)
    assert make_trainer(random_store(tmp_path), tmp_path / "work").state.step == 3


def without_hashes(state: Path) -> None:
    """Make of a state what an earlier version would have written."""
    counters = read_json(state / "state.json")
    write_json(state / "state.json", {k: v for k, v in counters.items() if k not in ("files", "sha256", "metrics")})


def test_the_deletion_that_the_message_suggests_helps(tmp_path: Path) -> None:
    trainer = make_trainer(random_store(tmp_path), tmp_path / "work", keep_checkpoints=2)
    for _ in range(6):
        step_with_periodic_actions(trainer)
    older, newer = sorted((tmp_path / "work").glob("step-*"))
    (newer / "state.json").write_text("[]")
    with pytest.raises(UserError, match=rf"delete that folder and run again: training resumes from \S*{older.name}"):
        go_on(tmp_path)
    shutil.rmtree(newer)
    (older / "state.json").write_text("[]")
    with pytest.raises(UserError, match=r"delete that folder and run again: training begins again$"):
        go_on(tmp_path)
    shutil.rmtree(older)
    again = make_trainer(random_store(tmp_path), tmp_path / "work")
    again.train()
    trainer.train()
    assert untimed_metrics(again) == untimed_metrics(trainer)


def test_what_a_kill_left_half_written_is_not_read(tmp_path: Path) -> None:
    state = saved(tmp_path)
    half = state.with_name(".step-00000006.x.tmp")
    half.mkdir()
    (half / "state.json").write_text(json.dumps({"step": 6}))
    assert make_trainer(random_store(tmp_path), tmp_path / "work").state.step == 3
