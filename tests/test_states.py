"""Resume states: complete or absent, of this plan or refused, and the same after going through files."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from pruning_vs_scratch.errors import UserError
from training_world import half_mask, make_trainer, moments, random_store, untimed_metrics, weights


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
    with pytest.raises(UserError, match=r"step-00000003 is the state of another plan; delete it"):
        go_on(tmp_path, peak_learning_rate=0.5)


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    state = saved(tmp_path)
    [file] = state.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"cannot read .*step-00000003/.*safetensors.*; delete .*step-00000003"):
        go_on(tmp_path)


def test_a_state_without_a_tensor_is_named(tmp_path: Path) -> None:
    state = saved(tmp_path)
    [file] = state.glob("*.safetensors")
    file.unlink()
    with pytest.raises(
        UserError, match=r"step-00000003 lacks \d+ tensors, first exp_avg.model.embed_tokens.weight; delete it"
    ):
        go_on(tmp_path)


def test_what_a_kill_left_half_written_is_not_read(tmp_path: Path) -> None:
    state = saved(tmp_path)
    half = state.with_name(".step-00000006.x.tmp")
    half.mkdir()
    (half / "state.json").write_text(json.dumps({"step": 6}))
    assert make_trainer(random_store(tmp_path), tmp_path / "work").state.step == 3
