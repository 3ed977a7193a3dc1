"""A training text that is read in parts makes the same corpora and tokens as one process would make of it."""

import itertools
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from checkpoints_world import write_published
from hub_server import HubServer, hub_server
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.corpus import CorpusConfig, HubFilesSource
from pruning_vs_scratch.data import tokens
from pruning_vs_scratch.data.corpora import extract_corpora
from pruning_vs_scratch.data.documents import Document, LeftOut, read_documents, read_part
from pruning_vs_scratch.data.parts import PartReader, drop_overlap, find_overlap, gather_held_out, write_corpora
from pruning_vs_scratch.data.splits import HELD_OUT
from pruning_vs_scratch.data.tokenizer import Encoder, load_tokenizer
from pruning_vs_scratch.data.tokens import TokenStore, join_tokens, write_tokens
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import file_facts
from pruning_vs_scratch.manifest import ManifestWriter
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.parts import parts_of

NAME, REVISION = "owner/pages", "a" * 40
FILES = "group_{1..2}/part_{00..02}.jsonl.zst"
NAMES = [f"group_{group}/part_{number:02d}.jsonl.zst" for group in (1, 2) for number in range(3)]


def source(**changes: Any) -> HubFilesSource:
    values = {"kind": "hub_files", "dataset": NAME, "revision": REVISION, "files": FILES, "tokens_per_file": 1000}
    return HubFilesSource.model_validate(values | changes)


def write_pages(folder: Path) -> None:
    """Six files of pages, some of which repeat sentences of others."""
    rng = random.Random(0)
    words = [f"w{i}" for i in range(300)]
    common = [" ".join(rng.choices(words, k=12)) for _ in range(10)]
    for name in NAMES:
        pages = [
            "\n\n".join([" ".join(rng.choices(words, k=30)), *([rng.choice(common)] if rng.random() < 0.3 else [])])
            for _ in range(40)
        ]
        lines = "".join(json.dumps({"text": page, "url": "x"}) + "\n" for page in pages)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(zstandard.compress(lines.encode()))


def corpus_of(first: dict[str, Any], folder: Path) -> CorpusConfig:
    """Training text of a source, and an evaluation corpus that repeats some of it."""
    (folder / "poem").mkdir(exist_ok=True)
    poem = " ".join(f"w{i}" for i in range(0, 300, 7))
    (folder / "poem/poem.txt").write_text(f"{poem}\n\nand a line of its own, which no page holds, or ever will")
    return CorpusConfig.model_validate(
        {
            "sources": {"pages": first, "poems": {"kind": "path", "path": str(folder / "poem")}},
            "train": [{"source": "pages"}],
            "splits": {name: {"fraction": 0.1} for name in HELD_OUT},
            "evaluation": {"poem": {"source": "poems"}},
        }
    )


