"""Whatever a file holds, its reader gives a value or one clear error, in little time and memory.

The bytes are random, or those of a sound file with a few changes; the same ones in every run.
"""

import io
import json
import shutil
import struct
import tarfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
import zstandard
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pruning_vs_scratch.archive.listing import LISTING
from pruning_vs_scratch.archive.unpack import unpack
from pruning_vs_scratch.artifacts import read_manifest, sealed
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.corpus import DocumentSet
from pruning_vs_scratch.config.load import load_config, parse_config, read_study_file
from pruning_vs_scratch.data.documents import LeftOut, read_archive, read_documents, read_lines, read_part
from pruning_vs_scratch.data.tokenizer import load_tokenizer, separator_of
from pruning_vs_scratch.data.tokens import TokenStore, write_tokens
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import read_json_object
from pruning_vs_scratch.models.tensors import CheckpointTensors, load_tensors
from pruning_vs_scratch.models.weight_files import weight_map
from pruning_vs_scratch.parents.gguf import read_facts
from pruning_vs_scratch.parents.gguf_header import check_header
from pruning_vs_scratch.pruning.masks import read_masks, write_masks

SECONDS, BYTES = 2.0, 200 << 20
"""Of processor time, and of memory that Python allocates at once."""
EXAMPLES = settings(
    max_examples=30,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
)
FIRST, OVERLAY = REPOSITORY / "config/config.yaml", REPOSITORY / "config/smoke.yaml"
WORDS = st.sampled_from(
    [b"", b"[]", b"{}", b"null", b"-1", b"1e999", b"9" * 400, b'"', b"[" * 10_000, b"\x00", b"\xff", b"\xe9", b"\n",
     b"*a", b"&a ", b"2024-01-01", b"a" * 300, struct.pack("<Q", 1 << 40), struct.pack("<Q", (1 << 64) - 1)]
)  # fmt: skip


@contextmanager
def within_bounds() -> Iterator[None]:
    """Let only UserError pass, and compare what was spent with the bounds."""
    tracemalloc.start()
    start = time.process_time()
    try:
        yield
    except UserError as error:
        assert len(str(error)) < 5000
    finally:
        spent, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert spent < SECONDS
    assert peak < BYTES


