"""Documents are read whole and clean, splits are disjoint, and held-out text shares no run with training text."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.corpus import CorpusConfig, DocumentSet, EvaluationSet, PathSource, SplitRule, Splits
from pruning_vs_scratch.data.corpora import extract_corpora
from pruning_vs_scratch.data.documents import Document, LeftOut, normalise, read_archive, read_documents, read_folder
from pruning_vs_scratch.data.folders import list_folder
from pruning_vs_scratch.data.overlap import BLANK_LINES, RunHasher, drop_shared, normalised_words, shared_runs
from pruning_vs_scratch.data.splits import HELD_OUT, TRAIN, Divider, hash_position
from pruning_vs_scratch.errors import UserError

EVERYTHING = DocumentSet(source="s")


def folder_source(folder: Path) -> PathSource:
    return PathSource(kind="path", path=str(folder))


def ids_and_texts(folder: Path, selected: DocumentSet = EVERYTHING) -> list[tuple[str, str]]:
    return [(document.id, document.text) for document in read_folder(folder_source(folder), selected, LeftOut(0))]


def test_a_folder_of_every_kind(tmp_path: Path) -> None:
    lines = b'{"text": "one"}\n\n{"text": "two"}\n'
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_bytes("\ufeff  café\r\nend \r\n\x1a".encode())
    (tmp_path / "b.jsonl").write_bytes(lines)
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "d.jsonl.zst").write_bytes(zstandard.compress(lines))
    (tmp_path / "ignored.pdf").write_bytes(b"\xff")
    (tmp_path / "empty.txt").write_bytes(b" \n")
    found = ids_and_texts(tmp_path)
    assert found == sorted(found)
    assert found[-1] == ("deep/a.txt", "café\nend")
    assert found[:2] == [("b.jsonl#000000001", "one"), ("b.jsonl#000000003", "two")]
    assert [text for _, text in found] == ["one", "two"] * 3 + ["café\nend"]


BROKEN_LINES = {
    "cut": "{broken",
    "a list": '["a list"]',
    "no text": '{"body": "no text"}',
    "a number": '{"text": 3}',
    "half a pair": '{"text": "\\ud800"}',
    "a number of 5,000 digits": f'{{"text": "fine", "id": {"1" * 5000}}}',
    "deep lists": f'{{"text": "fine", "id": {"[" * 100_000}{"]" * 100_000}}}',
    "deep objects": '{"text": "fine", "id": ' + '{"a":' * 100_000 + "1" + "}" * 100_001,
}


@pytest.mark.parametrize("case", BROKEN_LINES)
def test_a_broken_line_is_named_and_left_out_where_that_is_allowed(tmp_path: Path, case: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' + BROKEN_LINES[case] + '\n{"text": "too"}\n')
    with pytest.raises(UserError, match=r"a\.jsonl, line 2: "):
        ids_and_texts(tmp_path)
    left_out = LeftOut(0.5)
    documents = read_folder(folder_source(tmp_path), EVERYTHING, left_out)
    assert [document.text for document in documents] == ["fine", "too"]
    assert left_out.lines == {"a.jsonl": 1}


@pytest.mark.parametrize("window_log", [27, 28, 29])
def test_a_zst_file_with_a_long_window_is_read(tmp_path: Path, window_log: int) -> None:
    """From 28 on the library's own default refuses them; zstd --long writes them."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=window_log, enable_ldm=True)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()  # of unknown size
    (tmp_path / "a.jsonl.zst").write_bytes(stream.compress(b'{"text": "one"}\n') + stream.flush())
    assert ids_and_texts(tmp_path) == [("a.jsonl.zst#000000001", "one")]