def acquired(pages: Path, folder: Path, names: list[str]) -> Path:
    """A part as acquire_part.py leaves it."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(pages / name, folder / name)
    ManifestWriter("test", {}).write(
        folder.with_name(f"{folder.name}.manifest.json"), {}, {"files": file_facts(folder)}
    )
    return folder


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=3))
def test_names_are_numbered_as_a_shell_would(ranges: list[tuple[int, int, int]]) -> None:
    texts = [f"{{{first:0{width}d}..{first + more}}}" for first, more, width in ranges]
    numbered = source(files="-".join(texts) + ".jsonl")
    widths = [len(f"{first:0{width}d}") for first, _, width in ranges]
    numbers = itertools.product(*(range(first, first + more + 1) for first, more, _ in ranges))
    expected = ["-".join(f"{n:0{w}d}" for n, w in zip(each, widths, strict=True)) + ".jsonl" for each in numbers]
    assert [numbered.file(i) for i in range(numbered.count)] == expected


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ("pages.jsonl", "give a range of numbers"),
        ("p_{3..1}.jsonl", "give a range of numbers"),
        ("../p_{0..1}.jsonl", "without . and .."),
        ("/p_{0..1}.jsonl", "without . and .."),
        ("p_{0..1}.csv", "should match pattern"),
    ],
)
def test_names_that_stand_for_nothing_are_refused(files: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        source(files=files)


def test_only_so_many_files_are_asked_for_as_the_budgets_need() -> None:
    parts = parts_of(source(files_per_part=2), tokens=2_100, training_share=0.9)
    assert [part.files for part in parts.values()] == [tuple(NAMES[:2]), tuple(NAMES[2:4])]
    assert list(parts) == ["part-00000", "part-00001"]
    assert len(parts_of(source(), tokens=5_400, training_share=0.9)) == 6
    with pytest.raises(UserError, match=r"needs 5\.4k tokens for training, which is 7 files of 1k each"):
        parts_of(source(), tokens=5_401, training_share=0.9)


def test_parts_make_the_same_corpora_and_tokens_as_one_process(tmp_path: Path) -> None:
    write_pages(tmp_path / "pages")
    tokenizer = write_published(tmp_path / "tokenizer")
    whole = corpus_of({"kind": "path", "path": str(tmp_path / "pages")}, tmp_path)
    facts = extract_corpora(whole, {}, tmp_path / "whole")
    encoder = Encoder(tokenizer, threads=2)

    corpus = corpus_of(source(files_per_part=4).model_dump(), tmp_path)
    parts = parts_of(source(files_per_part=4), tokens=6_000, training_share=1)
    readers = [
        PartReader(corpus, acquired(tmp_path / "pages", tmp_path / "acquired" / name, list(part.files)), part.files)
        for name, part in parts.items()
    ]
    for i, reader in enumerate(readers):
        stream = encoder.encode(document.text for document in reader)
        write_tokens(
            tmp_path / f"tokens{i}", stream, vocab_size=encoder.vocab_size, shard_tokens=5000,
            tokenizer_sha256=encoder.sha256,
        )  # fmt: skip
        write_corpora(tmp_path / f"held{i}", reader.held_out)
    gather_held_out(corpus, {}, [tmp_path / "held0", tmp_path / "held1"], tmp_path / "gathered")
    overlaps = [tmp_path / "0.npy", tmp_path / "1.npy"]
    for reader, overlap in zip(readers, overlaps, strict=True):
        again = PartReader(corpus, reader.folder, reader.files)
        assert find_overlap(corpus, again, tmp_path / "gathered", overlap) > 0
    found = drop_overlap(corpus, tmp_path / "gathered", overlaps, tmp_path / "parts")

    assert found == {name: fact for name, fact in facts.items() if name != "train"}
    assert sum(fact["words_dropped"] for fact in found.values()) > 0
    for name in found:
        written = [tmp_path / folder / f"{name}.jsonl" for folder in ("whole", "parts")]
        assert written[0].read_bytes() == written[1].read_bytes()
    join_tokens(tmp_path / "deep/train", [tmp_path / "tokens0", tmp_path / "tokens1"])
    store = TokenStore(tmp_path / "deep/train")
    plain, separator = load_tokenizer(tokenizer), encoder._separator
    one_by_one = [
        token
        for document in read_documents(tmp_path / "whole/train.jsonl")
        for token in (separator, *plain.encode(document.text, add_special_tokens=False).ids)
    ]
    assert len(store.index["shards"]) > 2
    np.testing.assert_array_equal(store.read(0, len(store)), one_by_one)


def test_tokens_of_another_tokenizer_are_not_joined(tmp_path: Path) -> None:
    for name, digest in (("a", "0"), ("b", "1")):
        write_tokens(tmp_path / name, [[1, 2]], vocab_size=9, shard_tokens=5, tokenizer_sha256=digest)
    with pytest.raises(UserError, match="b was tokenised by another tokenizer than"):
        join_tokens(tmp_path / "joined", [tmp_path / "a", tmp_path / "b"])
    assert not (tmp_path / "joined").exists()


def test_of_a_store_beyond_the_limit_sizes_are_compared_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tokens(tmp_path / "a", [[1, 2, 3]], vocab_size=9, shard_tokens=5, tokenizer_sha256="0")
    shard = tmp_path / "a/shard-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UserError, match="does not match its hash"):
        TokenStore(tmp_path / "a")
    monkeypatch.setattr(tokens, "HASHED_BYTES", 5)
    TokenStore(tmp_path / "a")
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match="is truncated"):
        TokenStore(tmp_path / "a")


def test_broken_lines_are_counted_up_to_their_share(tmp_path: Path) -> None:
    lines = [b'{"text": "one"}', b'{"text": "tw', b'{"body": "x"}', b"", b'{"text": "two"}', b"\xff\xfe"]
    (tmp_path / "p_0.jsonl").write_bytes(b"\n".join(lines) + b"\n")

    def texts(share: float) -> tuple[list[Document], LeftOut]:
        left_out = LeftOut(share)
        return list(read_part(source(files="p_{0..0}.jsonl"), tmp_path, ["p_0.jsonl"], left_out)), left_out

    documents, left_out = texts(0.5)
    assert [document.id for document in documents] == ["p_0.jsonl#000000001", "p_0.jsonl#000000005"]
    assert left_out.lines == {"p_0.jsonl": 3}
    with pytest.raises(UserError, match=r"p_0.jsonl: 3 of its 6 lines hold no document, more than broken_lines: 0.49"):
        texts(0.49)
    with pytest.raises(UserError, match=r"p_0.jsonl, line 2: not valid JSON"):
        texts(0)


def test_parquet_files_have_a_document_a_row(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": ["one", None, " ", "two"], "id": [1, 2, 3, 4]}), tmp_path / "p_0.parquet")
    numbered = source(files="p_{0..0}.parquet")
    documents = list(read_part(numbered, tmp_path, ["p_0.parquet"], LeftOut(0)))
    assert [(d.id, d.text) for d in documents] == [("p_0.parquet#000000001", "one"), ("p_0.parquet#000000004", "two")]
    with pytest.raises(UserError, match="has no column 'body'; it has text, id"):
        list(read_part(source(text_key="body"), tmp_path, ["p_0.parquet"], LeftOut(0)))
    content = (tmp_path / "p_0.parquet").read_bytes()
    (tmp_path / "p_0.parquet").write_bytes(content[:-20])
    with pytest.raises(UserError, match="is damaged"):
        list(read_part(numbered, tmp_path, ["p_0.parquet"], LeftOut(0)))


NOT_UTF8 = pa.Array.from_buffers(
    pa.string(),
    3,
    [None, pa.py_buffer(bytes([0, 0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 10, 0, 0, 0])), pa.py_buffer(b"onecaf\xe9two")],
)
COLUMNS = {
    "strings": pa.array(["one", None, "two"]),
    "long strings": pa.array(["one", None, "two"], pa.large_string()),
    "bytes": pa.array([b"one", None, b"two"]),
    "numbered strings": pa.array(["one", None, "two"]).dictionary_encode(),
}
OTHER_COLUMNS = {
    "lists": (pa.array([["a"]]), r"list<.*>"),
    "numbers": (pa.array([1]), "int64"),
    "truths": (pa.array([True]), "bool"),
    "structures": (pa.array([{"a": "b"}]), r"struct<.*>"),
    "times": (pa.array([1], pa.timestamp("ms")), r"timestamp\[ms\]"),
}


def rows_in(column: pa.Array, folder: Path, left_out: LeftOut) -> list[tuple[str, str]]:
    parquet.write_table(pa.table({"text": column}), folder / "p_0.parquet")
    documents = read_part(source(files="p_{0..0}.parquet"), folder, ["p_0.parquet"], left_out)
    return [(document.id, document.text) for document in documents]


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_of_strings_or_of_their_bytes_is_text(tmp_path: Path, kind: str) -> None:
    found = rows_in(COLUMNS[kind], tmp_path, LeftOut(0))
    assert found == [("p_0.parquet#000000001", "one"), ("p_0.parquet#000000003", "two")]


@pytest.mark.parametrize("kind", OTHER_COLUMNS)
def test_a_column_of_something_else_is_refused_with_its_type(tmp_path: Path, kind: str) -> None:
    column, named = OTHER_COLUMNS[kind]
    with pytest.raises(UserError, match=rf"^p_0\.parquet: the column 'text' holds {named}, not text: name another"):
        rows_in(column, tmp_path, LeftOut(0.9))


@pytest.mark.parametrize("column", [NOT_UTF8, pa.array([b"one", b"caf\xe9", b"two"])], ids=["strings", "bytes"])
def test_a_row_that_is_not_utf8_counts_as_a_broken_line(tmp_path: Path, column: pa.Array) -> None:
    left_out = LeftOut(0.4)
    assert rows_in(column, tmp_path, left_out) == [("p_0.parquet#000000001", "one"), ("p_0.parquet#000000003", "two")]
    assert left_out.lines == {"p_0.parquet": 1}
    with pytest.raises(UserError, match=r"p_0\.parquet, row 2: not UTF-8 text \(byte 3\)"):
        rows_in(column, tmp_path, LeftOut(0))
    with pytest.raises(UserError, match=r"p_0\.parquet: 1 of its 3 lines hold no document"):
        rows_in(column, tmp_path, LeftOut(0.3))


Change = Callable[[dict[str, Any]], object]
CHANGES: dict[str, tuple[Change, str]] = {
    "other text beside it": (
        lambda v: v["corpus"]["train"].append({"source": "shakespeare"}),
        "corpus.train: pages is read in parts: name it alone",
    ),
    "a choice of documents": (
        lambda v: v["corpus"]["train"][0].update(include=["a*"]),
        "corpus.train: pages is read in parts: name it alone, without include and exclude",
    ),
    "a split by name": (
        lambda v: v["corpus"]["splits"].update(test={"include": ["a*"]}),
        "corpus.splits.test: pages is read in parts: give a fraction",
    ),
    "evaluation": (
        lambda v: v["corpus"]["evaluation"].update(folio={"source": "pages"}),
        "corpus.evaluation.folio.source: pages is read in parts, for training only",
    ),
    "domains": (
        lambda v: v["corpus"].update(domains={name: {"include": ["*"], "proportion": 0.5} for name in "ab"}),
        "corpus.domains: pages is read in parts, which have no domains",
    ),
}


def in_parts(smoke: dict[str, Any]) -> dict[str, Any]:
    smoke["corpus"]["sources"]["pages"] = source(tokens_per_file=10**5).model_dump()
    smoke["corpus"]["train"] = [{"source": "pages"}]
    smoke["corpus"]["splits"] = {name: {"fraction": 0.1} for name in HELD_OUT}
    repository = {"kind": "hub", "repository": "owner/model", "revision": REVISION}
    smoke["tokenizer"] = {"kind": "checkpoint", "vocab_size": 512, "source": repository}
    return smoke


@pytest.mark.parametrize(("change", "text"), CHANGES.values(), ids=CHANGES)
def test_what_parts_cannot_do_is_refused(smoke: dict[str, Any], change: Change, text: str) -> None:
    values = in_parts(smoke)
    change(values)
    with pytest.raises(UserError, match=text):
        Study(values)


def test_a_study_says_which_files_it_needs(smoke: dict[str, Any]) -> None:
    study = Study(in_parts(smoke))
    assert [part.files for part in study.parts.values()] == [(NAMES[0],)]
    assert "train" not in study.extracted_corpora


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    write_pages(tmp_path / "root" / NAME)
    with hub_server(tmp_path / "root", {NAME: REVISION}) as server:
        yield server


def acquire(hub: HubServer, tmp_path: Path, *names: str, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, REPOSITORY / "workflow/scripts/acquire_part.py", "--dataset", NAME, "--files", *names]
    options = {"revision": REVISION, "out": str(tmp_path / "out"), "manifest": str(tmp_path / "out.manifest.json")}
    command += [f"--{name}={value}" for name, value in (options | changes).items()]
    environment = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_part_is_fetched_by_name_and_checked(hub: HubServer, tmp_path: Path) -> None:
    partial = tmp_path / "out.partial" / f"{NAMES[1]}.partial"
    partial.parent.mkdir(parents=True)
    content = (hub.root / NAME / NAMES[1]).read_bytes()
    partial.write_bytes(content[:100])
    result = acquire(hub, tmp_path, *NAMES[:2])
    assert result.returncode == 0, result.stderr
    assert hub.ranges == {NAMES[0]: [0], NAMES[1]: [100]}
    assert (tmp_path / "out" / NAMES[1]).read_bytes() == content
    manifest = json.loads((tmp_path / "out.manifest.json").read_text())
    assert set(manifest["facts"]["files"]) == set(NAMES[:2])
    assert not (tmp_path / "out.partial").exists()


def test_a_part_that_cannot_be_had_says_why(hub: HubServer, tmp_path: Path) -> None:
    for names, changes, text in (
        (["group_1/part_09.jsonl.zst"], {}, "has no file group_1/part_09.jsonl.zst"),
        (NAMES[:1], {"revision": "b" * 40}, f"has no revision {'b' * 40}"),
    ):
        result = acquire(hub, tmp_path, *names, **changes)
        assert (result.returncode, "Traceback" in result.stderr) == (1, False), result.stderr
        assert text in result.stderr
    hub.corrupted.add(NAMES[0])
    result = acquire(hub, tmp_path, NAMES[0])
    assert "is not the pinned file" in result.stderr
    assert not (tmp_path / "out").exists()
