"""Losses of windows are those of the plain definition, for every way of cutting a text and of sharing the work."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evaluation_world import plain_loss, tokenizer_folder, write_checkpoint, write_corpus
from mini_benchmarks import items_of
from pruning_vs_scratch.data.tokenizer import load_tokenizer
from pruning_vs_scratch.data.tokens import TokenArray, TokenStore
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.evaluation.perplexity import CorpusReading, checked_store, corpus_losses, read_windows
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.study.evaluation import CorpusRequest
from pruning_vs_scratch.training.world import World
from together import run_together

READINGS = {
    "plain": CorpusReading(24),
    "overlapping": CorpusReading(24, stride=8),
    "with BOS": CorpusReading(24, bos=True),
    "overlapping with BOS": CorpusReading(24, stride=5, bos=True),
}
WINDOWS = 11
BOS = 0
TEXTS = [str(item) for item in items_of("boolq", "test", 20)]


@pytest.fixture(scope="module")
def world_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint and a corpus."""
    folder = tmp_path_factory.mktemp("evaluation")
    write_checkpoint(folder)
    write_corpus(folder, "text", TEXTS)
    return folder


def losses(folder: Path, reading: CorpusReading, *, world: World, batch_size: int = 4, **request: Any) -> pd.DataFrame:
    wanted = CorpusRequest(**({"windows": WINDOWS} | request))
    store = TokenStore(folder / "tokens/text")
    model = load_model(folder / "model-0").eval()
    return corpus_losses(model, store, wanted, reading, bos_token=BOS, batch_size=batch_size, world=world)


ALONE = World(torch.device("cpu"))


@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS)
def test_losses_equal_the_plain_definition(world_folder: Path, reading: CorpusReading) -> None:
    found = losses(world_folder, reading, world=ALONE)
    model = load_model(world_folder / "model-0").eval()
    store = TokenStore(world_folder / "tokens/text")
    windows = read_windows(store, reading, CorpusRequest(WINDOWS), BOS)
    expected = [plain_loss(model, window.tolist(), reading.stride or reading.length) for window in windows]
    np.testing.assert_allclose(found["loss"], expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(np.exp(found["loss"].mean()), np.exp(np.mean(expected)), rtol=1e-5)
    assert list(found["sequence"]) == list(range(WINDOWS))
    assert set(found["mode"]) == {"heldout"}


@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS)
def test_the_authors_losses_are_those_of_the_texts_own_tokens(world_folder: Path, reading: CorpusReading) -> None:
    found = losses(world_folder, reading, mode="authors", world=ALONE)
    tokenizer, model = load_tokenizer(tokenizer_folder(world_folder)), load_model(world_folder / "model-0").eval()
    ids = [token for text in TEXTS for token in tokenizer.encode(text).ids]
    expected = [plain_loss(model, ids[24 * k : 24 * (k + 1)], 23) for k in range(WINDOWS)]
    assert len(TEXTS[0]) < 24 * WINDOWS < len(ids)  # windows lead over where documents meet
    np.testing.assert_allclose(found["loss"], expected, atol=1e-5, rtol=0)
    assert set(found["mode"]) == {"authors"}


@given(
    length=st.integers(1, 9), stride=st.none() | st.integers(1, 9), bos=st.booleans(), tokens=st.integers(1, 60)
)  # fmt: skip
def test_no_token_is_scored_twice_and_no_window_left_out(
    length: int, stride: int | None, bos: bool, tokens: int
) -> None:
    reading = CorpusReading(length, min(stride, length) if stride else None, bos)
    store = TokenArray(np.arange(1, tokens + 1), "numbers")
    count = reading.windows_in(tokens)
    if count == 0:
        assert tokens < reading.width
        return
    windows = read_windows(store, reading, CorpusRequest(count), 0)
    assert windows.shape == (count, length + 1)
    assert (windows[:, 0] == 0).all() == bos
    scored = windows[:, -(reading.stride or length) :].flatten().tolist()
    assert len(set(scored)) == len(scored)
    with pytest.raises(UserError, match=f"so {count} windows"):
        read_windows(store, reading, CorpusRequest(count + 1), 0)


@given(
    documents=st.lists(st.lists(st.integers(1, 9), max_size=12), min_size=1, max_size=6), length=st.integers(2, 7),
    reading=st.sampled_from([(None, False), (1, False), (None, True)]),
)  # fmt: skip
def test_the_authors_windows_are_slices_of_the_texts_own_tokens(
    documents: list[list[int]], length: int, reading: tuple[int | None, bool]
) -> None:
    own = [token for document in documents for token in document]
    store = TokenArray(np.array([token for document in documents for token in (0, *document)]), "numbers")
    count = len(own) // length
    if count:
        windows = read_windows(store, CorpusReading(length, *reading), CorpusRequest(count, "authors"), 0)
        assert windows.tolist() == [own[k * length : (k + 1) * length] for k in range(count)]
    with pytest.raises(UserError, match=f"numbers holds {len(own)} tokens of text and so {count} windows of {length}"):
        read_windows(store, CorpusReading(length), CorpusRequest(count + 1, "authors"), 0)


def test_the_authors_windows_need_two_tokens_and_a_known_separator() -> None:
    store = TokenArray(np.arange(100), "numbers")
    with pytest.raises(UserError, match=r"sequence_length: 1 token leaves nothing to predict.*at least 2"):
        read_windows(store, CorpusReading(1), CorpusRequest(3, "authors"), 0)
    with pytest.raises(UserError, match="no separator of documents, and mode authors leaves it out of numbers"):
        read_windows(store, CorpusReading(4), CorpusRequest(3, "authors"), None)


def test_losses_hardly_depend_on_the_batch_size(world_folder: Path) -> None:
    one, all_ = (losses(world_folder, CorpusReading(24), batch_size=size, world=ALONE)["loss"] for size in (1, WINDOWS))
    np.testing.assert_allclose(one, all_, atol=1e-5, rtol=0)


def shared_losses(world: World, folder: Path, windows: int) -> pd.DataFrame:
    return losses(folder, CorpusReading(24), windows=windows, world=world)


@pytest.mark.slow
@pytest.mark.parametrize("windows", [1, 7])
def test_processes_that_share_the_windows_find_the_same(world_folder: Path, windows: int) -> None:
    [alone] = run_together(1, shared_losses, world_folder, windows)
    for found in run_together(2, shared_losses, world_folder, windows):
        np.testing.assert_allclose(found["loss"], alone["loss"], atol=1e-5, rtol=0)


def test_windows_beyond_the_models_positions_are_refused(world_folder: Path) -> None:
    with pytest.raises(UserError, match="513 tokens are beyond the 512 positions"):
        losses(world_folder, CorpusReading(513), world=ALONE)


def test_text_of_another_tokenizer_is_refused(world_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="another tokenizer"):
        checked_store(world_folder / "tokens/text", tmp_path / "tokenizer.json")


def test_a_tokenizer_without_separator_cannot_begin_windows(world_folder: Path) -> None:
    with pytest.raises(UserError, match=r"perplexity\.bos"):
        read_windows(TokenStore(world_folder / "tokens/text"), CorpusReading(8, bos=True), CorpusRequest(1), None)