@st.composite
def changes(draw: st.DrawFn, sound: bytes) -> bytes:
    """A sound file with pieces replaced, doubled or cut out; or random bytes."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=200))
    content = sound
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        stop = min(len(content), start + draw(st.sampled_from([0, 1, 8, 100, 1 << 20])))
        content = content[:start] + draw(WORDS | st.binary(max_size=8)) + content[stop:]
    return content


def archive_bytes() -> bytes:
    content = b"a,b\n1,2\n"
    files = {"results/a.csv": {"bytes": len(content), "sha256": "0" * 64}}
    listing = {"schema_version": 1, "study": "tiny", "source_hash": "0", "files": files}
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, text in ((LISTING, json.dumps(listing).encode()), ("results/a.csv", content)):
            member = tarfile.TarInfo(f"tiny/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return plain.getvalue()


def gguf_bytes() -> bytes:
    def string(text: bytes) -> bytes:
        return struct.pack("<Q", len(text)) + text

    keys = {
        b"general.architecture": struct.pack("<I", 8) + string(b"llama"),
        b"abc": struct.pack("<I", 4) + bytes(4),
        b"list": struct.pack("<IIQ", 9, 8, 2) + string(b"abc") * 2,
    }
    tensor = string(b"abc") + struct.pack("<IQQIQ", 2, 2, 3, 0, 0)
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, len(keys))
    header += b"".join(string(key) + value for key, value in keys.items()) + tensor
    return header + bytes(-len(header) % 32) + bytes(2 * 3 * 4)


def parquet_bytes() -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"text": ["one", None, "two"] * 20, "id": range(60)}), sink, row_group_size=25)
    return sink.getvalue().to_pybytes()


def packed_tar(text: bytes) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        member = tarfile.TarInfo("a.txt")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    return plain.getvalue()


def zip_bytes() -> bytes:
    import zipfile

    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "text " * 100)
    return plain.getvalue()


def safetensors_bytes() -> bytes:
    from safetensors.torch import save
    from torch import ones

    return save({"a": ones(2, 3), "b": ones(1)}, metadata={"format": "pt"})


def mask_bytes() -> bytes:
    from torch import ones

    with TemporaryDirectory() as folder:
        write_masks({"a": ones(3, 5) > 0}, Path(folder, "mask.safetensors"))
        return Path(folder, "mask.safetensors").read_bytes()


@cache
def store_bytes() -> tuple[bytes, bytes]:
    with TemporaryDirectory() as folder:
        write_tokens(Path(folder, "t"), [[1, 2, 3]], vocab_size=9, shard_tokens=8, tokenizer_sha256="0")
        return Path(folder, "t/index.json").read_bytes(), Path(folder, "t/shard-00000.bin").read_bytes()


@cache
def tokenizer_bytes() -> bytes:
    from tokenizers import Tokenizer, models

    return Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])).to_str().encode()


def read_store(file: Path) -> Any:
    (file.parent / "shard-00000.bin").write_bytes(store_bytes()[1])
    store = TokenStore(file.parent)
    return store.read(0, len(store)), store.blocks, store.domains


def read_index_file(file: Path) -> Any:
    return weight_map(file)


def read_header(file: Path) -> None:
    try:
        check_header(file)
    except ValueError as error:
        raise UserError(str(error)) from error


def read_rows(file: Path) -> Any:
    return list(read_part(file.parent, [file.name], "text", LeftOut(0.5)))


def read_tokenizer(file: Path) -> Any:
    return load_tokenizer(file.parent).encode("abc").ids


def read_named_tokens(file: Path) -> Any:
    (file.parent / "tokenizer.json").write_bytes(tokenizer_bytes())
    return separator_of(file.parent)


def unpack_beside(file: Path) -> Any:
    return unpack(file, file.parent / "out")


MANIFEST = json.dumps(sealed({"schema": 2, "facts": {"loss": 1.5}, "outputs": {}})).encode()
SELECTED = DocumentSet(source="s")
READERS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], Any]]] = {
    "JSON": ("a.json", lambda: MANIFEST, read_json_object),
    "manifest": ("a.manifest.json", lambda: MANIFEST, read_manifest),
    "weight index": ("a.index.json", lambda: b'{"weight_map": {"a": "model.safetensors"}}', read_index_file),
    "tokens index": ("index.json", lambda: store_bytes()[0], read_store),
    "YAML": ("a.yaml", OVERLAY.read_bytes, read_study_file),
    "GGUF": ("a.gguf", gguf_bytes, read_header),
    "tensors of a GGUF": ("a.gguf", gguf_bytes, lambda file: read_facts(file, file.name)),
    "safetensors": ("model.safetensors", safetensors_bytes, load_tensors),
    "checkpoint": ("model.safetensors", safetensors_bytes, lambda file: CheckpointTensors(file.parent).read(["a"])),
    "mask": ("mask.safetensors", mask_bytes, read_masks),
    "archive": ("a.tar.zst", lambda: zstandard.compress(archive_bytes()), unpack_beside),
    "package": ("a.tar", lambda: packed_tar(b"text " * 100), lambda file: list(read_archive(file, SELECTED))),
    "wheel": ("a.whl", zip_bytes, lambda file: list(read_archive(file, SELECTED))),
    "lines": ("a.jsonl", lambda: b'{"text": "one"}\n' * 3, lambda file: list(read_lines(file))),
    "compressed lines": (
        "a.jsonl.zst", lambda: zstandard.compress(b'{"text": "one"}\n' * 3), lambda file: list(read_lines(file)),
    ),
    "parquet": ("a.parquet", parquet_bytes, read_rows),
    "documents": ("a.jsonl", lambda: b'{"id": "a", "text": "one"}\n' * 3, lambda file: list(read_documents(file))),
    "tokenizer": ("tokenizer.json", tokenizer_bytes, read_tokenizer),
    "tokenizer's names": ("tokenizer_config.json", lambda: b'{"eos_token": {"content": "a"}}', read_named_tokens),
}  # fmt: skip


@contextmanager
def written(name: str, content: bytes) -> Iterator[Path]:
    """A file of some bytes in a separate folder."""
    with TemporaryDirectory() as folder:
        Path(folder, name).write_bytes(content)
        yield Path(folder, name)
        shutil.rmtree(Path(folder, "out"), ignore_errors=True)


@pytest.mark.parametrize("kind", READERS)
def test_a_sound_file_is_read(kind: str) -> None:
    name, sound, read = READERS[kind]
    with written(name, sound()) as file:
        try:
            read(file)
        except UserError as error:  # the listing's hash is not that of the file
            assert kind == "archive", str(error)


@pytest.mark.parametrize("kind", READERS)
def test_a_reader_gives_a_value_or_one_clear_error(kind: str) -> None:
    name, sound, read = READERS[kind]
    with written(name, sound()) as file, suppress(UserError):
        read(file)  # the libraries that it imports are not part of what is measured

    @EXAMPLES
    @given(changes(sound()))
    def check(content: bytes) -> None:
        with written(name, content) as file, within_bounds():
            read(file)

    check()


@EXAMPLES
@given(changes(archive_bytes()))
def test_an_archive_of_any_content_is_unpacked_or_refused(content: bytes) -> None:
    with written("a.tar.zst", zstandard.compress(content)) as file, within_bounds():
        unpack_beside(file)


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all values within a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(found for key, held in inner for found in places(held, (*place, key)))]


def replaced(value: Any, place: tuple[Any, ...], other: Any, key: Any) -> Any:
    """A value with another one at a place; under another key, if one is given."""
    if not place:
        return other
    first, *rest = place
    inner = replaced(value[first], tuple(rest), other, key)
    if isinstance(value, list):
        return [*value[:first], inner, *value[first + 1 :]]
    renamed = key if not rest and key is not None else first
    return {name: held for name, held in value.items() if name != first} | {renamed: inner}


LONG = "a" * 300
ODD = st.sampled_from(
    [None, True, -1, 0, 10**400, 1e308, -0.0, float("inf"), float("nan"), "", LONG, "\x00", "../..", "é", [], {}, [[]],
     [None], {"kind": "path"}, {"a": {}}, ["*"] * 50, "wanda@0.5", "2:4"]
)  # fmt: skip
DEMO = yaml.safe_load(FIRST.read_text(encoding="utf-8"))
PLACES = places(DEMO)


@settings(EXAMPLES, max_examples=60)
@given(st.sampled_from(PLACES[1:]), ODD, st.sampled_from([None, None, None, LONG, "x", "\x00", 3, ""]))
def test_a_study_with_any_value_at_any_place_is_valid_or_refused(place: tuple[Any, ...], value: Any, key: Any) -> None:
    changed = replaced(DEMO, place, value, key)
    with within_bounds():
        parse_config(changed)


@settings(EXAMPLES, max_examples=10)
@given(changes(FIRST.read_bytes()))
def test_a_study_file_of_any_text_is_valid_or_refused(content: bytes) -> None:
    with written("a.yaml", content) as file, within_bounds():
        load_config([file])
