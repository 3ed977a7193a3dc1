"""The training loop: exact tokens, exact resume, exact zeros, and honest failures."""

import itertools
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pruning_vs_scratch.config.training import CosineSchedule, OptimizerConfig
from pruning_vs_scratch.data.reading import Reading
from pruning_vs_scratch.data.tokens import TokenStore, write_tokens
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.errors import Interrupted, UserError
from pruning_vs_scratch.models.decoder import random_model
from pruning_vs_scratch.training import loop
from pruning_vs_scratch.training.interrupt import STOP_SIGNALS
from pruning_vs_scratch.training.loop import TrainResult
from pruning_vs_scratch.training.optimizer import PEAK, weight_groups
from pruning_vs_scratch.training.precision import resolve_precision
from pruning_vs_scratch.training.schedule import learning_rate, warmup_steps
from pruning_vs_scratch.training.task import TrainingTask
from training_plans import LENGTH, make_plan
from training_world import (
    SHAPE,
    half_mask,
    make_trainer,
    moments,
    random_store,
    step_with_periodic_actions,
    untimed_metrics,
    weights,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    """Random text in a folder."""
    return random_store(tmp_path_factory.mktemp("tokens"))


# --- schedule ---------------------------------------------------------------------------------------------------


@given(steps=st.integers(2, 500), warmup=st.floats(0, 0.5), floor=st.floats(0, 1))
def test_the_schedule_warms_up_to_its_peak_and_ends_at_its_floor(steps: int, warmup: float, floor: float) -> None:
    schedule = CosineSchedule(warmup_fraction=warmup, floor_ratio=floor)
    rates = [learning_rate(step, steps, 2.0, schedule) for step in range(steps)]
    peak = warmup_steps(steps, schedule)
    assert all(a <= b for a, b in itertools.pairwise(rates[:peak]))
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(rates[peak:]))
    assert max(rates) == pytest.approx(2.0)
    if steps - peak > 1:
        assert rates[-1] == pytest.approx(2.0 * floor)


def test_the_middle_of_the_cosine_is_halfway_between_peak_and_floor() -> None:
    schedule = CosineSchedule(warmup_fraction=0, floor_ratio=0.1)
    assert learning_rate(50, 101, 1.0, schedule) == pytest.approx(0.55)


# --- the loop ---------------------------------------------------------------------------------------------------


def test_the_loop_reads_the_windows_of_its_plan_and_counts_their_tokens(
    store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    original = Windows.read

    def recording(self: Windows, sequences: np.ndarray) -> np.ndarray:
        read.extend(sequences.tolist())
        return original(self, sequences)

    trainer = make_trainer(store, tmp_path)
    monkeypatch.setattr(Windows, "read", recording)
    result = trainer.train()
    assert read == list(range(8, 56))
    assert result.tokens_seen == 48 * LENGTH == make_plan().tokens
    assert result.steps == 12


def test_the_loss_goes_down_on_text_that_repeats(tmp_path: Path) -> None:
    write_tokens(tmp_path / "t", [[*range(20)] * 300], vocab_size=300, shard_tokens=10**6, tokenizer_sha256="x")
    trainer = make_trainer(TokenStore(tmp_path / "t"), tmp_path / "w", window_end=208)
    trainer.train()
    losses = [record["loss"] for record in untimed_metrics(trainer) if "loss" in record]
    assert losses[0] == pytest.approx(math.log(300), abs=0.2)
    assert losses[-1] < 0.6 * losses[0]


def test_micro_batches_give_the_same_step_as_one_large_batch(store: TokenStore, tmp_path: Path) -> None:
    whole, parts = (make_trainer(store, tmp_path / str(n), micro_batch_size=n, window_end=12) for n in (4, 1))
    whole.train_step()
    parts.train_step()
    for name, expected in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], expected, rtol=1e-4, atol=1e-6)
    assert untimed_metrics(parts)[0]["loss"] == pytest.approx(untimed_metrics(whole)[0]["loss"], rel=1e-6)


