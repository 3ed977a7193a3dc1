"""Windows under a seeded permutation: each once, none overlapping, the same batch for any number of processes."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pruning_vs_scratch.data.tokens import TokenStore, write_tokens
from pruning_vs_scratch.data.windows import Windows, permuted, step_sequences
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import Study

LENGTH = 7
TOKENS = 1003
"""Of the store: 125 windows of 8 tokens, and 3 tokens over."""

seeds = st.integers(0, 2**31 - 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    """A store whose tokens are their own positions."""
    folder = tmp_path_factory.mktemp("tokens") / "train"
    write_tokens(folder, [list(range(TOKENS))], vocab_size=TOKENS, shard_tokens=100, tokenizer_sha256="0")
    return TokenStore(folder)


def positions(windows: Windows, start: int, stop: int) -> NDArray[np.int64]:
    """Positions of all tokens of some sequences."""
    return windows.read(np.arange(start, stop)).ravel()


@given(st.integers(1, 5000), seeds)
def test_the_permutation_is_a_bijection_for_any_size_and_seed(size: int, seed: int) -> None:
    images = permuted(np.arange(size), size, seed)
    assert np.array_equal(np.sort(images), np.arange(size))


@given(st.integers(1, 5000), seeds, st.data())
def test_an_image_does_not_depend_on_the_others_asked_for(size: int, seed: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    assert permuted(np.array([index]), size, seed)[0] == permuted(np.arange(size), size, seed)[index]


def test_seeds_give_different_orders_that_are_not_the_identity() -> None:
    orders = {tuple(permuted(np.arange(1000), 1000, seed).tolist()) for seed in range(20)}
    assert len(orders) == 20
    assert tuple(range(1000)) not in orders


def test_the_order_of_a_seed_never_changes() -> None:
    assert permuted(np.arange(8), 1000, 0).tolist() == [571, 143, 492, 949, 308, 155, 807, 852]


def test_neighbours_land_apart() -> None:
    size = 10_000
    distance = np.abs(np.diff(permuted(np.arange(size), size, 0)))
    assert abs(distance.mean() / size - 1 / 3) < 0.02  # the mean distance of two uniform draws


def test_a_large_corpus_is_permuted_without_storing_it() -> None:
    size = 10**9
    start = time.perf_counter()
    images = permuted(np.arange(size - 100_000, size), size, 1)
    assert time.perf_counter() - start < 1
    assert len(np.unique(images)) == 100_000
    assert 0 <= images.min() < images.max() < size


def test_a_window_is_a_run_of_tokens_that_starts_at_a_multiple_of_its_width(store: TokenStore) -> None:
    rows = Windows(store, LENGTH, seed=3).read(np.arange(20))
    assert rows.shape == (20, LENGTH + 1)
    assert np.array_equal(rows, rows[:, :1] + np.arange(LENGTH + 1))
    assert not (rows[:, 0] % (LENGTH + 1)).any()


def test_no_token_is_in_two_windows(store: TokenStore) -> None:
    windows = Windows(store, LENGTH, seed=3)
    assert windows.count == 125
    assert np.array_equal(np.sort(positions(windows, 0, windows.count)), np.arange(1000))


@given(seeds, st.integers(1, 124), st.integers(1, 124))
def test_ranges_that_do_not_meet_share_no_token(store: TokenStore, seed: int, first: int, second: int) -> None:
    middle, stop = min(first, second), max(first, second) + 1
    windows = Windows(store, LENGTH, seed)
    parent, retrained = positions(windows, 0, middle), positions(windows, middle, stop)
    assert not set(parent) & set(retrained)


def test_a_studys_parent_and_retraining_share_no_token(smoke: dict, tmp_path: Path) -> None:
    study = Study(smoke)
    length = study.config.training.sequence_length
    plans = {run.role: run.plan for run in study.runs.values() if run.plan}
    needed = plans["retrained"].window_end * (length + 1)
    write_tokens(tmp_path / "t", [list(range(needed))], vocab_size=needed, shard_tokens=needed, tokenizer_sha256="0")
    windows = Windows(TokenStore(tmp_path / "t"), length, seed=0)
    read = {
        role: set(positions(windows, plans[role].window_start, plans[role].window_end))
        for role in ("parent", "retrained")
    }
    assert len(read["parent"]) == 16384 // length * (length + 1)
    assert not read["parent"] & read["retrained"]


@given(st.integers(0, 1000), st.integers(1, 64), st.integers(0, 50), st.data())
def test_ranks_together_read_the_batch_of_one_process(start: int, batch: int, step: int, data: st.DataObject) -> None:
    world = data.draw(st.sampled_from([size for size in range(1, batch + 1) if batch % size == 0]))
    alone = step_sequences(start, batch, step)
    together = np.concatenate([step_sequences(start, batch, step, rank, world) for rank in range(world)])
    assert np.array_equal(together, alone)


@given(st.integers(0, 1000), st.integers(1, 64), st.integers(1, 20))
def test_steps_read_a_plans_range_once_and_in_order(start: int, batch: int, steps: int) -> None:
    read = np.concatenate([step_sequences(start, batch, step) for step in range(steps)])
    assert np.array_equal(read, np.arange(start, start + steps * batch))


def test_a_plan_that_the_corpus_holds_is_accepted(store: TokenStore) -> None:
    Windows(store, LENGTH, seed=0).require(125, "run x")


def test_a_plan_beyond_the_corpus_says_how_many_tokens_are_missing(store: TokenStore) -> None:
    with pytest.raises(UserError, match=r"run x needs 910 tokens of .*, which holds 875 .*: 35 are missing"):
        Windows(store, LENGTH, seed=0).require(130, "run x")
