"""Domains: each document in one, each a range of the tokens, and batches that follow their weights."""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from domain_world import LENGTH, run_script, small_tokenizer
from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.data.documents import Document
from pruning_vs_scratch.data.domains import (
    DomainLoader,
    DomainStream,
    Ranges,
    Weights,
    domain_of,
    sequences_of_domain,
    updated_weights,
)
from pruning_vs_scratch.data.tokenizer import SEPARATOR, load_tokenizer
from pruning_vs_scratch.data.tokens import TokenArray, TokenStore
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.errors import UserError

DOMAINS = {"prose": ["books/*", "*.txt"], "code": ["*.py"]}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer")


# Documents


@pytest.mark.parametrize(
    ("name", "domain"),
    [("books/emma.md", "prose"), ("a.txt", "prose"), ("src/a.py", "code"), ("books/listing.py", "prose")],
)
def test_a_document_belongs_to_the_first_matching_domain(name: str, domain: str) -> None:
    assert domain_of(name, DOMAINS) == domain


@pytest.mark.parametrize("name", ["a.md", "BOOKS/emma.md", "a.TXT"])
def test_a_document_without_a_domain_is_named(name: str) -> None:
    with pytest.raises(UserError, match=rf"corpus.domains: no domain takes the document {name}; add a pattern"):
        domain_of(name, DOMAINS)


def encoded(text: str) -> list[int]:
    return [0, *map(ord, text)]


def all_encoded(texts: Iterable[str]) -> Iterator[list[int]]:
    return map(encoded, texts)


documents = st.lists(
    st.tuples(st.sampled_from(["books/a", "b.txt", "c.py", "books/d.py"]), st.text("abc", max_size=6)), max_size=12
).map(lambda pairs: [Document(name, text) for name, text in pairs])


@given(documents)
def test_each_domain_is_one_range_and_together_they_are_all_tokens(texts: list[Document]) -> None:
    stream = DomainStream(texts, DOMAINS)
    tokens = [token for document in stream.tokenised(all_encoded) for token in document]
    assert list(stream.ranges) == list(DOMAINS)
    assert [start for start, _ in stream.ranges.values()] == [0, stream.ranges["prose"][1]]
    assert stream.ranges["code"][1] == len(tokens)
    for domain, (start, stop) in stream.ranges.items():
        mine = [encoded(text.text) for text in texts if domain_of(text.id, DOMAINS) == domain]
        assert tokens[start:stop] == [token for document in mine for token in document]


@given(documents)
def test_without_domains_documents_keep_their_order_and_there_are_no_ranges(texts: list[Document]) -> None:
    stream = DomainStream(iter(texts), {})
    assert list(stream.tokenised(all_encoded)) == [encoded(text.text) for text in texts]
    assert stream.ranges == {}


def test_without_domains_documents_pass_one_at_a_time() -> None:
    read = []

    def texts() -> Iterator[Document]:
        for name in "abc":
            read.append(name)
            yield Document(name, name)

    next(DomainStream(texts(), {}).tokenised(all_encoded))
    assert read == ["a"]


TEXTS = {"b.py": "for cat in mat", "a.txt": "the cat sat", "c.py": "sat = 1", "books/d.py": "on the mat"}


def tokenise(tokenizer: Path, folder: Path, **options: Any) -> TokenStore:
    lines = [json.dumps({"id": name, "text": text}) + "\n" for name, text in TEXTS.items()]
    (folder / "train.jsonl").write_text("".join(lines))
    files = {"documents": folder / "train.jsonl", "tokenizer": tokenizer, "manifest": folder / "manifest.json"}
    run_script("tokenize_corpus", {**files, "out": folder / "out", "shard-tokens": 16, **options})
    return TokenStore(folder / "out")


def text_of(store: TokenStore, tokens: tuple[int, int], tokenizer: Path) -> str:
    return load_tokenizer(tokenizer).decode(store.read(*tokens).tolist(), skip_special_tokens=False)


def test_the_ranges_of_a_tokenised_corpus_hold_the_text_of_their_domains(tokenizer: Path, tmp_path: Path) -> None:
    store = tokenise(tokenizer, tmp_path, domains=json.dumps([*DOMAINS.items()]))
    found = {name: text_of(store, tokens, tokenizer) for name, tokens in store.domains.items()}
    assert found == {
        "prose": f"{SEPARATOR}the cat sat{SEPARATOR}on the mat",
        "code": f"{SEPARATOR}for cat in mat{SEPARATOR}sat = 1",
    }
    assert sorted(store.domains.values()) == [(0, store.domains["code"][0]), (store.domains["prose"][1], len(store))]


