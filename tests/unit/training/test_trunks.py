"""Runs that continue from a shared trunk end as if each had trained its whole plan alone, to the bit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pruning_vs_scratch.config.training import WsdSchedule
from pruning_vs_scratch.data.tokens import TokenStore
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.decoder import random_model
from pruning_vs_scratch.study import ModelShape
from pruning_vs_scratch.training.accounting import training_fields
from pruning_vs_scratch.training.loop import Trainer, TrainResult
from pruning_vs_scratch.training.metrics import METRICS_FILE, begin_metrics
from pruning_vs_scratch.training.optimizer import build_optimizer, weight_groups
from pruning_vs_scratch.training.resume import read_state
from pruning_vs_scratch.training.state_file import read_state_file, write_state_file
from training_plans import LENGTH, make_plan
from training_world import ALONE, SHAPE, half_mask, make_trainer, moments, random_store, untimed_metrics, weights

WSD = WsdSchedule(kind="wsd", warmup_steps=2, decay_fraction=0.5)
SHORT, LONG = 16, 32
"""Sequences of two budgets: 4 steps, of which 2 decay, and 8 steps, of which 4 decay."""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    """Random text in a folder."""
    return random_store(tmp_path_factory.mktemp("tokens"))


def plan_values(sequences: int, **changes: Any) -> dict[str, Any]:
    """A plan that validates every second step, from window 8 on."""
    values = {"window_end": 8 + sequences, "schedule": WSD, "validation": {"sequences": 4, "every_steps": 2}}
    return values | {"checkpoint_every_steps": 1} | changes


def trained_trunk(store: TokenStore, folder: Path, steps: int, *, before: Path | None = None, **more: Any) -> Path:
    """Train a trunk to a step, from another's state if there is one; its folder, with state and metrics."""
    whole = make_plan(**plan_values(LONG))
    begun = whole.begun("a-trunk", steps, WSD.trunk)
    trainer = begin(store, folder / "work", before, **dict(begun), **more)
    trainer.train()
    trainer.write_state(folder / "state")
    (folder / METRICS_FILE).write_bytes(trainer.metrics.path.read_bytes())
    return folder


def change_counters(state: Path, **counters: float) -> None:
    """Write a state as if it had been saved with other counters."""
    saved = read_state_file(state)
    write_state_file(state, saved.spec, replace(saved.state, **counters), saved.files)


def begin(store: TokenStore, work: Path, trunk: Path | None = None, **options: Any) -> Trainer:
    """A trainer that continues from a trunk's folder."""
    work.mkdir(parents=True, exist_ok=True)
    begin_metrics(work, trunk and trunk / "state", trunk and trunk / METRICS_FILE)
    return make_trainer(store, work, trunk=trunk and trunk / "state", **options)


