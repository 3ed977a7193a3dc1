"""Documents: a name and clean text, read from an archive, a folder, or a corpus file that this project wrote.

Nothing is extracted to disk. A document's name is its path in the archive or folder; a line of a ``.jsonl`` file adds
``#`` and the line number, with leading zeros, so that sorting by name keeps the order of the lines. A row of an
``.arrow`` file is named likewise.
"""

import difflib
import gzip
import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import zstandard

from pruning_vs_scratch.cli import relative_name
from pruning_vs_scratch.config.corpus import DocumentSet, PathSource
from pruning_vs_scratch.data.columns import require_text_column, rows_of, text_of_row
from pruning_vs_scratch.data.folders import FILE_KINDS, LINE_KINDS, is_selected, list_folder
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import MIB

NO_PLAIN_TEXT = (".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".gz", ".zst", ".xz", ".bz2", ".zip", ".tar")
"""Extensions of files that are not prose; JSON in particular would be read with its markup, without complaint."""
LINE_DIGITS = 9
ARROW = ".arrow"
PARQUET = ".parquet"
COMPRESSED_BYTES = 1 << 12
"""Bytes of a zstd stream that are decompressed at once; they can expand by a factor of 30,000."""
MOST_TEXT = 1 << 32
"""Bytes of all members read from an archive, which are in memory together."""
LONGEST_LINE = 1 << 28
"""Largest number of bytes in a line."""
ROWS_AT_ONCE = 1024
"""Rows of a text column that are in memory together."""
LARGEST_WINDOW = 1 << 31
"""The largest window of the zstd format; the library's default refuses what ``zstd --long=28`` writes."""
DOS_END_OF_FILE = "\x1a"
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, zstandard.ZstdError, EOFError)
LICENCE_START = re.compile(
    r"\A.*?^\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG[^\n]*\*\*\*$", re.DOTALL | re.MULTILINE
)
LICENCE_END = re.compile(
    r"^(?:\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG|End of (?:the )?Project Gutenberg).*\Z",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Document:
    """A piece of text under a name that is unique in its source."""

    id: str
    text: str


@dataclass
class LeftOut:
    """Counts lines without a document; more than a given share of a file's lines is an error.

    Raises:
        UserError: the share is 0 and there is one, or there were too many by the end of a file.
    """

    share: float
    lines: dict[str, int] = field(default_factory=dict)
    """How many were left out, by file; files without any are not listed."""

    def add(self, name: str, problem: UserError) -> None:
        """Leave out one line, for this reason."""
        if not self.share:
            raise problem
        self.lines[name] = self.lines.get(name, 0) + 1

    def check(self, name: str, lines: int) -> None:
        """Check the count at the end of a file with this many lines."""
        found = self.lines.get(name, 0)
        if found > self.share * lines:
            raise UserError(
                f"{name}: {found:,} of its {lines:,} lines hold no document, more than broken_lines: {self.share:g} "
                "allows; mend the file, or allow more"
            )


def read_archive(archive: Path, selected: DocumentSet, text_key: str = "text") -> Iterator[Document]:
    """Read the selected members of a ``.tar.gz``, ``.zip`` or ``.whl``, in the order of their names.

    The archive's hash must have been checked before. Empty documents are left out. A member in the Arrow format has one
    document per row, in the column ``text_key``; a text that several rows share (a passage with several questions) is
    one document.

    Raises:
        UserError: the archive is damaged, a pattern matches no member, a member is not UTF-8, or it lacks the column.
    """
    with _damage_reported(archive):
        names, contents = _zip_members(archive, selected) if _is_zip(archive) else _tar_members(archive, selected)
    check_patterns([*selected.include, *selected.exclude], names, relative_name(archive))
    for name in sorted(contents):
        if name.endswith(ARROW):
            with _damage_reported(archive):
                yield from _arrow_documents(name, contents[name], text_key)
        else:
            yield from _document(name, contents[name])


def read_folder(source: PathSource, selected: DocumentSet, left_out: LeftOut) -> Iterator[Document]:
    """Read the selected ``.txt`` and ``.jsonl`` files of a folder, in the order of their names.

    Empty documents are left out, as are broken lines up to the share that the source allows.

    Raises:
        UserError: the folder is missing, a pattern matches no file, a file is not UTF-8 or damaged, or a line is
            not a JSON object with the text.
    """
    folder = Path(source.path)
    if not folder.is_dir():
        raise UserError(f"the folder {source.path} does not exist: correct the path under corpus.sources")
    names = list_folder(folder).text
    check_patterns([*selected.include, *selected.exclude], names, source.path)
    for name in names:
        if is_selected(name, selected):
            yield from _file_documents(folder / name, name, source.text_key, left_out)


def read_part(folder: Path, names: Iterable[str], text_key: str, left_out: LeftOut) -> Iterator[Document]:
    """Read some files of a numbered source, in their order; empty documents and broken lines are left out.

    Raises:
        UserError: a file is damaged, has no such column, or has more broken lines than allowed.
    """
    for name in names:
        if name.endswith(PARQUET):
            yield from _parquet_documents(folder / name, name, text_key, left_out)
        else:
            yield from _file_documents(folder / name, name, text_key, left_out)


def read_documents(path: Path) -> Iterator[Document]:
    """Read a corpus file: one line ``{"id": ..., "text": ...}`` per document.

    Raises:
        UserError: the file is missing or damaged.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: run the step that extracts the documents again")
    for number, line in _lines_of(path):
        record = _json_object(line, f"{relative_name(path)}, line {number}")
        if not isinstance(record.get("id"), str) or not isinstance(record.get("text"), str):
            raise UserError(f"{path}, line {number}: not a document; delete the file and extract it again")
        yield Document(record["id"], record["text"])


def read_lines(path: Path) -> Iterator[Document]:
    """Read a ``.jsonl`` file, compressed or not, outside any source: every line must be a document.

    Raises:
        UserError: the file is damaged, or a line is not a JSON object with the text.
    """
    return _file_documents(path, path.name, "text", LeftOut(0))


def read_plain_text(path: Path, option: str) -> str:
    """A file of prose given by a command's option, as one text.

    Raises:
        UserError: the file is of another kind, or cannot be read as text.
    """
    if path.name.lower().endswith(NO_PLAIN_TEXT):
        raise UserError(
            f"{option} {path} is not plain text: give text, or one document per line under the key text "
            f"({', '.join(LINE_KINDS)})"
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} as text: {error}") from error


def write_documents(path: Path, documents: Iterable[Document]) -> None:
    """Write documents as a corpus file; the caller makes the write atomic."""
    with path.open("w", encoding="utf-8") as stream:
        for document in documents:
            stream.write(json.dumps({"id": document.id, "text": document.text}, ensure_ascii=False) + "\n")


def check_patterns(patterns: Iterable[str], names: list[str], place: str) -> None:
    """Refuse a pattern that matches nothing: a typo would silently move text between corpora.

    Raises:
        UserError: names the pattern and the nearest members.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UserError(f"the pattern {pattern!r} matches nothing in {place}; {_near(pattern, names)}")


def normalise(data: bytes, name: str) -> str:
    """Decode UTF-8, unify line ends, cut Project Gutenberg's licence and surrounding whitespace.

    Raises:
        UserError: the bytes are not UTF-8.
    """
    try:
        return clean(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 text (byte {error.start}): convert it, or exclude it") from error


def clean(text: str) -> str:
    """Unify line ends, remove DOS end marks, cut Project Gutenberg's licence and surrounding whitespace."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace(DOS_END_OF_FILE, "")
    return LICENCE_END.sub("", LICENCE_START.sub("", text)).strip()


def _document(name: str, data: bytes) -> Iterator[Document]:
    text = normalise(data, name)
    if text:
        yield Document(name, text)


def _arrow_documents(name: str, data: bytes, text_key: str) -> Iterator[Document]:
    import pyarrow as pa

    try:
        table = pa.ipc.open_stream(data).read_all()
    except pa.ArrowException as error:
        raise EOFError(f"{name}: {error}") from error
    require_text_column(table.schema, text_key, name)
    first_row: dict[str, int] = {}
    for row, value in enumerate(rows_of(table[text_key].chunks)):
        if value is not None:
            first_row.setdefault(clean(text_of_row(value, f"{name}, row {row}")), row)
    for text, row in first_row.items():
        if text:
            yield Document(f"{name}#{row:0{LINE_DIGITS}d}", text)


def _is_zip(archive: Path) -> bool:
    return archive.suffix in (".zip", ".whl")


def _zip_members(archive: Path, selected: DocumentSet) -> tuple[list[str], dict[str, bytes]]:
    with zipfile.ZipFile(archive) as opened:
        members = [info for info in opened.infolist() if not info.is_dir()]
        chosen = [info for info in members if is_selected(info.filename, selected)]
        _require_bounded(archive, sum(info.file_size for info in chosen))
        return [info.filename for info in members], {info.filename: opened.read(info) for info in chosen}


def _tar_members(archive: Path, selected: DocumentSet) -> tuple[list[str], dict[str, bytes]]:
    """Read in the archive's order: going back in a compressed stream restarts it."""
    names, contents, size = [], {}, 0
    with tarfile.open(archive) as opened:
        for member in opened:
            if not member.isfile():
                continue
            names.append(member.name)
            if is_selected(member.name, selected):
                size += member.size
                _require_bounded(archive, size)
                contents[member.name] = cast(BinaryIO, opened.extractfile(member)).read()
    return names, contents


def _require_bounded(archive: Path, size: int) -> None:
    if size > MOST_TEXT:
        raise UserError(
            f"the selected members of {archive} hold more than {MOST_TEXT / MIB:,.1f} MiB: select fewer, or give the "
            "text as numbered files"
        )


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGED as error:
        raise UserError(f"{path} is damaged ({error}): delete it and fetch or write it again") from error


def _parquet_documents(path: Path, name: str, text_key: str, left_out: LeftOut) -> Iterator[Document]:
    import pyarrow as pa
    from pyarrow import parquet

    with _damage_reported(path):
        try:
            file = parquet.ParquetFile(path)
            require_text_column(file.schema_arrow, text_key, name)
            # The name of a column may also be the path of a nested column, which is then read too.
            row, batches = 0, file.iter_batches(ROWS_AT_ONCE, columns=[text_key])
            for row, value in enumerate(rows_of(batch.column(text_key) for batch in batches), start=1):
                try:
                    text = clean(text_of_row(value or b"", f"{name}, row {row}"))
                except UserError as problem:
                    left_out.add(name, problem)
                    continue
                if text:
                    yield Document(f"{name}#{row:0{LINE_DIGITS}d}", text)
        except (pa.ArrowException, OSError) as error:
            raise EOFError(str(error)) from error
    left_out.check(name, row)


def _file_documents(path: Path, name: str, text_key: str, left_out: LeftOut) -> Iterator[Document]:
    if path.suffix == ".txt":
        yield from _document(name, path.read_bytes())
        return
    number = 0
    for number, line in _lines_of(path):
        place = f"{name}, line {number}"
        try:
            text = clean(_text_of(_json_object(line, place), text_key, place))
        except UserError as problem:
            left_out.add(name, problem)
            continue
        if text:
            yield Document(f"{name}#{number:0{LINE_DIGITS}d}", text)
    left_out.check(name, number)


def _text_of(record: dict[str, Any], text_key: str, place: str) -> str:
    text = record.get(text_key)
    if not isinstance(text, str):
        raise UserError(f"{place}: no text under the key {text_key!r}; the line's keys: {', '.join(record)}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"{place}: the text holds half a surrogate pair, which no encoding can write") from error
    return text


def _lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Line numbers, from 1, and lines of a plain or compressed ``.jsonl`` file; blank ones are left out."""
    with _damage_reported(path), _opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            if len(line) > LONGEST_LINE:
                raise UserError(f"{path}: line {number} is longer than {LONGEST_LINE // MIB} MiB; cut or remove it")
            if line.strip():
                yield number, line


def _json_object(line: bytes, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # the former also for a number with thousands of digits
        raise UserError(f"{place}: not valid JSON ({error}); mend or remove the line") from error
    if not isinstance(record, dict):
        raise UserError(f"{place}: not a JSON object; mend or remove the line")
    return record


@contextmanager
def _opened(path: Path) -> Iterator[Iterable[bytes]]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:
        stream = cast(BinaryIO, opened)
        yield _lines(_zstd_blocks(stream)) if path.suffix == ".zst" else _short_lines(stream)


def _short_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines; of a line that is too long, only enough to show it."""
    return iter(lambda: stream.readline(LONGEST_LINE + 2), b"")


def _zstd_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Decompress frame by frame. The library's reader takes a truncated file for a whole one."""
    decoder = None
    while block := stream.read(COMPRESSED_BYTES):
        while block:
            decoder = decoder or zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW).decompressobj()
            yield decoder.decompress(block)
            block = decoder.unused_data if decoder.eof else b""
            decoder = None if decoder.eof else decoder
    if decoder is not None:
        raise EOFError("the compressed data ends too early")


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines; of a line that is too long, only enough to show it."""
    rest: list[bytes] = []
    size = 0
    for block in blocks:
        first, *lines = block.split(b"\n")
        rest.append(first)
        size += len(first)
        if lines:
            yield b"".join(rest)
            *complete, last = lines
            yield from complete
            rest, size = [last], len(last)
        if size > LONGEST_LINE:
            break
    yield b"".join(rest)


def _near(pattern: str, names: list[str]) -> str:
    """The members whose last part looks most like the pattern's."""
    if not names:
        return f"it holds no file of a known kind ({', '.join(FILE_KINDS)})"
    by_last = {PurePosixPath(name).name: name for name in sorted(names, reverse=True)}
    close = difflib.get_close_matches(PurePosixPath(pattern).name, sorted(by_last), n=3, cutoff=0.4)
    return "near: " + ", ".join(by_last[last] for last in close or sorted(by_last)[:3])
