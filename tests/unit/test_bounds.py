"""Sizes that a file claims are bounded before they are believed: of archives, GGUF headers, packages and lines."""

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from pruning_vs_scratch.archive import unpack as archive
from pruning_vs_scratch.archive.listing import LISTING
from pruning_vs_scratch.archive.unpack import unpack
from pruning_vs_scratch.config.corpus import DocumentSet
from pruning_vs_scratch.data import documents
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import MIB
from pruning_vs_scratch.parents.gguf_header import MOST_ENTRIES, check_header

HUGE = 1 << 40
GGUF_STRING, GGUF_ARRAY, GGUF_UINT8 = 8, 9, 0


def listing_text(size: int) -> bytes:
    files = {"results/a.csv": {"bytes": size, "sha256": "0" * 64}}
    return json.dumps({"schema_version": 1, "study": "tiny", "source_hash": "0", "files": files}).encode()


class Zeros(io.RawIOBase):
    """A stream of zeros."""

    def read(self, size: int = -1) -> bytes:
        """Some of them."""
        return bytes(size)


def write_bomb(path: Path, listing: bytes, content_bytes: int, pax: bool = False) -> Path:
    """An archive whose one listed file is this many zeros; with ``pax``, they are in a header."""
    members = [(LISTING, len(listing), io.BytesIO(listing)), ("results/a.csv", content_bytes, Zeros())]
    with (
        path.open("wb") as file,
        zstandard.ZstdCompressor().stream_writer(file) as compressed,
        tarfile.open(fileobj=compressed, mode="w|") as tar,
    ):
        for name, size, stream in members:
            member = tarfile.TarInfo(f"tiny/{name}")
            member.size = size
            member.type = tarfile.XHDTYPE if pax and name != LISTING else tarfile.REGTYPE
            tar.addfile(member, stream)  # type: ignore[arg-type]
    return path


def test_no_more_of_an_archives_file_is_written_than_is_listed(tmp_path: Path) -> None:
    bomb = write_bomb(tmp_path / "bomb.tar.zst", listing_text(1), 64 * MIB)
    assert bomb.stat().st_size < MIB / 8
    with pytest.raises(UserError, match=r"altered or damaged: results/a\.csv"):
        unpack(bomb, tmp_path / "out")
    assert (tmp_path / "out/results/a.csv").stat().st_size == 2


def test_an_archives_headers_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LARGEST_LISTING", MIB)
    bomb = write_bomb(tmp_path / "bomb.tar.zst", listing_text(1), 64 * MIB, pax=True)
    with pytest.raises(UserError, match=r"holds more than its archive\.json lists"):
        unpack(bomb, tmp_path / "out")


@pytest.mark.parametrize("listing", [b" " * (MIB + 1), b"[" * 10_000, listing_text(-1)])
def test_an_archives_listing_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listing: bytes) -> None:
    monkeypatch.setattr(archive, "LARGEST_LISTING", MIB)
    bomb = write_bomb(tmp_path / "bomb.tar.zst", listing, 1)
    with pytest.raises(UserError, match=r"larger than 1 MiB|holds more than|is damaged"):
        unpack(bomb, tmp_path / "out")
    folder = tmp_path / "unpacked"
    folder.mkdir()
    (folder / LISTING).write_bytes(listing)
    with pytest.raises(UserError, match=r"larger than 1 MiB|is damaged"):
        unpack(folder, tmp_path / "out")


def test_an_archive_that_claims_more_than_the_disk_holds_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    bomb = write_bomb(tmp_path / "bomb.tar.zst", listing_text(1 << 60), 1)
    with pytest.raises(UserError, match="MiB are free"):
        unpack(bomb, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def gguf(*keys: bytes, tensors: int = 0, count: int | None = None) -> bytes:
    """A GGUF header of some keys; ``tensors`` and ``count`` are what it claims to hold."""
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, len(keys) if count is None else count) + b"".join(keys)


