"""Token shards give back what went in and refuse damage; the tokenizer is exact, loadable and lossless."""

import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pruning_vs_scratch.data.tokenizer import (
    SEPARATOR,
    Encoder,
    load_tokenizer,
    load_transformers_tokenizer,
    save_tokenizer,
    separator_of,
    take_tokenizer,
    train_bpe,
)
from pruning_vs_scratch.data.tokens import TokenStore, token_dtype, write_tokens
from pruning_vs_scratch.errors import UserError

VOCABULARY = 300
TOKENIZER_HASH = "0" * 64

documents = st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=30), max_size=12)


def written(folder: Path, texts: list[list[int]], *, vocab_size: int = VOCABULARY, shard_tokens: int = 10) -> Path:
    write_tokens(folder, texts, vocab_size=vocab_size, shard_tokens=shard_tokens, tokenizer_sha256=TOKENIZER_HASH)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty-five tokens in three shards."""
    return written(tmp_path / "train", [list(range(25))])


@pytest.mark.parametrize(("vocab_size", "dtype"), [(512, "<u2"), (2**16, "<u2"), (2**16 + 1, "<u4"), (128_256, "<u4")])
def test_tokens_are_as_wide_as_the_vocabulary_needs(vocab_size: int, dtype: str) -> None:
    assert token_dtype(vocab_size).str == dtype


@pytest.mark.parametrize("vocab_size", [2**16, 2**16 + 1])
def test_the_last_token_of_a_vocabulary_survives(vocab_size: int, tmp_path: Path) -> None:
    store = TokenStore(written(tmp_path / "train", [[0, vocab_size - 1]], vocab_size=vocab_size))
    assert store.read(0, 2).tolist() == [0, vocab_size - 1]


@given(documents, st.integers(1, 40), st.data())
def test_shards_hold_the_concatenation_of_the_documents(
    texts: list[list[int]], shard_tokens: int, data: st.DataObject
) -> None:
    stream = [token for text in texts for token in text]
    with tempfile.TemporaryDirectory() as folder:
        store = TokenStore(written(Path(folder) / "train", texts, shard_tokens=shard_tokens))
        assert len(store) == store.index["tokens"] == len(stream)
        assert all(shard["tokens"] == shard_tokens for shard in store.index["shards"][:-1])
        if stream:
            start = data.draw(st.integers(0, len(stream) - 1))
            stop = data.draw(st.integers(start + 1, len(stream)))
            assert store.read(start, stop).tolist() == stream[start:stop]


def test_tokens_are_read_as_int64(folder: Path) -> None:
    assert TokenStore(folder).read(8, 22).dtype == np.int64


def test_a_truncated_shard_is_refused(folder: Path) -> None:
    shard = folder / "shard-00001.bin"
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.raises(UserError, match=r"shard-00001.bin is truncated: 18 of 20 bytes; delete .*train and run again"):
        TokenStore(folder)


def test_a_missing_shard_is_refused(folder: Path) -> None:
    (folder / "shard-00002.bin").unlink()
    with pytest.raises(UserError, match=r"shard-00002.bin is truncated: 0 of 10 bytes"):
        TokenStore(folder)


def test_an_altered_shard_is_refused(folder: Path) -> None:
    shard = folder / "shard-00000.bin"
    shard.write_bytes(shard.read_bytes()[::-1])
    with pytest.raises(UserError, match=r"shard-00000.bin does not match its hash; delete .*train and run again"):
        TokenStore(folder)


def test_a_missing_index_is_named(folder: Path) -> None:
    (folder / "index.json").unlink()
    with pytest.raises(UserError, match=r"index.json is missing: run the step that writes it"):
        TokenStore(folder)


def test_a_damaged_index_is_named(folder: Path) -> None:
    (folder / "index.json").write_text(json.dumps({"dtype": "<u2"})[:-1], encoding="utf-8")
    with pytest.raises(UserError, match=r"index.json is not valid JSON"):
        TokenStore(folder)


def test_a_tokenizer_other_than_that_of_the_corpus_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "tokenizer.json"
    other.write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"was tokenised with another tokenizer than .*tokenizer.json"):
        TokenStore(folder).check_tokenizer(other)


def test_a_model_with_too_small_a_vocabulary_is_refused(folder: Path) -> None:
    store = TokenStore(folder)
    store.check_vocabulary(VOCABULARY, Path("model"))
    with pytest.raises(UserError, match=r"model has a vocabulary of 299, but .* was tokenised with 300 entries"):
        store.check_vocabulary(VOCABULARY - 1, Path("model"))


def prose(words: int, seed: int = 0) -> str:
    """Words of random letters: enough different pairs for any small number of merges."""
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 8))) for _ in range(words))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe([prose(500)], VOCABULARY)


@pytest.fixture(scope="module")
def saved(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    save_tokenizer(tokenizer, folder)
    return folder


@pytest.mark.parametrize("vocab_size", [257, 258, 400])
def test_the_tokenizer_has_exactly_the_entries_asked_for(vocab_size: int) -> None:
    assert train_bpe([prose(500)], vocab_size).get_vocab_size() == vocab_size


def test_text_too_small_for_the_vocabulary_is_refused() -> None:
    message = r"tokenizer.vocab_size: the training text yields 259 entries, not 300; use at most 259 or more text"
    with pytest.raises(UserError, match=message):
        train_bpe(["ab ab ab"], 300)


def test_the_same_text_gives_the_same_tokenizer() -> None:
    assert train_bpe([prose(500)], VOCABULARY).to_str() == train_bpe([prose(500)], VOCABULARY).to_str()


def test_transformers_loads_the_saved_tokenizer(tokenizer: Tokenizer, saved: Path) -> None:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(saved)
    assert (len(loaded), loaded.bos_token, loaded.eos_token, loaded.pad_token) == (VOCABULARY, *[SEPARATOR] * 3)
    text = "the sonnets, 1609 — “shall I compare thee”"
    assert loaded(text)["input_ids"] == tokenizer.encode(text).ids
    assert loaded.decode(loaded(text)["input_ids"]) == text


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_survives_the_saved_tokenizer(saved: Path, text: str) -> None:
    tokenizer = load_tokenizer(saved)
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_separator_is_one_token_and_no_other_text_makes_it(tokenizer: Tokenizer) -> None:
    separator = tokenizer.token_to_id(SEPARATOR)
    assert tokenizer.encode(SEPARATOR).ids == [separator]
    assert separator not in tokenizer.encode(prose(200, seed=1)).ids


def test_a_document_that_spells_the_separator_does_not_hold_it(tokenizer: Tokenizer, saved: Path) -> None:
    loaded = load_tokenizer(saved)
    ids = loaded.encode(f"a {SEPARATOR} b").ids
    assert tokenizer.token_to_id(SEPARATOR) not in ids
    assert loaded.decode(ids) == f"a {SEPARATOR} b"


def altered(saved: Path, folder: Path, **changes: Any) -> Path:
    """A copy of a tokenizer folder whose tokenizer.json is changed."""
    shutil.copytree(saved, folder)
    values = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(values | changes))
    return folder


FED = {
    "truncation": {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0},
    "padding": {
        "strategy": {"Fixed": 4096}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": SEPARATOR,
    },
}  # fmt: skip


@pytest.mark.parametrize("stored", [["truncation"], ["padding"], ["truncation", "padding"]], ids="+".join)
def test_a_stored_truncation_or_padding_changes_no_text(saved: Path, stored: list[str], tmp_path: Path) -> None:
    folder = altered(saved, tmp_path / "fed", **{name: FED[name] for name in stored})
    texts = [prose(100, seed=1), prose(3, seed=2)]
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).encode(texts[0]).ids != expected_of(saved, texts)[0]
    assert [load_tokenizer(folder).encode(text).ids for text in texts] == expected_of(saved, texts)
    assert list(Encoder(folder, 1).encode(texts)) == [[0, *ids] for ids in expected_of(saved, texts)]
    wrapped = load_transformers_tokenizer(folder)
    assert [wrapped.encode(text) for text in texts] == expected_of(saved, texts)
    taken = take_tokenizer(folder, VOCABULARY, tmp_path / "taken", exactly=True)
    assert taken == {"entries": VOCABULARY, "separator": 0}
    assert [load_tokenizer(tmp_path / "taken").encode(text).ids for text in texts] == expected_of(saved, texts)


def test_merges_that_were_left_out_at_random_in_training_are_all_made(saved: Path, tmp_path: Path) -> None:
    """BPE-dropout, which a tokenizer.json remembers too, would make other tokens of one text each time."""
    model = json.loads((saved / "tokenizer.json").read_text())["model"]
    folder, texts = altered(saved, tmp_path / "fed", model=model | {"dropout": 0.5}), [prose(100, seed=1)]
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).encode(texts[0]).ids != expected_of(saved, texts)[0]
    assert [load_tokenizer(folder).encode(text).ids for text in texts] == expected_of(saved, texts)
    assert list(Encoder(folder, 1).encode(texts)) == [[0, *ids] for ids in expected_of(saved, texts)]
    assert [load_transformers_tokenizer(folder).encode(text) for text in texts] == expected_of(saved, texts)


def expected_of(saved: Path, texts: list[str]) -> list[list[int]]:
    return [load_tokenizer(saved).encode(text).ids for text in texts]


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9085657\n"


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        ('{"version": "1.0", "mod', "fetch it again, or save it with the installed version of tokenizers"),
        ('{"version": "1.0", "model": {"type": "FutureBPE"}}', "fetch it again, or save it"),
        ("", "fetch it again, or save it"),
        (POINTER, "it is a Git LFS pointer: fetch the file itself, by git lfs pull"),
    ],
    ids=["cut", "newer", "empty", "pointer"],
)
def test_a_tokenizer_that_cannot_be_read_is_named_in_one_line(
    saved: Path, content: str, remedy: str, tmp_path: Path
) -> None:
    shutil.copytree(saved, tmp_path / "broken")
    (tmp_path / "broken/tokenizer.json").write_text(content)
    for load in (load_tokenizer, load_transformers_tokenizer, separator_of):
        with pytest.raises(
            UserError, match=rf"^the tokenizer .*broken/tokenizer\.json cannot be read \(.+\): {remedy}"
        ):
            load(tmp_path / "broken")


BEGIN, END = {"id": "<bos>", "ids": [VOCABULARY], "tokens": ["<bos>"]}, {"id": "<eos>", "ids": [2], "tokens": ["<eos>"]}


@pytest.mark.parametrize(
    ("around", "separator"),
    [
        ([("<bos>", 0), "text"], VOCABULARY),
        ([("<bos>", 0), "text", ("<eos>", 0)], VOCABULARY),
        (["text", ("<eos>", 0)], 0),
        (["text"], 0),
    ],
    ids=["before", "before and behind", "behind", "none"],
)
def test_documents_begin_as_the_tokenizer_begins_a_text(
    saved: Path, around: list[Any], separator: int, tmp_path: Path
) -> None:
    """As Gemma's and Llama 3's tokenizers do; without such a token documents begin with the end-of-text token."""
    single = [
        {"Sequence": {"id": "A", "type_id": 0}} if each == "text" else {"SpecialToken": {"id": each[0], "type_id": 0}}
        for each in around
    ]
    template = {
        "type": "TemplateProcessing", "single": single, "pair": single,
        "special_tokens": {"<bos>": BEGIN, "<eos>": END},
    }  # fmt: skip
    added = json.loads((saved / "tokenizer.json").read_text())["added_tokens"]
    begin = added[0] | {"id": VOCABULARY, "content": "<bos>"}
    folder = altered(saved, tmp_path / "beginning", post_processor=template, added_tokens=[*added, begin])
    assert separator_of(folder) == separator
    text = prose(5, seed=1)
    assert list(Encoder(folder, 1).encode([text])) == [[separator, *expected_of(saved, [text])[0]]]


def test_a_special_token_beyond_the_vocabulary_is_not_counted(saved: Path, tmp_path: Path) -> None:
    """Gemma 3 has one for images; no text becomes it."""
    added = json.loads((saved / "tokenizer.json").read_text())["added_tokens"]
    image = added[0] | {"id": VOCABULARY, "content": "<image>"}
    folder = altered(saved, tmp_path / "images", added_tokens=[*added, image])
    assert Encoder(folder, 1).vocab_size == VOCABULARY
    assert take_tokenizer(folder, VOCABULARY, tmp_path / "taken", exactly=True)["entries"] == VOCABULARY
    word = altered(saved, tmp_path / "word", added_tokens=[*added, image | {"special": False}])
    with pytest.raises(UserError, match=f"has {VOCABULARY + 1} entries, not {VOCABULARY}"):
        take_tokenizer(word, VOCABULARY, tmp_path / "refused", exactly=True)


def test_a_folder_without_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tokenizer in .* \(tokenizer.json is missing\)"):
        load_tokenizer(tmp_path)