def test_files_that_are_no_text_are_named_and_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "texts"
    (folder / "sub").mkdir(parents=True)
    for i in range(4):
        (folder / f"f{i}.txt").write_text(f"text {i}")
    for name in ("train.json.gz", "MORE.JSONL", "sub/a.txt.gz", "table.parquet", ".DS_Store", ".git.txt.swp"):
        (folder / name).write_bytes(b"\xff")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/b.txt").write_text("behind a link")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "file.txt").symlink_to(tmp_path / "elsewhere/b.txt")
    (folder / "lost.txt").symlink_to(tmp_path / "nowhere.txt")
    splits = {name: {"include": [f"f{i}.txt"]} for i, name in enumerate(("calibration", "validation", "test"))}
    corpus = CorpusConfig.model_validate(
        {
            "sources": {"mine": {"kind": "path", "path": str(folder)}},
            "train": [{"source": "mine"}],
            "splits": splits,
            "evaluation": {},
        }
    )
    facts = extract_corpora(corpus, {}, tmp_path / "out")
    named = ["MORE.JSONL", "linked", "lost.txt", "sub/a.txt.gz", "table.parquet", "train.json.gz"]
    assert facts["train"]["files_left_out"] == {"mine": named}
    assert [document.id for document in read_documents(tmp_path / "out/train.jsonl")] == ["f3.txt", "file.txt"]
    assert (
        "the source mine leaves out links to folders and what is not .txt, .jsonl, .jsonl.gz, .jsonl.zst: "
        in caplog.text
    )
    assert ", ".join(named) in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no names that are not UTF-8")
def test_a_name_that_is_not_utf8_is_refused_if_it_is_that_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("fine")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.pdf")).write_text("x")
    assert ids_and_texts(tmp_path) == [("a.txt", "fine")]
    assert list_folder(tmp_path).left_out == ["caf\\udce9.pdf"]
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("x")
    with pytest.raises(UserError, match=r"the name of the file caf\\udce9\.txt is not UTF-8: rename it"):
        ids_and_texts(tmp_path)


