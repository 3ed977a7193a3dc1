"""Masks learned on several domains read more of the one whose loss lags."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from domain_learning import BATCH, NOISY, OPTIONS, PARENT, STEPS, UPDATE, learner, learning_plan, records, two_domains
from domain_world import LENGTH, VOCABULARY, run_script, small_tokenizer
from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.data.domains import (
    DomainLoader,
    sequences_of_domain,
)
from pruning_vs_scratch.data.tokens import TokenStore, write_tokens
from pruning_vs_scratch.data.windows import EVALUATION_SEED, Windows
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import sha256_of_file
from pruning_vs_scratch.models.checkpoint import load_model, save_model
from pruning_vs_scratch.models.decoder import random_model, shape_of
from pruning_vs_scratch.pruning.domain_text import DomainText
from pruning_vs_scratch.pruning.methods.sheared_llama.method import MaskLearning, domain_losses
from pruning_vs_scratch.training.loop import Trainer
from training_world import unmeasured


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer")


def domains_in(found: Trainer) -> DomainText:
    assert isinstance(found.task, MaskLearning)
    assert found.task.domains is not None
    return found.task.domains


def loader_in(found: Trainer) -> DomainLoader:
    return domains_in(found).loader


@pytest.mark.slow
def test_weights_move_towards_the_domain_whose_loss_lags(tmp_path: Path) -> None:
    """Words are soon learned; random tokens never are."""
    found = learner(tmp_path)
    found.train()
    domains = domains_in(found)
    losses = domain_losses(domains, found.mean_loss)
    lag = {name: loss - domains.references[name] for name, loss in losses.items()}
    assert lag["words"] < 0 < lag["noise"]
    weights = loader_in(found).weights
    assert weights["noise"] > 0.52
    assert sum(weights.values()) == pytest.approx(1)


@pytest.mark.slow
def test_weights_change_after_every_so_many_steps_only(tmp_path: Path) -> None:
    learner(tmp_path).train()
    weights = [0.5, *(record["weight_noise"] for record in records(tmp_path))]
    changed = [step for step in range(1, STEPS + 1) if weights[step] != weights[step - 1]]
    assert set(changed) <= set(range(UPDATE, STEPS + 1, UPDATE))
    assert len(changed) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [2, 7])
def test_learning_that_was_killed_and_resumed_equals_uninterrupted(stop_after: int, tmp_path: Path) -> None:
    whole, cut = (learner(tmp_path / name) for name in ("whole", "cut"))
    expected = whole.train()
    done: list[int] = []
    step = cut.train_step

    def killed() -> None:
        if len(done) == stop_after:
            raise KeyboardInterrupt
        done.append(1)
        step()

    cut.train_step = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    resumed = learner(tmp_path / "cut")
    assert resumed.state.step == stop_after // 3 * 3
    assert resumed.train().tokens_seen == expected.tokens_seen == OPTIONS["tokens"]
    assert loader_in(resumed).state == loader_in(whole).state
    resumed_weights = dict(resumed.model.named_parameters())
    assert all(torch.equal(resumed_weights[name], tensor) for name, tensor in whole.model.named_parameters())
    untimed = [unmeasured(records(work)) for work in (tmp_path / "whole", tmp_path / "cut")]
    assert untimed[0] == untimed[1]


# By the command


def write_domains(folder: Path, sequences: int, tokenizer: Path, seed: int) -> Path:
    tokens, ranges = two_domains(sequences, seed)
    digest = sha256_of_file(tokenizer / "tokenizer.json")
    write_tokens(folder, [tokens], vocab_size=VOCABULARY, shard_tokens=1000, tokenizer_sha256=digest, domains=ranges)
    return folder


def learn(folder: Path, tokenizer: Path, first: int = 5, held_out: int = 8, **changes: Any) -> dict[str, Any]:
    """Learn masks as a study does, and return the ledger's row."""
    (folder / "parent").mkdir()
    save_model(random_model(PARENT, LENGTH, 0), folder / "parent", tokenizer)
    run_script(
        "prune",
        {
            "run": "run",
            "model": folder / "parent",
            "method": "sheared_llama",
            "options": json.dumps(OPTIONS),
            "ratio": 0.3,
            "calibration": write_domains(folder / "train", 60, tokenizer, seed=0),
            "validation": write_domains(folder / "validation", held_out, tokenizer, seed=1),
            "domains": json.dumps(NOISY),
            "mask-learning": learning_plan(first).model_dump_json(),
            "tokenizer": tokenizer,
            "seed": 3,
            "threads": 1,
            "sequence-length": LENGTH,
            "work": folder / "work",
            "out": folder / "out",
            "manifest": folder / "manifest.json",
        }
        | changes,
    )
    return read_manifest(folder / "manifest.json")["facts"]["ledger"]


@pytest.mark.slow
def test_the_ledger_says_how_far_the_domains_were_read(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    next_batch = DomainLoader.next_batch

    def recorded(self: DomainLoader, step: int, size: int) -> np.ndarray:
        read.extend(next_batch(self, step, size).tolist())
        return np.array(read[-size:])

    monkeypatch.setattr(DomainLoader, "next_batch", recorded)
    row = learn(tmp_path, tokenizer)
    assert (row["window_start"], row["window_end"]) == (5, max(read) + 1)
    assert min(read) >= 5
    assert max(read) >= 5 + STEPS * BATCH
    assert row["tokens_seen"] == len(read) * LENGTH == OPTIONS["tokens"]
    assert shape_of(load_model(tmp_path / "out").config).hidden_size < PARENT.hidden_size
    lines = [json.loads(line) for line in (tmp_path / "out" / "mask_learning.jsonl").read_text().splitlines()]
    assert all(line["weight_words"] + line["weight_noise"] == pytest.approx(1) for line in lines)


@pytest.mark.slow
def test_domains_are_weighed_by_the_losses_of_the_model_before_masks(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[DomainText] = []
    build = DomainText.__init__

    def recorded(self: DomainText, *words: Any) -> None:
        build(self, *words)
        texts.append(self)

    monkeypatch.setattr(DomainText, "__init__", recorded)
    learn(tmp_path, tokenizer)
    (found,) = texts
    store = TokenStore(tmp_path / "validation")
    windows = Windows(store, LENGTH, EVALUATION_SEED)
    parent = random_model(PARENT, LENGTH, 0)
    for name, tokens in store.domains.items():
        batch = torch.from_numpy(windows.read(sequences_of_domain(windows, tokens, 0)[:6]))
        with torch.no_grad():
            logits = parent(input_ids=batch[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        assert found.references[name] == pytest.approx(float(loss), rel=1e-5)


def test_too_few_held_out_windows_of_a_domain_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    message = (
        "pruning.sheared_llama.domain_sequences: the validation split has 5 windows of the domain noise, not 6; "
        "lower the number, or hold out more of its documents"
    )
    with pytest.raises(UserError, match=message):
        learn(tmp_path, tokenizer, held_out=5)
    assert not (tmp_path / "out").exists()
