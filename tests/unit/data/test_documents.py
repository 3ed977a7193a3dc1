"""Documents are read whole and clean."""

import gzip
import hashlib
import io
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard

from corpus_parts import folder_source
from pruning_vs_scratch.config.corpus import CorpusConfig, DocumentSet
from pruning_vs_scratch.data.corpora import extract_corpora
from pruning_vs_scratch.data.documents import Document, LeftOut, normalise, read_archive, read_documents, read_folder
from pruning_vs_scratch.data.folders import list_folder
from pruning_vs_scratch.errors import UserError

EVERYTHING = DocumentSet(source="s")


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
def test_a_broken_line_is_named_and_left_out_if_allowed(tmp_path: Path, case: str) -> None:
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