def test_a_stray_file_changes_no_hash_of_what_was_read(corpus: CorpusConfig, tmp_path: Path) -> None:
    folder = Path(next(source.path for source in corpus.sources.values() if isinstance(source, PathSource)))

    def inputs() -> dict[str, str]:
        command = [sys.executable, str(REPOSITORY / "workflow/scripts/extract_documents.py"), "--corpus"]
        command += [corpus.model_dump_json(), "--out", str(tmp_path / "out"), "--manifest", str(tmp_path / "m.json")]
        subprocess.run(command, check=True, capture_output=True)
        return dict(json.loads((tmp_path / "m.json").read_text())["inputs"])

    before = inputs()
    (folder / ".DS_Store").write_bytes(b"x")
    assert inputs() == before
    changed = sorted(folder.rglob("*.txt"))[0]
    changed.write_text(changed.read_text() + " and more")
    assert inputs() != before


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("zst", zstandard.compress)])
def test_a_cut_off_compressed_file_is_named(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    lines = (f'{{"text": "{hashlib.sha256(bytes([i])).hexdigest()}"}}\n'.encode() for i in range(99))
    (tmp_path / f"a.jsonl.{suffix}").write_bytes(compress(b"".join(lines))[:-40])
    with pytest.raises(UserError, match=rf"a\.jsonl\.{suffix} is damaged"):
        ids_and_texts(tmp_path)


def test_a_zst_file_of_several_frames_is_read_whole(tmp_path: Path) -> None:
    frames = [zstandard.compress(part) for part in (b'{"text": "o', b'ne"}\n{"text": "two"}\n')]
    (tmp_path / "a.jsonl.zst").write_bytes(b"".join(frames))
    assert [text for _, text in ids_and_texts(tmp_path)] == ["one", "two"]


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt is not UTF-8"):
        ids_and_texts(tmp_path)


@pytest.mark.parametrize("pattern", [{"include": ["*/macbet.txt"]}, {"exclude": ["*/macbet.txt"]}])
def test_a_pattern_without_a_match_names_near_members(tmp_path: Path, pattern: dict[str, list[str]]) -> None:
    (tmp_path / "macbeth.txt").write_text("x")
    (tmp_path / "zebra.txt").write_text("x")
    with pytest.raises(UserError, match=r"'\*/macbet\.txt' matches nothing .* near: macbeth\.txt"):
        ids_and_texts(tmp_path, DocumentSet(source="s", **pattern))


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        ids_and_texts(tmp_path / "none")


def test_archives_of_both_kinds(tmp_path: Path) -> None:
    texts = {"p/z.txt": "last", "p/a.txt": "first", "p/skip.bin": "\udcff"}
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel, tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        for name, text in texts.items():
            content = text.encode(errors="surrogateescape")
            wheel.writestr(name, content)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    for name in ("a.whl", "a.tar.gz"):
        documents = list(read_archive(tmp_path / name, DocumentSet(source="s", exclude=["*.bin"])))
        assert documents == [Document("p/a.txt", "first"), Document("p/z.txt", "last")]


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar.gz"):
        (tmp_path / name).write_bytes(b"not an archive")
        with pytest.raises(UserError, match="is damaged"):
            list(read_archive(tmp_path / name, EVERYTHING))


def arrow_archive(path: Path, rows: list[str], *, cut: int = 0) -> Path:
    table = pa.table({"question": [f"q{i}" for i in range(len(rows))], "passage": rows})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content = sink.getvalue().to_pybytes()
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("data.arrow", content[: len(content) - cut])
    return path


def test_rows_of_an_arrow_member_are_documents_and_a_shared_text_is_one(tmp_path: Path) -> None:
    archive = arrow_archive(tmp_path / "a.whl", ["one ", "two", "one", " ", "three"])
    found = [(document.id, document.text) for document in read_archive(archive, EVERYTHING, "passage")]
    assert found == [(f"data.arrow#{row:09d}", text) for row, text in ((0, "one"), (1, "two"), (4, "three"))]


def test_an_arrow_member_of_bytes_nulls_or_numbers(tmp_path: Path) -> None:
    values = {
        "bytes": pa.array([b"caf\xc3\xa9", None, b"two"]),
        "number": pa.array([1, 2, 3]),
        "bad": pa.array([b"\xe9"] * 3),
    }
    write_arrow(tmp_path / "a.whl", values)
    everything = list(read_archive(tmp_path / "a.whl", EVERYTHING, "bytes"))
    assert [(document.id, document.text) for document in everything] == [
        ("t.arrow#000000000", "café"),
        ("t.arrow#000000002", "two"),
    ]
    with pytest.raises(UserError, match=r"t\.arrow: the column 'number' holds int64, not text"):
        list(read_archive(tmp_path / "a.whl", EVERYTHING, "number"))
    with pytest.raises(UserError, match=r"t\.arrow, row 0: not UTF-8 text \(byte 0\)"):
        list(read_archive(tmp_path / "a.whl", EVERYTHING, "bad"))


def write_arrow(wheel: Path, columns: dict[str, pa.Array]) -> None:
    table, sink = pa.table(columns), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("t.arrow", sink.getvalue().to_pybytes())


def test_an_arrow_member_without_the_column_or_cut_off_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no column 'text'; it has question, passage"):
        list(read_archive(arrow_archive(tmp_path / "a.whl", ["one"]), EVERYTHING))
    with pytest.raises(UserError, match=r"b\.whl is damaged"):
        list(read_archive(arrow_archive(tmp_path / "b.whl", ["one"], cut=100), EVERYTHING, "passage"))


def test_gutenberg_licence_is_cut() -> None:
    text = (
        "Title page\n*** START OF THE PROJECT GUTENBERG EBOOK VERSES ***\nThe verse.\n"
        "*** END OF THE PROJECT GUTENBERG EBOOK VERSES ***\nLicence"
    )
    assert normalise(text.encode(), "a") == "The verse."
    assert normalise(b"The verse.\nEnd of Project Gutenberg's Verses\nx", "a") == "The verse."


# Splits

FRACTIONS = st.floats(0.01, 0.3)
IDS = st.sets(st.text("abcdefgh/.", min_size=1, max_size=8), min_size=1, max_size=60)


def fraction_splits(*fractions: float) -> Splits:
    return Splits(**{name: SplitRule(fraction=f) for name, f in zip(HELD_OUT, fractions, strict=True)})


def glob_splits(**patterns: str) -> Splits:
    return Splits(**{name: SplitRule(include=[patterns.get(name, f"{name}*")]) for name in HELD_OUT})


@given(IDS, FRACTIONS, FRACTIONS, FRACTIONS, st.randoms())
def test_a_split_depends_on_the_name_only(ids: set[str], a: float, b: float, c: float, random: object) -> None:
    splits = fraction_splits(a, b, c)
    forward, backward = Divider(splits), Divider(splits)
    first = {i: forward.split_of(i) for i in sorted(ids)}
    second = {i: backward.split_of(i) for i in sorted(ids, reverse=True)}
    assert first == second
    assert set(first.values()) <= {TRAIN, *HELD_OUT}


@given(IDS, FRACTIONS, FRACTIONS)
def test_growing_a_later_split_moves_nothing_between_the_earlier_ones(ids: set[str], a: float, b: float) -> None:
    small, large = Divider(fraction_splits(a, b, 0.01)), Divider(fraction_splits(a, b, 0.3))
    for i in ids:
        before, after = small.split_of(i), large.split_of(i)
        assert before == after or (before, after) == (TRAIN, "test")


def test_fractions_come_out_as_asked() -> None:
    divider = Divider(fraction_splits(0.1, 0.2, 0.3))
    found = [divider.split_of(f"document {i}") for i in range(20_000)]
    divider.check_complete()
    shares = [found.count(name) / len(found) for name in (*HELD_OUT, TRAIN)]
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.015)
    assert 0 <= min(map(hash_position, map(str, range(1000)))) < 0.01


