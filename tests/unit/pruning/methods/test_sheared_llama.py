"""Sheared-LLaMA learns masks with the training loop, to exactly the target, and resumes where it was killed."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import Case, logits_of
from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.config.training import CosineSchedule
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.ledger import LedgerRow
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.models.decoder import shape_of
from pruning_vs_scratch.pruning.methods.sheared_llama.masked_model import masking
from pruning_vs_scratch.pruning.methods.sheared_llama.method import step_generator
from pruning_vs_scratch.pruning.methods.sheared_llama.shape_masks import ShapeMasks
from pruning_vs_scratch.study import Target
from pruning_vs_scratch.training.loop import Trainer
from pruning_world import LENGTH, PARENT, World, weight_files
from shape_learning import BATCH, GOAL, OPTIONS, STEPS, learner, plan_of
from training_world import unmeasured

CASE = Case("sheared_llama", options=OPTIONS)


@pytest.fixture
def world(tmp_path: Path) -> World:
    torch.set_num_threads(1)
    made = World(tmp_path)
    made.write_calibration(STEPS * BATCH * (LENGTH + 1))
    return made


def learn(world: World, *words: object, options: dict[str, Any] = OPTIONS) -> None:
    """Learn masks by hand."""
    shape = [f"{name}={size}" for name, size in GOAL.items()]
    text = ["--calibration", world.calibration, "--sequence-length", LENGTH, "--options", json.dumps(options)]
    world.by_hand("sheared_llama", "--threads", 1, "--shape", *shape, *text, *words)


def records(world: World) -> list[dict[str, float]]:
    return [json.loads(line) for line in (world.out / "mask_learning.jsonl").read_text().splitlines()]


# By the command


def test_the_target_is_met_exactly_and_every_token_is_counted(world: World) -> None:
    learn(world)
    assert shape_of(load_model(world.out).config) == replace(PARENT, **GOAL)
    summary, row = world.summary(), LedgerRow(**ledger_of(world))
    assert row.tokens_seen == row.tokens_planned == summary["tokens"] == OPTIONS["tokens"]
    assert (row.steps, row.phase, row.global_batch_size) == (STEPS, "prune", BATCH)
    assert (row.window_start, row.window_end) == (0, STEPS * BATCH)
    assert (row.peak_lr, row.sequence_length) == (0.01, LENGTH)
    assert row.flops == PARENT.training_flops(STEPS * BATCH, LENGTH)
    assert len(summary["kept"]["blocks"]) == 3
    assert [len(rows) for rows in summary["kept"]["ffn"]] == [23, 23, 23]
    assert summary["scores"]["open_shares"].keys() == {"hidden", "ffn", "heads", "layers"}


def ledger_of(world: World) -> dict[str, Any]:
    return read_manifest(world.out.with_name("run.manifest.json"))["facts"]["ledger"]


def test_every_step_is_recorded(world: World) -> None:
    learn(world)
    found = records(world)
    assert [record["step"] for record in found] == list(range(1, STEPS + 1))
    assert [record["tokens"] for record in found] == [step * BATCH * LENGTH for step in range(1, STEPS + 1)]
    for record in found:
        assert {"loss", "open_hidden", "open_ffn", "open_heads", "open_layers", "progress"} <= record.keys()
        assert all(0 < record[f"open_{name}"] <= 1 for name in ("hidden", "ffn", "heads", "layers"))
    last = {name: found[-1][f"open_{name}"] for name in ("hidden", "ffn", "heads", "layers")}
    assert world.summary()["scores"]["open_shares"] == pytest.approx(last)


def test_nothing_but_the_checkpoint_and_its_manifest_stays_behind(world: World) -> None:
    learn(world)
    left = {file.name for file in world.out.parent.rglob("*") if file.is_file() and world.out not in file.parents}
    assert left - {"run.lock"} == {"run.manifest.json"}


def test_without_a_budget_all_text_is_read_once(world: World) -> None:
    learn(world, options={**OPTIONS, "tokens": None})
    assert world.summary()["tokens"] == STEPS * BATCH * LENGTH


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": 100}, "sheared_llama needs a multiple of 48 tokens, its global batch, not 100"),
        ({"tokens": 10_080}, "needs 10,080 tokens"),
        ({"tokens": None, "global_batch_size": 32}, "sheared_llama needs a multiple of 384 tokens"),
    ],
)
def test_a_budget_that_the_text_or_the_batch_does_not_allow_is_refused(
    world: World, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        learn(world, options=OPTIONS | options)
    assert not world.out.exists()


def test_heads_that_no_masks_lead_to_are_refused(world: World) -> None:
    words = ["--shape", "heads=2", "kv_heads=1", "--calibration", world.calibration, "--sequence-length", LENGTH]
    with pytest.raises(UserError, match="whole groups of 3 query heads are dropped, which leaves 3 heads"):
        world.by_hand("sheared_llama", *words, "--options", json.dumps(OPTIONS))


@pytest.mark.slow
@pytest.mark.parametrize("killed_after", [1, 3])
def test_a_killed_run_resumes_to_the_same_bytes(
    world: World, killed_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(world)
    expected, shares = weight_files(world.out), world.summary()["scores"]
    steps = unmeasured(records(world))
    manifest = world.out.with_name("run.manifest.json")
    for path in (*world.out.iterdir(), manifest):
        path.unlink()
    world.out.rmdir()
    train_step, done = Trainer.train_step, []

    def killed(self: Trainer) -> None:
        if len(done) == killed_after:
            raise KeyboardInterrupt
        done.append(self.state.step)
        train_step(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "train_step", killed)
        learn(world)
    assert not world.out.exists()
    repeated = []
    monkeypatch.setattr(Trainer, "train_step", lambda self: (repeated.append(self.state.step), train_step(self))[1])
    learn(world)
    # The last state was saved after an even step.
    assert repeated == list(range(killed_after // 2 * 2, STEPS))
    assert weight_files(world.out) == expected
    assert world.summary()["scores"] == shares
    assert unmeasured(records(world)) == steps
    assert ledger_of(world)["tokens_seen"] == OPTIONS["tokens"]


def test_a_study_learns_by_its_own_plan(world: World) -> None:
    target = Target("narrow", "width", 0.5, "dense", replace(PARENT, hidden_size=12, ffn_size=20))
    plan = plan_of(steps=3, start=2)
    world.prune(CASE, target, **{"mask-learning": plan.model_dump_json(), "sequences": None, "batch-size": None})
    row = LedgerRow(**read_manifest(world.manifest)["facts"]["ledger"])
    assert (row.window_start, row.window_end, row.tokens_seen) == (2, 14, 3 * BATCH * LENGTH)
    assert shape_of(load_model(world.out).config) == target.shape


# In memory


def masks_of(found: Trainer) -> ShapeMasks:
    return found.model.masks


def parameters_of(found: Trainer) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in found.model.named_parameters()}


def test_a_plan_has_the_methods_batch_rate_and_schedule_and_no_validation() -> None:
    schedule = CosineSchedule(warmup_fraction=0.5)
    plan = plan_of(3, micro_batch_size=2, schedule=schedule)
    assert (plan.phase, plan.steps, plan.tokens) == ("prune", 3, 3 * BATCH * LENGTH)
    assert (plan.global_batch_size, plan.micro_batch_size, plan.peak_learning_rate) == (BATCH, 2, 0.01)
    assert (plan.schedule, plan.validation, plan.checkpoint_every_steps) == (schedule, None, 2)


@pytest.mark.slow
def test_expected_shares_approach_the_target(tmp_path: Path) -> None:
    goal = {"hidden_size": 12, "ffn_size": 20, "layers": 2}
    found = learner(tmp_path, steps=60, goal=goal, target_warmup_fraction=0.5)
    shares = masks_of(found).expected_shares
    assert min(shares().values()) > 0.99
    found.train()
    for name, share in shares().items():
        assert share.item() == pytest.approx(0.5, abs=0.1), name


def test_the_multipliers_climb_while_too_much_is_open(tmp_path: Path) -> None:
    found = learner(tmp_path, steps=10, target_warmup_fraction=0.1)
    for _ in range(3):
        found.train_step()
    assert (masks_of(found).linear > 0).all()
    assert (masks_of(found).square > 0).all()


def test_masks_learn_at_their_own_rate_and_without_decay(tmp_path: Path) -> None:
    found = learner(tmp_path, steps=10, mask_learning_rate=0.7)
    groups = {id(p): group for group in found.optimizer.param_groups for p in group["params"]}
    assert len(groups) == len(list(found.model.parameters()))
    found.train_step()
    for name, parameter in found.model.named_parameters():
        group, is_mask = groups[id(parameter)], name.startswith("masks.")
        assert group["peak_learning_rate"] == (0.7 if is_mask else 0.01)
        assert group["lr"] == pytest.approx(group["peak_learning_rate"])
        assert group["weight_decay"] == (0.1 if not is_mask and parameter.ndim >= 2 else 0.0)
        assert group.get("maximize", False) == name.endswith((".linear", ".square"))


def test_the_target_shrinks_over_the_first_share_of_the_steps(tmp_path: Path) -> None:
    found = learner(tmp_path, steps=6, target_warmup_fraction=0.5)
    found.train()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["progress"] for line in lines] == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])


@pytest.mark.parametrize("micro_batch_size", [1, 2])
def test_micro_batches_make_the_same_step(micro_batch_size: int, tmp_path: Path) -> None:
    whole = learner(tmp_path / "whole", steps=3)
    parts = learner(tmp_path / "parts", steps=3, micro_batch_size=micro_batch_size)
    gradients: dict[Trainer, dict[str, torch.Tensor]] = {}
    for found in (whole, parts):
        found.state.step = 2
        step = found.optimizer.step

        def remembered(found: Trainer = found, step: Any = step) -> None:
            gradients[found] = {name: p.grad.clone() for name, p in found.model.named_parameters()}
            step()

        found.optimizer.step = remembered  # type: ignore[method-assign]
        found.train_step()
    for name, gradient in gradients[whole].items():
        torch.testing.assert_close(gradients[parts][name], gradient, rtol=1e-3, atol=1e-6)
    assert whole.state.tokens_seen == parts.state.tokens_seen == BATCH * LENGTH
    for name, parameter in parameters_of(whole).items():
        torch.testing.assert_close(parameters_of(parts)[name], parameter, rtol=1e-3, atol=1e-3)


def test_a_step_descends_the_loss_under_masks_plus_the_penalty(tmp_path: Path) -> None:
    """Its gradients are those of the loss and the penalty, written down once more."""
    found = learner(tmp_path, steps=4)
    found.state.step = 2
    with torch.no_grad():
        masks_of(found).linear.fill_(0.3)
        masks_of(found).square.fill_(0.2)
    model = copy.deepcopy(found.model)
    batch = found.batches.of(2)
    with masking(model.decoder, model.masks.sample(step_generator(3, 2))):
        logits = model.decoder(input_ids=batch[:, :-1], use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
    (loss + model.masks.penalty(1.0)).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}
    seen: dict[str, torch.Tensor] = {}
    step = found.optimizer.step

    def remembered() -> None:
        seen.update({name: p.grad.clone() for name, p in found.model.named_parameters()})
        step()

    found.optimizer.step = remembered  # type: ignore[method-assign]
    found.train_step()
    assert norm > 0
    for name, gradient in expected.items():
        torch.testing.assert_close(seen[name], gradient, rtol=1e-4, atol=1e-6)


def test_log_alphas_stay_in_their_range(tmp_path: Path) -> None:
    found = learner(tmp_path, steps=4, mask_learning_rate=100.0)
    found.train()
    for log_alpha in masks_of(found).mask_parameters():
        assert log_alpha.min() >= np.log(0.01) - 1e-4
        assert log_alpha.max() <= np.log(100) + 1e-4


def test_the_noise_of_a_step_is_its_own() -> None:
    draws = [torch.rand(8, generator=step_generator(*key)).tolist() for key in ((0, 1), (0, 2), (1, 1), (0, 1))]
    assert draws[0] == draws[3]
    assert len({tuple(draw) for draw in draws}) == 3


def test_no_hook_stays_on_the_model(tmp_path: Path) -> None:
    found = learner(tmp_path, steps=1)
    found.train()
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in found.decoder.modules()) == 0
    assert logits_of(found.decoder).isfinite().all()
