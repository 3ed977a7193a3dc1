"""Tokenised text: shards of a flat token stream as memory-mapped arrays, with an index.

A folder holds ``index.json`` and ``shard-00000.bin``, ``shard-00001.bin``, ... Tokens are little-endian unsigned
integers, 16 bits wide when the vocabulary fits and 32 otherwise. Each document starts with the separator.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruning_vs_scratch.data.reading_order import Block
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import atomic_directory, read_json, sha256_of_file, write_json

INDEX = "index.json"
HASHED_BYTES = 1 << 34
"""Largest store whose shards are hashed whenever it is opened; for a larger one, hashing would take too long."""


def token_dtype(vocab_size: int) -> np.dtype:
    """The narrowest dtype for the tokens of a vocabulary."""
    return np.dtype("<u2") if vocab_size <= 2**16 else np.dtype("<u4")


def write_tokens(
    folder: Path,
    documents: Iterable[list[int]],
    *,
    vocab_size: int,
    shard_tokens: int,
    tokenizer_sha256: str,
    domains: dict[str, tuple[int, int]] | None = None,
) -> dict[str, Any]:
    """Write tokenised documents as shards and return the index; ``domains`` are recorded once all are written."""
    dtype = token_dtype(vocab_size)
    with atomic_directory(folder) as temporary:
        shards = list(_written(documents, shard_tokens, dtype, temporary))
        index = _index(shards, dtype, vocab_size, tokenizer_sha256) | ({"domains": domains} if domains else {})
        write_json(temporary / INDEX, index)
    return index


def join_tokens(folder: Path, parts: Mapping[str, Path]) -> dict[str, Any]:
    """Write a folder of tokens that is only an index: the shards stay in the parts' folders. ``parts`` are their
    folders by name; each part is a separate block.

    Raises:
        UserError: the parts were tokenised by different tokenizers.
    """
    indices = {name: read_json(part / INDEX) for name, part in parts.items()}
    (first_part, first), *_ = indices.items()
    shards = []
    for name, index in indices.items():
        if index["tokenizer_sha256"] != first["tokenizer_sha256"]:
            raise UserError(
                f"{parts[name]} was tokenised by another tokenizer than {parts[first_part]}; delete it and run again"
            )
        place = Path(os.path.relpath(parts[name], folder))
        shards += [shard | {"file": str(place / shard["file"])} for shard in index["shards"]]
    joined = _index(shards, np.dtype(first["dtype"]), first["vocab_size"], first["tokenizer_sha256"])
    joined["blocks"] = [{"name": name, "tokens": index["tokens"]} for name, index in indices.items()]
    with atomic_directory(folder) as temporary:
        write_json(temporary / INDEX, joined)
    return joined


def _index(shards: list[dict[str, Any]], dtype: np.dtype, vocab_size: int, tokenizer_sha256: str) -> dict[str, Any]:
    return {
        "dtype": dtype.str,
        "vocab_size": vocab_size,
        "tokens": sum(shard["tokens"] for shard in shards),
        "tokenizer_sha256": tokenizer_sha256,
        "shards": shards,
    }


def _written(
    documents: Iterable[list[int]], shard_tokens: int, dtype: np.dtype, folder: Path
) -> Iterator[dict[str, Any]]:
    """Write the concatenation of documents in files of ``shard_tokens`` tokens (the last may be shorter)."""
    pieces = _cut(documents, shard_tokens)
    for number, (_, shard) in enumerate(groupby(pieces, key=lambda piece: piece[0])):
        path, count = folder / f"shard-{number:05d}.bin", 0
        with path.open("wb") as stream:
            for _, tokens in shard:
                np.asarray(tokens, dtype=dtype).tofile(stream)
                count += len(tokens)
        yield {"file": path.name, "tokens": count, "sha256": sha256_of_file(path)}


def _cut(documents: Iterable[list[int]], shard_tokens: int) -> Iterator[tuple[int, list[int]]]:
    """Documents, or parts of them, each with the number of the shard that it belongs to."""
    position = 0
    for document in documents:
        while document:
            shard, used = divmod(position, shard_tokens)
            taken, document = document[: shard_tokens - used], document[shard_tokens - used :]
            yield shard, taken
            position += len(taken)


class TokenStore:
    """Read-only view of a folder of token shards as one array.

    For a store beyond 16 GiB the sizes of the shards are checked, but not their hashes.

    Raises:
        UserError: the index is missing, or a shard is missing, truncated or altered.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.name = str(folder)
        self.index = read_json(self.folder / INDEX)
        self.dtype = np.dtype(self.index["dtype"])
        self.vocab_size: int = self.index["vocab_size"]
        self._hashed = self.index["tokens"] * self.dtype.itemsize <= HASHED_BYTES
        self._shards = [self._open(shard) for shard in self.index["shards"]]
        self._starts = np.cumsum([0, *(len(shard) for shard in self._shards)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Tokens [start, stop) as int64, across shard boundaries."""
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        parts = []
        while start < stop:
            offset = start - int(self._starts[first])
            part = self._shards[first][offset : offset + stop - start]
            parts.append(part)
            start += len(part)
            first += 1
        return np.concatenate(parts).astype(np.int64)

    @cached_property
    def blocks(self) -> list[Block]:
        """The parts from which the text was joined, in order; for any other text, one block."""
        joined = self.index.get("blocks", [{"name": None, "tokens": len(self)}])
        ends = accumulate(block["tokens"] for block in joined)
        return [
            Block(block["name"], end - block["tokens"], block["tokens"])
            for block, end in zip(joined, ends, strict=True)
        ]

    @property
    def domains(self) -> dict[str, tuple[int, int]]:
        """The tokens [start, stop) of each domain; empty for a corpus of one kind."""
        return {name: (start, stop) for name, (start, stop) in self.index.get("domains", {}).items()}

    def check_tokenizer(self, tokenizer_file: Path) -> None:
        """Refuse a tokenizer other than the one that made these tokens.

        Raises:
            UserError: the hashes differ.
        """
        if not tokenizer_file.exists():
            raise UserError(f"no tokenizer {tokenizer_file} to compare with that of {self.folder}: give --tokenizer")
        if sha256_of_file(tokenizer_file) != self.index["tokenizer_sha256"]:
            raise UserError(
                f"{self.folder} was tokenised with another tokenizer than {tokenizer_file}; "
                "tokenise the corpus again with the checkpoint's tokenizer"
            )

    def check_vocabulary(self, vocab_size: int, model: Path) -> None:
        """Refuse a model whose embedding is too small for these tokens.

        Raises:
            UserError: gives both sizes.
        """
        if vocab_size < self.vocab_size:
            raise UserError(
                f"{model} has a vocabulary of {vocab_size}, but {self.folder} was tokenised with {self.vocab_size} "
                "entries; use the checkpoint's own tokenizer"
            )

    def _open(self, shard: dict[str, Any]) -> NDArray[Any]:
        path = self.folder / shard["file"]
        expected = shard["tokens"] * self.dtype.itemsize
        found = path.stat().st_size if path.exists() else 0
        again = f"delete {self.folder} and run again to tokenise the corpus again"
        if found != expected:
            raise UserError(f"token shard {path} is truncated: {found} of {expected} bytes; {again}")
        if self._hashed and sha256_of_file(path) != shard["sha256"]:
            raise UserError(f"token shard {path} does not match its hash; {again}")
        return np.memmap(path, dtype=self.dtype, mode="r")


class TokenArray:
    """Tokens in memory, read like a store."""

    def __init__(self, tokens: NDArray[np.int64], name: str) -> None:
        self.name = name
        self._tokens = tokens

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def blocks(self) -> list[Block]:
        """One."""
        return [Block(None, 0, len(self))]

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Tokens [start, stop)."""
        return self._tokens[start:stop]
