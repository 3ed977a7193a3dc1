"""Distillation: the loss of the papers, its gradient, and the same training around it."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from models import tiny_model
from pruning_vs_scratch.config.training import DistillationConfig
from pruning_vs_scratch.data.tokens import TokenStore
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.decoder import random_model
from pruning_vs_scratch.study import ModelShape, Study
from pruning_vs_scratch.study.inputs import starting_point
from pruning_vs_scratch.training.accounting import training_fields
from pruning_vs_scratch.training.distillation import TeacherStates, distillation, distilled_loss_sums
from pruning_vs_scratch.training.loss import loss_sum
from pruning_vs_scratch.training.world import World
from studies import plan as plan_of
from studies import runs_of
from together import run_together
from training_plans import LENGTH, make_plan
from training_world import SHAPE, half_mask, make_trainer, random_store, untimed_metrics, weights

TEACHER = ModelShape(300, 3, 24, 32, 2, 1, 8, False, 1e4, 1e-5)
KD = {"distillation": DistillationConfig(temperature=2.0, weight=0.7), "window_end": 20}


def teacher() -> Any:
    """A model that is larger than the student."""
    return random_model(TEACHER, LENGTH, 5)


def oracle(logits: torch.Tensor, taught: torch.Tensor, targets: torch.Tensor, kd: DistillationConfig) -> torch.Tensor:
    """The loss by its definition, summed over tokens."""
    q, p = torch.softmax(taught / kd.temperature, -1), torch.softmax(logits / kd.temperature, -1)
    divergence = (q * (q / p).log()).sum()
    plain = functional.cross_entropy(logits, targets, reduction="sum")
    return (1 - kd.weight) * plain + kd.weight * kd.temperature**2 * divergence


@given(
    tokens=st.integers(1, 6), vocabulary=st.integers(2, 9), temperature=st.floats(0.5, 4), weight=st.floats(0, 1),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_loss_and_gradient_are_those_of_the_definition(
    tokens: int, vocabulary: int, temperature: float, weight: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, taught = (torch.randn(tokens, vocabulary, generator=generator, dtype=torch.float64) for _ in range(2))
    targets = torch.randint(vocabulary, (tokens,), generator=generator)
    kd = DistillationConfig(temperature=temperature, weight=weight)
    expected = oracle(logits.requires_grad_(), taught, targets, kd)
    expected.backward()
    (total, plain), gradient = distillation(logits.detach(), taught, targets, kd)
    torch.testing.assert_close(total, expected.detach())
    torch.testing.assert_close(plain, functional.cross_entropy(logits.detach(), targets, reduction="sum"))
    torch.testing.assert_close(gradient, logits.grad)


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it() -> None:
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    (total, _), gradient = distillation(logits, logits, torch.arange(5), DistillationConfig(temperature=3.0))
    assert float(total) == pytest.approx(0, abs=1e-5)
    assert float(gradient.abs().max()) < 1e-6


@pytest.mark.parametrize("chunk", [None, 5])
@pytest.mark.parametrize("tied", [True, False])
def test_every_weight_gets_the_gradient_of_the_definition(tied: bool, chunk: int | None) -> None:
    tokens = torch.randint(300, (3, 11), generator=torch.Generator().manual_seed(0))
    inputs, targets, large = tokens[:, :-1], tokens[:, 1:], teacher()
    kd = DistillationConfig(temperature=2.0, weight=0.6)
    ours, plain = (tiny_model(vocab_size=300, tie_embeddings=tied) for _ in range(2))
    hidden = large.model(input_ids=inputs).last_hidden_state.flatten(0, 1).detach()
    states = TeacherStates(hidden, large.lm_head.weight.detach())
    total, cross_entropy = distilled_loss_sums(ours, inputs, targets, states, kd, chunk)
    (total / 30).backward()
    logits = plain(input_ids=inputs).logits.flatten(0, 1)
    expected = oracle(logits, large(input_ids=inputs).logits.flatten(0, 1).detach(), targets.flatten(), kd)
    (expected / 30).backward()
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(cross_entropy, loss_sum(plain, inputs, targets), rtol=1e-5, atol=1e-4)
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad, parameter.grad, rtol=1e-3, atol=1e-6)


def test_a_step_minimises_it_and_records_both_losses(tmp_path: Path) -> None:
    store, large = random_store(tmp_path), teacher()
    trainer = make_trainer(store, tmp_path / "work", teacher=large, micro_batch_size=2, **KD)
    batch = torch.from_numpy(trainer.task.windows.read(np.arange(8, 12)))
    student = random_model(SHAPE, LENGTH, 0)
    logits, taught = (model(input_ids=batch[:, :-1]).logits.flatten(0, 1).detach() for model in (student, large))
    before = {name: tensor.clone() for name, tensor in large.named_parameters()}
    trainer.train_step()
    [record] = untimed_metrics(trainer)
    targets = batch[:, 1:].flatten()
    assert record["loss"] == pytest.approx(float(oracle(logits, taught, targets, KD["distillation"])) / 64, rel=1e-4)
    assert record["cross_entropy"] == pytest.approx(float(functional.cross_entropy(logits, targets)), rel=1e-4)
    assert all(torch.equal(before[name], tensor) for name, tensor in large.named_parameters())


def test_the_student_comes_closer_to_its_teacher(tmp_path: Path) -> None:
    store = random_store(tmp_path)
    trainer = make_trainer(
        store, tmp_path / "work", teacher=teacher(), distillation=DistillationConfig(), window_end=88, validation=None
    )
    trainer.train()
    losses = [record["loss"] for record in untimed_metrics(trainer)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_cut_run_ends_as_a_whole_one(tmp_path: Path) -> None:
    store = random_store(tmp_path)
    whole, cut = (make_trainer(store, tmp_path / name, half_mask(), teacher=teacher(), **KD) for name in "ab")
    whole.train()
    for _ in range(2):
        cut.train_step()
    cut.save()
    resumed = make_trainer(store, tmp_path / "b", half_mask(), teacher=teacher(), **KD)
    assert resumed.state.step == 2
    resumed.train()
    assert all(torch.equal(weights(resumed)[name], tensor) for name, tensor in weights(whole).items())


def shared_run(world: World, tokens: Path, work: Path) -> list[dict[str, float]]:
    """A distilled run of several processes."""
    plan = KD | {"micro_batch_size": 1, "loss_chunk_tokens": 7}
    trainer = make_trainer(TokenStore(tokens), work, world=world, teacher=teacher(), **plan)
    trainer.train()
    return untimed_metrics(trainer) if world.is_first else []


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    store = random_store(tmp_path)
    alone, together = (run_together(n, shared_run, store.folder, tmp_path / str(n))[0] for n in (1, 2))
    for one, two in itertools.zip_longest(alone, together):
        assert one == pytest.approx(two, abs=1e-4)


def test_a_teacher_is_needed_for_distillation_alone(tmp_path: Path) -> None:
    store = random_store(tmp_path)
    with pytest.raises(UserError, match=r"has no distillation in its plan: leave --teacher out"):
        make_trainer(store, tmp_path / "work", teacher=teacher())
    with pytest.raises(UserError, match=r"learns from a teacher, and none is given: add --teacher"):
        make_trainer(store, tmp_path / "work", distillation=DistillationConfig())


def test_only_retraining_learns_from_the_parent(smoke: dict[str, Any]) -> None:
    smoke["training"] |= {"objective": "kd", "distillation": {"temperature": 2.0, "weight": 0.5}}
    study = Study(smoke)
    objectives = {role: {plan_of(study, run.name).objective for run in runs_of(study, role)} for role in ROLES}
    assert objectives == {"parent": {"ce"}, "scratch": {"ce"}, "retrained": {"kd(T=2, weight=0.5)"}}
    for run in study.runs.values():
        start = starting_point(study, run.name) if run.plan else {}
        teachers = [path.parent.name for option, path in start.items() if option == "teacher"]
        assert teachers == (["P16.4k-seed0"] if run.role == "retrained" else [])


ROLES = ("parent", "scratch", "retrained")


def test_the_ledger_counts_the_teachers_forward_passes(tmp_path: Path) -> None:
    trainer = make_trainer(random_store(tmp_path), tmp_path / "work", teacher=teacher(), **KD)
    fields = training_fields(trainer.plan, trainer.train(), SHAPE, TEACHER)
    assert fields["objective"] == "kd(T=2, weight=0.7)"
    assert fields["flops"] == SHAPE.training_flops(12, LENGTH)
    assert fields["flops_teacher"] == TEACHER.forward_flops(12, LENGTH)
    assert training_fields(make_plan(), trainer.train(), SHAPE)["flops_teacher"] == 0