def test_a_corpus_of_one_kind_keeps_its_order_and_knows_no_domains(tokenizer: Path, tmp_path: Path) -> None:
    store = tokenise(tokenizer, tmp_path)
    assert text_of(store, (0, len(store)), tokenizer) == "".join(SEPARATOR + text for text in TEXTS.values())
    assert store.domains == {}
    assert "domains" not in store.index


def test_domains_are_part_of_what_a_tokenised_corpus_is(tokenizer: Path, tmp_path: Path) -> None:
    tokenise(tokenizer, tmp_path, domains=json.dumps([*DOMAINS.items()]))
    options = read_manifest(tmp_path / "manifest.json")["options"]
    assert options["domains"] == [[name, patterns] for name, patterns in DOMAINS.items()]


def test_a_document_without_a_domain_leaves_no_half_corpus(tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no domain takes the document a\.txt"):
        tokenise(tokenizer, tmp_path, domains=json.dumps([["code", ["*.py"]]]))
    assert not (tmp_path / "out").exists()


# Sequences


def windows_of(tokens: int, seed: int, length: int = LENGTH) -> Windows:
    """Windows of text in which each token is its own position."""
    return Windows(TokenArray(np.arange(tokens), "text"), length, seed)


@given(tokens=st.integers(8, 400), seed=st.integers(0, 99), data=st.data())
def test_a_domains_sequences_are_those_with_all_tokens_in_it(tokens: int, seed: int, data: st.DataObject) -> None:
    windows = windows_of(tokens, seed)
    start = data.draw(st.integers(0, tokens))
    stop = data.draw(st.integers(start, tokens))
    first = data.draw(st.integers(0, windows.count))
    expected = []
    for sequence in range(first, windows.count):
        positions = windows.read(np.array([sequence]))
        if start <= positions.min() and positions.max() < stop:
            expected.append(sequence)
    assert sequences_of_domain(windows, (start, stop), first).tolist() == expected


# Weights


def test_a_weight_grows_by_the_exponential_of_its_excess() -> None:
    weights = updated_weights({"a": 0.25, "b": 0.75}, {"a": 3 + math.log(2), "b": 1.0}, {"a": 3.0, "b": 2.0})
    assert weights == pytest.approx({"a": 0.5 / 1.25, "b": 0.75 / 1.25})


names = st.lists(st.sampled_from("abcdef"), min_size=1, unique=True)
shares = st.floats(0.01, 1)
losses = st.floats(0, 20)


@st.composite
def weighed(draw: st.DrawFn) -> tuple[Weights, Weights, Weights]:
    """Weights, losses and references."""
    domains = draw(names)
    raw = [draw(shares) for _ in domains]
    weights = {name: value / sum(raw) for name, value in zip(domains, raw, strict=True)}
    return weights, {name: draw(losses) for name in domains}, {name: draw(losses) for name in domains}


@given(weighed())
def test_weights_sum_to_1_and_keep_the_order_of_their_domains(case: tuple[Weights, Weights, Weights]) -> None:
    weights = updated_weights(*case)
    assert sum(weights.values()) == pytest.approx(1)
    assert list(weights) == list(case[0])
    assert all(value > 0 for value in weights.values())


@given(weighed())
def test_only_domains_above_their_reference_gain_on_others(case: tuple[Weights, Weights, Weights]) -> None:
    before, found, references = case
    after = updated_weights(*case)
    for one in before:
        for other in before:
            gain = after[one] / after[other] / (before[one] / before[other])
            excess, others = (max(found[name] - references[name], 0) for name in (one, other))
            assert math.log(gain) == pytest.approx(excess - others, abs=1e-6)
            assert excess > 0 or gain <= 1 + 1e-9


# Batches

RANGES: Ranges = {"noise": (0, 400), "words": (400, 800)}
HALVES = {"noise": 0.5, "words": 0.5}


def loader_of(proportions: Weights = HALVES, first: int = 0, seed: int = 0, tokens: int = 800) -> DomainLoader:
    return DomainLoader(windows_of(tokens, seed), RANGES, proportions, first, seed)


def of_domain(loader: DomainLoader, sequences: np.ndarray, domain: str) -> np.ndarray:
    """Which sequences are in a domain."""
    positions = loader.windows.read(sequences)
    return (positions.min(axis=1) >= RANGES[domain][0]) & (positions.max(axis=1) < RANGES[domain][1])


@given(first=st.integers(0, 20), seed=st.integers(0, 50), share=st.floats(0.2, 0.8), size=st.integers(1, 8))
def test_no_sequence_is_read_twice_or_before_the_first(first: int, seed: int, share: float, size: int) -> None:
    loader = loader_of({"noise": share, "words": 1 - share}, first, seed)
    batches = [loader.next_batch(step, size) for step in range(3)]
    read = np.concatenate(batches)
    assert all(len(batch) == size for batch in batches)
    assert len(set(read.tolist())) == len(read)
    assert read.min() >= first
    assert loader.last_sequence == read.max()
    assert (of_domain(loader, read, "noise") | of_domain(loader, read, "words")).all()
    assert loader.used == {name: int(of_domain(loader, read, name).sum()) for name in RANGES}


def test_a_domain_is_read_in_the_order_of_its_sequences_from_the_first_on() -> None:
    loader = loader_of(first=9)
    read = np.concatenate([loader.next_batch(step, 10) for step in range(4)])
    for name, used in loader.used.items():
        mine = read[of_domain(loader, read, name)]
        assert mine.tolist() == sequences_of_domain(loader.windows, RANGES[name], 9)[:used].tolist()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_batches_follow_the_weights_on_average(share: float) -> None:
    tokens, steps, size = 80_000, 300, 10
    ranges = {"noise": (0, tokens // 2), "words": (tokens // 2, tokens)}
    proportions = {"noise": share, "words": 1 - share}
    loader = DomainLoader(windows_of(tokens, 0), ranges, proportions, 0, 0)
    counts = []
    for step in range(steps):
        before = loader.used["noise"]
        loader.next_batch(step, size)
        counts.append(loader.used["noise"] - before)
    assert np.mean(counts) == pytest.approx(size * share, abs=4 * math.sqrt(size * share * (1 - share) / steps))
    assert np.var(counts) == pytest.approx(size * share * (1 - share), rel=0.3)


def test_seeds_and_steps_draw_other_counts_and_the_same_ones_again() -> None:
    def counts(seed: int, step: int) -> int:
        loader = loader_of(seed=seed)
        loader.next_batch(step, 20)
        return loader.used["noise"]

    drawn = {(seed, step): counts(seed, step) for seed in range(4) for step in range(4)}
    assert drawn == {key: counts(*key) for key in drawn}
    assert len({drawn[0, step] for step in range(4)}) > 1
    assert len({drawn[seed, 0] for seed in range(4)}) > 1


@pytest.mark.parametrize("order", [("noise", "words"), ("words", "noise")], ids=" before ".join)
def test_a_loader_restored_from_a_file_continues_alike(order: tuple[str, str]) -> None:
    proportions = {name: {"noise": 0.3, "words": 0.7}[name] for name in order}
    whole = loader_of(proportions)
    for step in range(3):
        whole.next_batch(step, 6)
    whole.weights = updated_weights(whole.weights, {"noise": 2.0, "words": 1.0}, {"noise": 1.0, "words": 1.0})
    # Resume state is JSON with sorted keys.
    state = json.loads(json.dumps(whole.state, sort_keys=True))
    resumed = loader_of(proportions)
    resumed.restore(state)
    assert (resumed.weights, resumed.used) == (whole.weights, whole.used)
    assert resumed.last_sequence == whole.last_sequence
    for step in range(3, 6):
        assert resumed.next_batch(step, 6).tolist() == whole.next_batch(step, 6).tolist()


def test_a_state_is_a_copy_that_later_batches_do_not_change() -> None:
    loader = loader_of()
    loader.next_batch(0, 4)
    state = json.dumps(loader.state)
    kept = loader.state
    loader.next_batch(1, 4)
    loader.weights = {"noise": 1.0, "words": 0.0}
    assert json.dumps(kept) == state


def test_a_domain_that_runs_out_is_named() -> None:
    loader = loader_of({"words": 1.0})
    assert len(loader.next_batch(0, 50)) == 50
    message = (
        "the domain words has 50 sequences of 7 tokens to learn masks on, and needs 51; "
        "add text to it, or learn the masks on fewer tokens"
    )
    with pytest.raises(UserError, match=message):
        loader.next_batch(1, 1)