def key(kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", 1) + b"k" + struct.pack("<I", kind) + value


def array(kind: int, count: int, entries: bytes = b"") -> bytes:
    return key(GGUF_ARRAY, struct.pack("<IQ", kind, count) + entries)


def tensor(*dimensions: int) -> bytes:
    count = len(dimensions)
    return struct.pack("<Q", 1) + b"w" + struct.pack(f"<I{count}QIQ", count, *dimensions, 0, 0)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"PK", "ends within its header"),
        (b"GGML" + bytes(20), "does not begin with GGUF"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version"),
        (gguf(array(GGUF_UINT8, HUGE)), "claims 1,099,511,627,776 entries"),
        (gguf(array(GGUF_STRING, HUGE)), "claims 1,099,511,627,776 entries"),
        (gguf(*[array(GGUF_UINT8, MOST_ENTRIES // 2, bytes(MOST_ENTRIES // 2))] * 3), "claims"),
        (gguf(array(GGUF_ARRAY, 1, struct.pack("<IQ", GGUF_UINT8, 0))), "holds arrays"),
        (gguf(array(GGUF_UINT8, 100)), "ends within its header"),
        (gguf(key(GGUF_STRING, struct.pack("<Q", HUGE))), "a string claims"),
        (gguf(key(99, b"")), "unknown type 99"),
        (gguf(count=HUGE), "ends within its header"),
        (gguf(tensors=HUGE), "ends within its header"),
        (gguf(tensors=1) + tensor(*[1] * 5), "has 5 dimensions"),
        (gguf(tensors=1) + tensor(HUGE, HUGE), "larger than any model"),
    ],
)
def test_a_gguf_header_that_claims_too_much_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(ValueError, match=problem):
        check_header(tmp_path / "a.gguf")


def test_a_gguf_header_that_is_right_passes(tmp_path: Path) -> None:
    string = struct.pack("<Q", 3) + b"abc"
    content = gguf(key(4, bytes(4)), key(GGUF_STRING, string), array(GGUF_STRING, 2, string * 2), tensors=1)
    (tmp_path / "a.gguf").write_bytes(content + tensor(2, 3))
    check_header(tmp_path / "a.gguf")


def claiming_tar(path: Path) -> Path:
    """A .tar.gz whose member claims 2^40 bytes and holds none."""
    member = tarfile.TarInfo("a.txt")
    member.size = HUGE
    path.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT)))
    return path


def zipped_zeros(path: Path) -> Path:
    """A .whl with two members of zeros, each within the bound and both beyond it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.txt", "b.txt"):
            archive.writestr(name, bytes(MIB))
    return path


@pytest.mark.parametrize(("make", "name"), [(claiming_tar, "a.tar.gz"), (zipped_zeros, "a.whl")])
def test_members_of_a_package_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path], name: str
) -> None:
    monkeypatch.setattr(documents, "MOST_TEXT", 3 * MIB // 2)
    with pytest.raises(UserError, match=r"selected members .* hold more than .* MiB"):
        list(documents.read_archive(make(tmp_path / name), DocumentSet(source="s")))


def zstd_line(path: Path) -> Path:
    """A line of zeros as zstd has it: 3,000 times smaller."""
    path.write_bytes(zstandard.compress(bytes(16 * MIB)))
    return path


def gzip_line(path: Path) -> Path:
    """A line of zeros as gzip has it: 1,000 times smaller."""
    path.write_bytes(gzip.compress(bytes(16 * MIB)))
    return path


@pytest.mark.parametrize(("make", "name"), [(zstd_line, "a.jsonl.zst"), (gzip_line, "a.jsonl.gz")])
def test_lines_of_a_compressed_file_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path], name: str
) -> None:
    monkeypatch.setattr(documents, "LONGEST_LINE", MIB)
    with pytest.raises(UserError, match=r"line 1 is longer than 1 MiB"):
        list(documents.read_lines(make(tmp_path / name)))