def test_the_first_step_is_adamw_on_the_clipped_gradient(store: TokenStore, tmp_path: Path) -> None:
    """Against a plain computation: Hugging Face's own loss and torch's unfused optimiser."""
    trainer = make_trainer(store, tmp_path)
    plain = random_model(SHAPE, LENGTH, 0)
    batch = torch.from_numpy(trainer.task.windows.read(np.arange(8, 12)))
    logits = plain(input_ids=batch[:, :-1]).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()).backward()
    torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
    rate = learning_rate(0, 12, 1e-2, make_plan().schedule)
    decayed = [p for p in plain.parameters() if p.ndim > 1]
    plain_groups = [
        {"params": decayed, "weight_decay": 0.1},
        {"params": [p for p in plain.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    torch.optim.AdamW(plain_groups, lr=rate, betas=(0.9, 0.95), foreach=False, fused=False).step()
    trainer.train_step()
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(weights(trainer)[name], parameter.detach(), rtol=1e-4, atol=1e-6)


# --- groups of parameters with separate learning rates -------------------------------------------------------------


class TwoRates(TrainingTask):
    """Norms learn faster than matrices, the embedding goes uphill, and nothing decays."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        named = dict(self.model.named_parameters())
        embedding = named.pop("model.embed_tokens.weight")
        return [
            {"params": [p for p in named.values() if p.ndim > 1], "weight_decay": 0.0, PEAK: 0.01},
            {"params": [p for p in named.values() if p.ndim == 1], "weight_decay": 0.0, PEAK: 0.3},
            {"params": [embedding], "weight_decay": 0.0, "maximize": True, PEAK: 0.002},
        ]


def test_every_group_follows_the_schedule_to_its_own_peak(store: TokenStore, tmp_path: Path) -> None:
    trainer = make_trainer(store, tmp_path, kind=TwoRates)
    for step in range(12):
        trainer.train_step()
        rates = [group["lr"] for group in trainer.optimizer.param_groups]
        schedule = make_plan().schedule
        assert rates == pytest.approx([learning_rate(step, 12, peak, schedule) for peak in (0.01, 0.3, 0.002)])
        assert untimed_metrics(trainer)[-1]["learning_rate"] == rates[0]
    assert rates == pytest.approx([0.001, 0.03, 0.0002])


def test_every_group_moves_by_its_own_rate_and_in_its_own_direction(store: TokenStore, tmp_path: Path) -> None:
    """The first step of Adam is one learning rate against the sign of the gradient, wherever that is not tiny."""
    trainer = make_trainer(store, tmp_path, kind=TwoRates)
    before = weights(trainer)
    batch = torch.from_numpy(trainer.task.windows.read(np.arange(8, 12)))
    plain = random_model(SHAPE, LENGTH, 0)
    logits = plain(input_ids=batch[:, :-1]).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()).backward()
    trainer.train_step()
    rates = {id(p): group["lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
    seen: set[str] = set()
    for name, parameter in trainer.model.named_parameters():
        gradient = plain.get_parameter(name).grad
        assert gradient is not None
        felt = gradient.abs() > 1e-5
        uphill = 1 if "embed" in name else -1
        moved = (parameter.detach() - before[name])[felt]
        seen.update({name.split(".")[-2]} if felt.any() else ())
        expected = uphill * rates[id(parameter)] * gradient[felt].sign()
        torch.testing.assert_close(moved, expected, rtol=2e-3, atol=1e-6)
    assert seen >= {"embed_tokens", "norm", "input_layernorm", "v_proj", "down_proj"}


def test_groups_of_weights_have_one_peak_and_norms_decay_only_if_asked() -> None:
    model = random_model(SHAPE, LENGTH, 0)
    model.model.norm.weight.requires_grad_(False)
    matrices, others = weight_groups(model, OptimizerConfig(weight_decay=0.2), 0.7)
    assert [(group["weight_decay"], group[PEAK]) for group in (matrices, others)] == [(0.2, 0.7), (0.0, 0.7)]
    everything = weight_groups(model, OptimizerConfig(weight_decay=0.2, decay="all"), 0.7)
    assert [(group["weight_decay"], group[PEAK]) for group in everything] == [(0.2, 0.7), (0.2, 0.7)]
    assert [len(group["params"]) for group in everything] == [len(matrices["params"]), len(others["params"])]
    assert {p.ndim for p in matrices["params"]} == {2}
    assert {p.ndim for p in others["params"]} == {1}
    assert len(matrices["params"]) + len(others["params"]) == len(list(model.parameters())) - 1


def test_a_resumed_run_keeps_the_rates_of_its_groups(store: TokenStore, tmp_path: Path) -> None:
    whole = make_trainer(store, tmp_path / "whole", kind=TwoRates)
    whole.train()
    cut = make_trainer(store, tmp_path / "cut", kind=TwoRates)
    for _ in range(7):
        step_with_periodic_actions(cut)
    resumed = make_trainer(store, tmp_path / "cut", kind=TwoRates)
    resumed.train()
    assert all(torch.equal(weights(resumed)[name], tensor) for name, tensor in weights(whole).items())


def test_a_run_cut_in_a_later_pass_over_its_text_and_resumed_equals_an_uninterrupted_one(
    store: TokenStore, tmp_path: Path
) -> None:
    """12 steps of 4 sequences over a part of 18 windows: the third pass begins in the tenth step."""
    plan = {"window_start": 0, "window_end": 48, "reading": Reading(passes=3, parent_sequences=54)}
    whole = make_trainer(store, tmp_path / "whole", **plan)
    expected = whole.train()
    cut = make_trainer(store, tmp_path / "cut", **plan)
    for _ in range(11):
        step_with_periodic_actions(cut)
    resumed = make_trainer(store, tmp_path / "cut", **plan)
    assert resumed.state.step == 9
    result = resumed.train()
    assert (result.tokens_seen, result.tokens_distinct) == (48 * LENGTH, 18 * LENGTH)
    assert result.validation_loss == expected.validation_loss
    assert all(torch.equal(weights(resumed)[name], tensor) for name, tensor in weights(whole).items())
    assert untimed_metrics(resumed) == untimed_metrics(whole)


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("stop_after", [1, 3, 5, 11])
def test_a_run_that_was_cut_and_resumed_equals_an_uninterrupted_one(
    store: TokenStore, tmp_path: Path, masked: bool, stop_after: int
) -> None:
    masks = half_mask() if masked else None
    whole = make_trainer(store, tmp_path / "whole", masks)
    expected = whole.train()
    cut = make_trainer(store, tmp_path / "cut", masks)
    for _ in range(stop_after):
        step_with_periodic_actions(cut)
    resumed = make_trainer(store, tmp_path / "cut", masks)
    assert resumed.state.step == stop_after // 3 * 3
    result = resumed.train()
    assert (result.tokens_seen, result.validation_loss) == (expected.tokens_seen, expected.validation_loss)
    assert all(torch.equal(weights(resumed)[name], tensor) for name, tensor in weights(whole).items())
    assert all(torch.equal(a, b) for a, b in zip(moments(resumed), moments(whole), strict=True))
    assert untimed_metrics(resumed) == untimed_metrics(whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("stop_in", [1, 5, 12], ids=["first step", "validated step", "last step"])
def test_a_stop_signal_ends_the_run_after_its_step_and_the_run_resumes_there(
    store: TokenStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: signal.Signals,
    stop_in: int,
) -> None:
    whole = make_trainer(store, tmp_path / "whole")
    expected = whole.train()
    cut = make_trainer(store, tmp_path / "cut")
    step = cut.train_step

    def stopped_step() -> None:
        if cut.state.step + 1 == stop_in:
            signal.raise_signal(number)
        step()

    monkeypatch.setattr(cut, "train_step", stopped_step)
    before = [signal.getsignal(stop) for stop in STOP_SIGNALS]
    with pytest.raises(Interrupted, match=rf"stopped by {number.name} after step {stop_in} of 12.*state is saved"):
        cut.train()
    assert [signal.getsignal(stop) for stop in STOP_SIGNALS] == before
    # States are saved each third step.
    latest = (stop_in - 1) // 3 * 3
    assert f"after step {stop_in} and saves its state; a kill before that is done costs the steps since" in caplog.text
    assert f"the steps since step {latest}" in caplog.text
    resumed = make_trainer(store, tmp_path / "cut")
    assert resumed.state.step == stop_in
    assert resumed.train().validation_loss == expected.validation_loss
    assert all(torch.equal(weights(resumed)[name], tensor) for name, tensor in weights(whole).items())
    assert untimed_metrics(resumed) == untimed_metrics(whole)


def test_a_run_killed_after_its_last_validation_records_it_once(store: TokenStore, tmp_path: Path) -> None:
    trainer = make_trainer(store, tmp_path)
    for _ in range(12):
        trainer.train_step()
    trainer.save()  # as when it is stopped after its last step
    trainer.validate()
    again = make_trainer(store, tmp_path)
    assert again.state.step == 12
    again.train()
    ends = [record for record in untimed_metrics(again) if record["step"] == 12 and "validation_loss" in record]
    assert len(ends) == 1


def test_a_half_written_state_is_never_resumed_from(store: TokenStore, tmp_path: Path) -> None:
    (tmp_path / ".step-00000006.abc.tmp").mkdir()
    (tmp_path / ".step-00000006.abc.tmp" / "state.json").write_text("{}")
    assert make_trainer(store, tmp_path).state.step == 0


def test_only_the_latest_state_is_kept(store: TokenStore, tmp_path: Path) -> None:
    make_trainer(store, tmp_path).train()
    assert [folder.name for folder in tmp_path.glob("step-*")] == ["step-00000009"]


def test_the_latest_states_are_kept_and_saved_as_often_as_the_time_asks(store: TokenStore, tmp_path: Path) -> None:
    make_trainer(
        store, tmp_path, checkpoint_every_steps=1000, checkpoint_every_minutes=1e-9, keep_checkpoints=3
    ).train()
    assert sorted(folder.name for folder in tmp_path.glob("step-*")) == [f"step-{n:08d}" for n in (10, 11, 12)]


def test_no_state_is_saved_before_its_time(store: TokenStore, tmp_path: Path) -> None:
    make_trainer(store, tmp_path, checkpoint_every_steps=1000, checkpoint_every_minutes=60.0).train()
    assert not list(tmp_path.glob("step-*"))


def test_pruned_weights_and_their_moments_stay_exactly_zero(store: TokenStore, tmp_path: Path) -> None:
    masks = half_mask()
    trainer = make_trainer(store, tmp_path, masks)
    trainer.train()
    for name, mask in masks.items():
        parameter = dict(trainer.model.named_parameters())[name]
        assert torch.count_nonzero(parameter[~mask]) == 0
        assert torch.count_nonzero(trainer.optimizer.state[parameter]["exp_avg"][~mask]) == 0
        assert torch.count_nonzero(parameter[mask]) > 0.9 * mask.sum()


def test_masked_gradients_do_not_count_in_the_clipped_norm(store: TokenStore, tmp_path: Path) -> None:
    masks = half_mask()
    trainer = make_trainer(store, tmp_path, masks, window_end=12)
    plain = random_model(SHAPE, LENGTH, 0)
    parameters = dict(plain.named_parameters())
    for name, mask in masks.items():
        parameters[name].data.mul_(mask)
    batch = torch.from_numpy(trainer.task.windows.read(np.arange(8, 12)))
    logits = plain(input_ids=batch[:, :-1]).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()).backward()
    squares = sum(
        float((p.grad * masks.get(name, torch.tensor(True))).square().sum())
        for name, p in parameters.items()
        if p.grad is not None
    )
    trainer.train_step()
    assert untimed_metrics(trainer)[0]["gradient_norm"] == pytest.approx(math.sqrt(squares), rel=1e-4)


def test_a_revived_weight_is_refused(store: TokenStore, tmp_path: Path) -> None:
    masks = half_mask()
    trainer = make_trainer(store, tmp_path, masks)
    name = next(iter(masks))
    dict(trainer.model.named_parameters())[name].data.fill_(1.0)
    with pytest.raises(UserError, match=f"{name}.*not zero"):
        loop.assert_masked(trainer.model, masks)


def test_a_mask_of_another_shape_is_refused(store: TokenStore, tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    with pytest.raises(UserError, match="does not fit"):
        make_trainer(store, tmp_path, {name: torch.ones(3, 3, dtype=torch.bool)})


def test_too_little_text_says_how_many_tokens_are_missing(store: TokenStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run a-run needs 6,400 tokens.*holds 4,704.*1,696 are missing"):
        make_trainer(store, tmp_path, window_end=400)


def test_a_loss_that_is_not_finite_stops_before_the_step(store: TokenStore, tmp_path: Path) -> None:
    trainer = make_trainer(store, tmp_path)
    trainer.model.model.norm.weight.data.fill_(float("nan"))
    before = weights(trainer)
    with pytest.raises(UserError, match=r"diverged at step 1.*peak_learning_rate"):
        trainer.train()
    assert trainer.state.step == 0
    torch.testing.assert_close(weights(trainer), before, rtol=0, atol=0, equal_nan=True)


def test_precision_auto_is_bf16_only_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for capabilities, expected in (({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({}, "fp32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert resolve_precision("auto", cpu) == expected
    assert resolve_precision("bf16", cpu) == "bf16"


def test_bf16_trains_with_fp32_weights(store: TokenStore, tmp_path: Path) -> None:
    trainer = make_trainer(store, tmp_path, precision="bf16", window_end=16)
    result: TrainResult = trainer.train()
    assert result.precision == "bf16"
    assert {tensor.dtype for tensor in weights(trainer).values()} == {torch.float32}
    assert math.isfinite(result.validation_loss)
