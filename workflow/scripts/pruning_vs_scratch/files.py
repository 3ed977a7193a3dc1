"""Writing files so that a reader sees the old content or the new one, never a half.

Every write goes to a temporary name in the same folder, is flushed to disk, and is renamed.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.locks import sole_writer
from pruning_vs_scratch.strict_json import read_strictly

HASH_BLOCK_BYTES = 1 << 20
MIB = 1 << 20
MASK_FILE = "mask.safetensors"
"""The mask of a sparse model, in its checkpoint folder."""
PRUNING_FILE = "pruning.json"
"""How a checkpoint was pruned, in its folder."""
MASK_LEARNING_FILE = "mask_learning.jsonl"
"""The steps in which a checkpoint's structure was learned, in its folder."""
STATE_FILE = "state.json"
"""The counters of a training state, in its folder."""
SINGLE_FILE = "model.safetensors"
"""All weights of a checkpoint, if one file holds them."""
INDEX_FILE = "model.safetensors.index.json"
"""Which of several files holds which weights of a checkpoint."""
CONFIG_FILE = "config.json"
"""The configuration of a checkpoint."""
GENERATION_FILE = "generation_config.json"
"""How a checkpoint's publisher samples of it."""
TOKENIZER_FILE = "tokenizer.json"
"""The fast tokenizer of a checkpoint."""
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
"""The class and the special tokens of a tokenizer."""
TOKENIZER_FILES = (
    TOKENIZER_FILE,
    TOKENIZER_CONFIG_FILE,
    "special_tokens_map.json",
    "chat_template.jinja",
)
"""All files of a tokenizer; only the first is needed."""
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Files of weights that can run code when they are read."""
RECORDS = frozenset({PRUNING_FILE, MASK_LEARNING_FILE, STATE_FILE})
"""Files of a checkpoint or state that hold times, and so are not part of its identity."""


ITSELF = "."
"""The name of a file in its own facts, where a folder has those of its files."""


FileFacts = dict[str, Any]
"""Size of a file (``bytes``) and its ``sha256``."""


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; on success it takes the name ``path``, on failure it is removed.

    Raises:
        UserError: the disk is full or not writable.
    """
    path = Path(path)
    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _flush_to_disk(temporary)
            _give_usual_mode(temporary)
            os.replace(temporary, path)
            _flush_to_disk(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success it replaces ``path``, on failure it is removed.

    What a killed process left of an earlier attempt is removed first: it may be as large as a checkpoint.

    Raises:
        UserError: the disk is full or not writable, or another process writes the folder.
    """
    path = Path(path)
    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with sole_writer(path):
            _remove_abandoned(path)
            temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
            try:
                yield temporary
                for child in temporary.rglob("*"):
                    _flush_to_disk(child)
                    _give_usual_mode(child)
                _give_usual_mode(temporary)
                if path.exists():
                    shutil.rmtree(path)
                os.replace(temporary, path)
                _flush_to_disk(path.parent)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)


def require_replaceable(out: Path, marker: str, what: str, inputs: Iterable[Path]) -> None:
    """Refuse a folder to write that holds something other than what an earlier call wrote there.

    ``marker`` is a file that every ``what`` has.

    Raises:
        UserError: the folder holds one of the inputs, or exists and is not empty and has no marker.
    """
    for path in inputs:
        if path.resolve().is_relative_to(out.resolve()):
            raise UserError(f"--out {out.name} holds {path}, which this command reads; choose another folder")
    if out.exists() and not (out / marker).exists() and any(out.iterdir()):
        raise UserError(f"--out {out.name} exists and is not {what}; choose another folder, or delete it")


def _remove_abandoned(path: Path) -> None:
    """Remove temporary folders of a path whose lock is held: those of another name with the same beginning stay."""
    temporary = re.compile(re.escape(f".{path.name}.") + r"[a-z0-9_]{8}\.tmp")
    for folder in path.parent.iterdir():
        if temporary.fullmatch(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, with sorted keys."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing or is not JSON, or a key is listed twice in it.
    """
    path = Path(path)
    try:
        return read_strictly(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: run the step that writes it, or the whole workflow, again") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): delete it and run the step again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): delete it and run the step again") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds keys and values.

    Raises:
        UserError: the file is missing, is not JSON, or holds something else.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a JSON object, not {type(value).__name__}: fetch it or make it again")
    return value


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_path(path: Path) -> str:
    """SHA-256 of a file, or of a folder's relative names and contents, but for hidden files and records.

    Raises:
        UserError: there is neither.
    """
    return sha256_of_facts(file_facts(path))


def sha256_of_facts(facts: Mapping[str, FileFacts]) -> str:
    """The hash of ``sha256_of_path`` from what ``file_facts`` said."""
    if facts.keys() == {ITSELF}:
        return str(facts[ITSELF]["sha256"])
    return sha256_of_value({name: fact["sha256"] for name, fact in facts.items() if Path(name).name not in RECORDS})


def weight_bytes(model: Path) -> int:
    """Bytes of the weights in a checkpoint folder."""
    return sum(file.stat().st_size for file in Path(model).glob("model*.safetensors"))


def file_facts(path: Path) -> dict[str, FileFacts]:
    """Size and hash of a file, under the name ``ITSELF``, or of every file of a folder, by relative name.

    Hidden files are left out: Snakemake and file managers put theirs into folders.

    Raises:
        UserError: there is neither.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} is missing: run the step that writes it, or the whole workflow, again")
    if path.is_file():
        return {ITSELF: _facts_of(path)}
    files = (file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith("."))
    return {str(file.relative_to(path)): _facts_of(file) for file in files}


def damaged_file(folder: Path, facts: Mapping[str, FileFacts]) -> Path | None:
    """The first file of a folder that is missing or no longer what ``file_facts`` said; None if all are right."""
    for name, expected in facts.items():
        file = folder / name
        size = file.stat().st_size if file.exists() else None
        if size != expected["bytes"] or sha256_of_file(file) != expected["sha256"]:
            return file
    return None


def sha256_of_value(value: Any) -> str:
    """SHA-256 of a JSON-able value in canonical form."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def free_bytes(folder: Path) -> int:
    """Free space where a folder is or will be."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free


def require_space(folder: Path, needed: int, label: str) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        UserError: gives both figures.
    """
    free = free_bytes(folder)
    if needed > free:
        raise UserError(
            f"{label} needs {needed / MIB:,.0f} MiB, but only {free / MIB:,.0f} MiB are free there; "
            "free some space, then run again"
        )


def refuse_difference(file: Path, name: str, expected: str, found: str, label: str) -> None:
    """Delete a file, called ``name`` where it comes from, whose hash is not the expected one.

    Raises:
        UserError: the two differ.
    """
    if found != expected:
        file.unlink()
        raise UserError(
            f"{name} of {label} is not the pinned file: expected {expected}, found {found}. It was not kept: run "
            "again, and if that does not help check the hash and the place that it comes from"
        )


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}. {_disk_hint(path.parent)}") from error


def _facts_of(file: Path) -> FileFacts:
    return {"bytes": file.stat().st_size, "sha256": sha256_of_file(file)}


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _give_usual_mode(path: Path) -> None:
    """Let a file or folder be read by whom the umask allows: some libraries write for their user alone.

    A file that has another name is somebody else's too, and stays as it is.
    """
    if path.is_dir() or path.lstat().st_nlink == 1:
        path.chmod((0o777 if path.is_dir() else 0o666) & ~_umask())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _disk_hint(folder: Path) -> str:
    free = free_bytes(folder) / 2**20
    return f"{free:,.0f} MiB are free there; free some space or check the permissions, then run again"