@pytest.mark.parametrize("masked", [False, True], ids=["dense", "sparse"])
def test_every_budget_of_a_chain_of_trunks_equals_a_separate_run(
    store: TokenStore, tmp_path: Path, masked: bool
) -> None:
    masks = half_mask() if masked else None
    first = trained_trunk(store, tmp_path / "first", 2, masks=masks)
    second = trained_trunk(store, tmp_path / "second", 4, masks=masks, before=first)
    for sequences, trunk in ((SHORT, first), (LONG, second)):
        alone = begin(store, tmp_path / f"alone-{sequences}", masks=masks, **plan_values(sequences))
        expected = alone.train()
        shared = begin(store, tmp_path / f"shared-{sequences}", trunk, masks=masks, **plan_values(sequences))
        found = shared.train()
        assert all(torch.equal(weights(shared)[name], tensor) for name, tensor in weights(alone).items())
        assert all(torch.equal(a, b) for a, b in zip(moments(shared), moments(alone), strict=True))
        assert untimed_metrics(shared) == untimed_metrics(alone)
        assert (found.tokens_seen, found.steps) == (expected.tokens_seen, expected.steps)
        assert found.validation_loss == expected.validation_loss
        assert (expected.tokens_trunk, found.tokens_trunk) == (0, sequences * LENGTH // 2)


def test_an_interrupted_decay_resumes_from_its_own_state(store: TokenStore, tmp_path: Path) -> None:
    trunk = trained_trunk(store, tmp_path / "trunk", 4)
    alone = begin(store, tmp_path / "alone", **plan_values(LONG))
    alone.train()
    cut = begin(store, tmp_path / "cut", trunk, **plan_values(LONG))
    for _ in range(2):
        cut.train_step()
        if cut.state.step % 2 == 0:
            cut.validate()
    cut.save()
    resumed = begin(store, tmp_path / "cut", trunk, **plan_values(LONG))
    assert (resumed.state.step, resumed.state.tokens_trunk) == (6, 4 * 4 * LENGTH)
    assert resumed.train().tokens_trunk == 4 * 4 * LENGTH
    assert all(torch.equal(weights(resumed)[name], tensor) for name, tensor in weights(alone).items())
    assert untimed_metrics(resumed) == untimed_metrics(alone)


def test_a_decay_that_is_cut_before_its_first_state_begins_at_the_trunk_again(
    store: TokenStore, tmp_path: Path
) -> None:
    trunk = trained_trunk(store, tmp_path / "trunk", 4)
    begin(store, tmp_path / "cut", trunk, **plan_values(LONG)).train_step()
    again = begin(store, tmp_path / "cut", trunk, **plan_values(LONG))
    assert again.state.step == 4
    assert [record["step"] for record in untimed_metrics(again) if "loss" in record] == [1, 2, 3, 4]


def test_time_in_trunks_is_counted_separately(store: TokenStore, tmp_path: Path) -> None:
    trunk = trained_trunk(store, tmp_path / "trunk", 4)
    change_counters(trunk / "state", seconds=1000.0)
    result = begin(store, tmp_path / "run", trunk, **plan_values(LONG)).train()
    assert result.seconds_trunk == 1000.0
    assert 1000.0 < result.seconds < 1100.0


def test_the_fields_of_the_ledger_share_out_tokens_and_operations() -> None:
    plan = make_plan(**plan_values(LONG))
    teacher = replace(SHAPE, layers=5)
    found = training_fields(plan, TrainResult(512, 384, 512, 8, 2.0, 1.0, None, "fp32"), SHAPE, teacher)
    assert (found["tokens_seen"], found["tokens_trunk"]) == (512, 384)
    assert found["flops"] == SHAPE.training_flops(32, LENGTH)
    assert found["flops_trunk"] * 4 == found["flops"] * 3
    assert found["flops_teacher_trunk"] * 4 == found["flops_teacher"] * 3 > 0


BAD_STATES = {
    "longer than the plan": plan_values(8),
    "another batch": plan_values(LONG, global_batch_size=8),
}


@pytest.mark.parametrize("case", BAD_STATES)
def test_a_state_that_is_no_beginning_of_the_plan_is_refused(case: str, store: TokenStore, tmp_path: Path) -> None:
    trunk = trained_trunk(store, tmp_path / "trunk", 4)
    with pytest.raises(UserError, match=r"state \(step 4, 256 tokens\) is not a beginning of run a-run: . steps of"):
        begin(store, tmp_path / "run", trunk, **BAD_STATES[case])


def test_a_state_with_more_or_fewer_tokens_than_its_steps_is_refused(store: TokenStore, tmp_path: Path) -> None:
    trunk = trained_trunk(store, tmp_path / "trunk", 4)
    change_counters(trunk / "state", tokens_seen=255)
    with pytest.raises(UserError, match="not a beginning"):
        begin(store, tmp_path / "run", trunk, **plan_values(LONG))


def test_a_state_of_another_shape_is_refused(store: TokenStore, tmp_path: Path) -> None:
    trunk = trained_trunk(store, tmp_path / "trunk", 2)
    other = random_model(ModelShape(300, 2, 24, 24, 2, 1, 8, True, 1e4, 1e-5), LENGTH, 0)
    plan = make_plan()
    optimizer = build_optimizer(weight_groups(other, plan.optimizer, 0.1), plan.optimizer)
    with pytest.raises(UserError, match="state of a model of another shape"):
        read_state(trunk / "state", other, optimizer, ALONE, spec=None, then="")


def test_a_missing_state_is_named(store: TokenStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the training state .*nowhere is damaged: state.json is missing"):
        make_trainer(store, tmp_path / "run", trunk=tmp_path / "nowhere", **plan_values(LONG))


def test_what_a_state_is_does_not_depend_on_the_time_that_it_took(store: TokenStore, tmp_path: Path) -> None:
    from pruning_vs_scratch.files import sha256_of_path

    one, two = (trained_trunk(store, tmp_path / name, 2) / "state" for name in ("one", "two"))
    assert sha256_of_path(one) == sha256_of_path(two)
    assert json.loads((one / "state.json").read_text())["tokens_seen"] == 2 * 4 * LENGTH