def test_a_document_in_two_splits_is_refused() -> None:
    divider = Divider(glob_splits(test="*a*"))
    with pytest.raises(UserError, match="calibration and test"):
        divider.split_of("calibration a")


def test_an_empty_split_or_an_unused_pattern_is_refused() -> None:
    divider = Divider(glob_splits())
    for name in ("calibration", "validation", "other"):
        divider.split_of(name)
    with pytest.raises(UserError, match=r"'test\*'"):
        divider.check_complete()
    divider.split_of("test")
    divider.check_complete()
    empty = Divider(fraction_splits(0.1, 0.1, 0.1))
    empty.split_of("only one")
    with pytest.raises(UserError, match="split is empty"):
        empty.check_complete()


def test_fractions_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(UserError, match=r"add up to 1\.2"):
        Divider(fraction_splits(0.4, 0.4, 0.4))


# Overlap

WORDS = st.sampled_from(["a", "b", "c", "It's", "d,"])
TEXTS = st.lists(st.tuples(WORDS, st.sampled_from([" ", " ", " ", "\n", "\n  ", "\n\n", "\n \n\n"])), max_size=40).map(
    lambda pairs: "".join(word + gap for word, gap in pairs).strip()
)


def runs(words: list[str], n: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


@settings(max_examples=300)
@given(st.lists(TEXTS, max_size=3), st.lists(TEXTS, max_size=3), st.integers(2, 5))
def test_kept_text_shares_no_run_with_training_text(training: list[str], held_out: list[str], n: int) -> None:
    train = [Document(str(i), text) for i, text in enumerate(training)]
    held = [Document(str(i), text) for i, text in enumerate(held_out)]
    hasher = RunHasher(n)
    kept, report = drop_shared(held, shared_runs(held, train, hasher), hasher)
    known = set().union(*(runs(normalised_words(text), n) for text in training))
    blocks = [normalised_words(block) for document in kept for block in BLANK_LINES.split(document.text)]
    assert not any(runs(block, n) & known for block in blocks)
    # Nothing is lost without a reason: every block that holds no known run is still there.
    clean = [b for text in held_out for block in BLANK_LINES.split(text) if (b := normalised_words(block))]
    clean = [block for block in clean if not runs(block, n) & known]
    assert all(block in blocks for block in clean)
    assert report.words - report.words_dropped == sum(map(len, blocks))


def test_short_lines_are_kept_and_layout_stays() -> None:
    held = Document("held", "FIRST WITCH.\n\n\nAll of this is in the training text\n  but this is new\n\n[Exeunt.]")
    train = Document("train", "FIRST WITCH.\n\n[Exeunt.]\n\nand all of this, IS in the training text too")
    hasher = RunHasher(8)
    kept, report = drop_shared([held], shared_runs([held], [train], hasher), hasher)
    assert kept[0].text == "FIRST WITCH.\n\n\n  but this is new\n\n[Exeunt.]"
    assert (report.paragraphs, report.paragraphs_dropped, report.words_dropped) == (4, 1, 8)


def test_text_without_overlap_is_untouched() -> None:
    held = Document("held", "one two\n \n\n  three four\n  five\n\n\nsix")
    hasher = RunHasher(2)
    kept, _ = drop_shared([held], shared_runs([held], [], hasher), hasher)
    assert kept == [held]


# The whole step


@pytest.fixture
def corpus(tmp_path: Path) -> CorpusConfig:
    folder = tmp_path / "source"
    folder.mkdir()
    common = "these eight words stand in the training text"
    texts = {
        "t1": f"Some training text. {common}",
        "calibration": "Pruning reads these words and nothing else, never the test.",
        "validation": f"Validation text of its own.\n\n{common}",
        "test": "Test text of its own.\n\nPruning reads these words and nothing else, never the test.",
        "other": "Another corpus.",
    }
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    return CorpusConfig(
        sources={"s": folder_source(folder)},
        train=[DocumentSet(source="s", exclude=["other.txt"])],
        splits=glob_splits(),
        evaluation={"elsewhere": EvaluationSet(source="s", include=["other.txt"])},
    )


def test_corpora_are_divided_and_protected(corpus: CorpusConfig, tmp_path: Path) -> None:
    facts = extract_corpora(corpus, {}, tmp_path / "out")
    texts = {name: [d.text for d in read_documents(tmp_path / "out" / f"{name}.jsonl")] for name in facts}
    assert texts["validation"] == ["Validation text of its own."]
    assert texts["test"] == ["Test text of its own."]
    assert texts["elsewhere"] == ["Another corpus."]
    assert [len(texts[name]) for name in ("train", "calibration")] == [1, 1]
    assert {name: f["words_dropped"] for name, f in facts.items() if name != "train"} == {
        "calibration": 0,
        "validation": 8,
        "test": 10,
        "elsewhere": 0,
    }


def test_training_text_of_several_sources_is_divided_as_one(corpus: CorpusConfig, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "t2.txt").write_text("Text of its own.\n\nValidation text of its own.")
    sources = corpus.sources | {"more": folder_source(tmp_path / "more")}
    changed = corpus.model_copy(update={"sources": sources, "train": [*corpus.train, DocumentSet(source="more")]})
    changed = changed.model_copy(update={"overlap_words": 5})
    with pytest.raises(UserError, match="nothing is left of the corpus validation"):
        extract_corpora(changed, {}, tmp_path / "out")
    (tmp_path / "source" / "validation.txt").write_text("Other validation text of its own, and more beside.")
    facts = extract_corpora(changed.model_copy(update={"overlap_words": 8}), {}, tmp_path / "out")
    assert facts["train"]["documents"] == 2
    assert [d.id for d in read_documents(tmp_path / "out" / "train.jsonl")] == ["t1.txt", "t2.txt"]


def test_text_that_is_read_as_the_authors_do_stays_as_it_is(corpus: CorpusConfig, tmp_path: Path) -> None:
    (tmp_path / "source" / "other.txt").write_text("these eight words stand in the training text")
    as_authors = EvaluationSet(source="s", include=["other.txt"], mode="authors")
    changed = corpus.model_copy(update={"evaluation": {"elsewhere": as_authors}})
    facts = extract_corpora(changed, {}, tmp_path / "out")
    [document] = read_documents(tmp_path / "out" / "elsewhere.jsonl")
    assert document.text == "these eight words stand in the training text"
    assert facts["elsewhere"] == {"documents": 1, "characters": len(document.text)}
    assert facts["test"]["words_dropped"] == 10


def test_extraction_is_reproducible(corpus: CorpusConfig, tmp_path: Path) -> None:
    for name in ("a", "b"):
        extract_corpora(corpus, {}, tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_a_corpus_that_overlaps_entirely_is_refused(corpus: CorpusConfig, tmp_path: Path) -> None:
    (tmp_path / "source" / "other.txt").write_text("these eight words stand in the training text")
    with pytest.raises(UserError, match="nothing is left of the corpus elsewhere"):
        extract_corpora(corpus, {}, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_archive_is_checked_again_before_it_is_opened(corpus: CorpusConfig, tmp_path: Path) -> None:
    archive = tmp_path / "a-1.tar.gz"
    archive.write_bytes(b"changed since")
    source = {"kind": "pypi", "project": "a", "version": "1", "file": archive.name, "sha256": "0" * 64}
    changed = CorpusConfig.model_validate(json.loads(corpus.model_dump_json()) | {"sources": {"s": source}})
    with pytest.raises(UserError, match="expected sha256 0000"):
        extract_corpora(changed, {"s": archive}, tmp_path / "out")
    with pytest.raises(UserError, match="--fetched s=PATH"):
        extract_corpora(changed, {}, tmp_path / "out")


def test_the_entry_point_records_no_absolute_path(corpus: CorpusConfig, tmp_path: Path) -> None:
    manifest = tmp_path / "extract.json"
    command = [sys.executable, str(REPOSITORY / "workflow/scripts/extract_documents.py"), "--corpus"]
    command += [corpus.model_dump_json(), "--out", str(tmp_path / "out"), "--manifest", str(manifest)]
    subprocess.run(command, check=True, capture_output=True)
    text = manifest.read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["facts"]["corpora"]["test"]["words_dropped"] == 10
