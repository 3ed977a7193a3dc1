"""The documents in the files of a part: lines and rows, and those that hold no text."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from pruning_vs_scratch.data import documents
from pruning_vs_scratch.data.documents import Document, LeftOut, read_part
from pruning_vs_scratch.errors import UserError


def test_broken_lines_are_counted_up_to_their_share(tmp_path: Path) -> None:
    lines = [b'{"text": "one"}', b'{"text": "tw', b'{"body": "x"}', b"", b'{"text": "two"}', b"\xff\xfe"]
    (tmp_path / "p_0.jsonl").write_bytes(b"\n".join(lines) + b"\n")

    def texts(share: float) -> tuple[list[Document], LeftOut]:
        left_out = LeftOut(share)
        return list(read_part(tmp_path, ["p_0.jsonl"], "text", left_out)), left_out

    found, left_out = texts(0.5)
    assert [document.id for document in found] == ["p_0.jsonl#000000001", "p_0.jsonl#000000005"]
    assert left_out.lines == {"p_0.jsonl": 3}
    with pytest.raises(UserError, match=r"p_0.jsonl: 3 of its 6 lines hold no document, more than broken_lines: 0.49"):
        texts(0.49)
    with pytest.raises(UserError, match=r"p_0.jsonl, line 2: not valid JSON"):
        texts(0)


def test_parquet_files_have_a_document_a_row(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": ["one", None, " ", "two"], "id": [1, 2, 3, 4]}), tmp_path / "p_0.parquet")
    found = list(read_part(tmp_path, ["p_0.parquet"], "text", LeftOut(0)))
    assert [(d.id, d.text) for d in found] == [("p_0.parquet#000000001", "one"), ("p_0.parquet#000000004", "two")]
    with pytest.raises(UserError, match="has no column 'body'; it has text, id"):
        list(read_part(tmp_path, ["p_0.parquet"], "body", LeftOut(0)))
    content = (tmp_path / "p_0.parquet").read_bytes()
    (tmp_path / "p_0.parquet").write_bytes(content[:-20])
    with pytest.raises(UserError, match="is damaged"):
        list(read_part(tmp_path, ["p_0.parquet"], "text", LeftOut(0)))


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
    found = read_part(folder, ["p_0.parquet"], "text", left_out)
    return [(document.id, document.text) for document in found]


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_of_strings_or_of_their_bytes_is_text(tmp_path: Path, kind: str) -> None:
    found = rows_in(COLUMNS[kind], tmp_path, LeftOut(0))
    assert found == [("p_0.parquet#000000001", "one"), ("p_0.parquet#000000003", "two")]


@pytest.mark.parametrize("kind", OTHER_COLUMNS)
def test_a_column_of_something_else_is_refused_with_its_type(tmp_path: Path, kind: str) -> None:
    column, named = OTHER_COLUMNS[kind]
    with pytest.raises(UserError, match=rf"^p_0\.parquet: the column 'text' holds {named}, not text: name another"):
        rows_in(column, tmp_path, LeftOut(0.9))


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["one"]), pa.array(["two"])], names=["text", "text"])
    parquet.write_table(table, tmp_path / "p_0.parquet")
    with pytest.raises(UserError, match=r"^p_0\.parquet has 2 columns 'text': name another"):
        list(read_part(tmp_path, ["p_0.parquet"], "text", LeftOut(0)))


def test_a_column_is_found_by_its_name_and_not_by_a_path_of_that_name(tmp_path: Path) -> None:
    columns = {"a": pa.array([{"b": "within another"}]), "a.b": pa.array(["one"])}
    parquet.write_table(pa.table(columns), tmp_path / "p_0.parquet")
    assert [d.text for d in read_part(tmp_path, ["p_0.parquet"], "a.b", LeftOut(0))] == ["one"]


def test_rows_are_numbered_through_however_many_are_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "ROWS_AT_ONCE", 2)
    found = rows_in(pa.array([f"row {i}" for i in range(5)]), tmp_path, LeftOut(0))
    assert found == [(f"p_0.parquet#{i + 1:09d}", f"row {i}") for i in range(5)]


@pytest.mark.parametrize("column", [NOT_UTF8, pa.array([b"one", b"caf\xe9", b"two"])], ids=["strings", "bytes"])
def test_a_row_that_is_not_utf8_counts_as_a_broken_line(tmp_path: Path, column: pa.Array) -> None:
    left_out = LeftOut(0.4)
    assert rows_in(column, tmp_path, left_out) == [("p_0.parquet#000000001", "one"), ("p_0.parquet#000000003", "two")]
    assert left_out.lines == {"p_0.parquet": 1}
    with pytest.raises(UserError, match=r"p_0\.parquet, row 2: not UTF-8 text \(byte 3\)"):
        rows_in(column, tmp_path, LeftOut(0))
    with pytest.raises(UserError, match=r"p_0\.parquet: 1 of its 3 lines hold no document"):
        rows_in(column, tmp_path, LeftOut(0.3))
