"""Reading and writing safetensors with errors that a person can act on."""

import errno
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import INDEX_FILE, SINGLE_FILE, write_json
from pruning_vs_scratch.models.weight_files import SHARD_BYTES as SHARD_BYTES
from pruning_vs_scratch.models.weight_files import weight_entry, weight_map

Tensors = dict[str, torch.Tensor]
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Dtypes that weights are read in, by their names in the safetensors format; narrower ones come with a scale."""


@contextmanager
def writing_tensors(path: Path) -> Iterator[None]:
    """Turn the safetensors library's own error (a full disk, say) into an OSError, which callers handle."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error


def save_tensors(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors to one file."""
    with writing_tensors(path):
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)


def sort_metadata(path: Path) -> None:
    """Put a file's metadata in order, in place: the library writes it in random order, and equal files would differ.

    The header is a JSON object behind its length, 8 bytes; spaces fill it up (the safetensors format).
    """
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, f"the header of {path} grew"
        stream.seek(8)
        stream.write(text.ljust(length))


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read all tensors of one file.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError, KeyError) as error:  # the last: a dtype that the library does not know
        raise UserError(f"cannot read the tensors of {path}: {error}; delete it and run again") from error


class TensorSource(Protocol):
    """Named tensors that are handed out when asked for."""

    @property
    def names(self) -> set[str]:
        """The names of all tensors."""

    def read(self, names: Iterable[str]) -> Tensors:
        """Some of the tensors, on the CPU."""

    def dtypes(self, names: Iterable[str]) -> dict[str, str]:
        """In what some of the tensors are stored, as the safetensors format calls it."""


def stored_dtypes(source: TensorSource, names: Iterable[str], label: str) -> dict[str, torch.dtype]:
    """In what weights are stored, by their names.

    Raises:
        UserError: one is stored as integers, or in another way that needs a scale; it is named.
    """
    found = source.dtypes(names)
    for name, dtype in found.items():
        if dtype not in DTYPES:
            raise UserError(
                f"{name} of {label} is stored as {dtype}, not as one of {', '.join(DTYPES)}: take the checkpoint that "
                "it was quantised from, or dequantise it first"
            )
    return {name: DTYPES[dtype] for name, dtype in found.items()}


class HeldTensors:
    """Tensors in memory."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors

    @property
    def names(self) -> set[str]:
        """The names of all tensors."""
        return set(self._tensors)

    def read(self, names: Iterable[str]) -> Tensors:
        """Some of the tensors."""
        return {name: self._tensors[name] for name in names}

    def dtypes(self, names: Iterable[str]) -> dict[str, str]:
        """In what some of the tensors are held, as the safetensors format calls it."""
        known = {dtype: name for name, dtype in DTYPES.items()}
        return {name: known.get(dtype := self._tensors[name].dtype, str(dtype)) for name in names}


class CheckpointTensors:
    """The tensors of a checkpoint folder, sharded or not; a file is open only while it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._files = self._files_by_name()

    @property
    def names(self) -> set[str]:
        """The names of all tensors."""
        return set(self._files)

    def read(self, names: Iterable[str]) -> Tensors:
        """Copies of some of the tensors.

        Raises:
            UserError: a file is damaged.
        """
        tensors: Tensors = {}
        for file, wanted in self._by_file(names).items():
            with self._open(file) as stream:
                tensors |= {name: stream.get_tensor(name).clone() for name in wanted}
        return tensors

    def dtypes(self, names: Iterable[str]) -> dict[str, str]:
        """In what some of the tensors are stored, by the headers of the files.

        Raises:
            UserError: a file is damaged.
        """
        found: dict[str, str] = {}
        for file, wanted in self._by_file(names).items():
            with self._open(file) as stream:
                found |= {name: stream.get_slice(name).get_dtype() for name in wanted}
        return found

    def _by_file(self, names: Iterable[str]) -> dict[str, list[str]]:
        by_file = defaultdict(list)
        for name in names:
            if name not in self._files:
                raise UserError(f"the checkpoint {self.folder} lacks the weight {name}; fetch it again")
            by_file[self._files[name]].append(name)
        return by_file

    def _files_by_name(self) -> dict[str, str]:
        if weight_entry({file.name for file in self.folder.iterdir()}) == INDEX_FILE:
            return weight_map(self.folder / INDEX_FILE)
        with self._open(SINGLE_FILE) as stream:
            return dict.fromkeys(stream.keys(), SINGLE_FILE)

    @contextmanager
    def _open(self, file: str) -> Iterator[safe_open]:
        try:
            with safe_open(self.folder / file, framework="pt") as stream:
                yield stream
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"the weights of the checkpoint {self.folder} are damaged ({file}: {error}); fetch it again"
            ) from error


class CheckpointWriter:
    """Writes a checkpoint's weights as they come, in as many files as their size needs.

    One file is named as Hugging Face names a whole checkpoint; more get numbers and an index.
    """

    def __init__(self, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
        self._folder = folder
        self._shard_bytes = shard_bytes
        self._pending: Tensors = {}
        self._shards: list[list[str]] = []
        self._total_bytes = 0

    def add(self, tensors: Tensors) -> None:
        """Take some tensors; full files are written at once."""
        for name, tensor in tensors.items():
            size = tensor.numel() * tensor.element_size()
            if self._pending and _bytes_of(self._pending) + size > self._shard_bytes:
                self._flush()
            self._pending[name] = tensor
            self._total_bytes += size

    def close(self) -> None:
        """Write what is left, and give the files their names."""
        self._flush()
        count = len(self._shards)
        if count == 1:
            self._shard_path(0).rename(self._folder / SINGLE_FILE)
            return
        names = [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
        for i, name in enumerate(names):
            self._shard_path(i).rename(self._folder / name)
        files = {tensor: name for name, tensors in zip(names, self._shards, strict=True) for tensor in tensors}
        write_json(self._folder / INDEX_FILE, {"metadata": {"total_size": self._total_bytes}, "weight_map": files})

    def _flush(self) -> None:
        save_tensors(self._pending, self._shard_path(len(self._shards)), metadata={"format": "pt"})
        self._shards.append(list(self._pending))
        self._pending = {}

    def _shard_path(self, number: int) -> Path:
        return self._folder / f"shard-{number}.partial"


def _bytes_of(tensors: Tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
