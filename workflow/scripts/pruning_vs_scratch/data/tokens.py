"""Tokenised text: shards of a flat token stream as memory-mapped arrays, with an index.

A folder holds ``index.json`` and ``shard-00000.bin``, ``shard-00001.bin``, ... Tokens are little-endian unsigned
integers, 16 bits wide when the vocabulary fits and 32 otherwise. Each document starts with the separator.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import atomic_directory, read_json, sha256_of_file, write_json

INDEX = "index.json"


def token_dtype(vocab_size: int) -> np.dtype:
    """The narrowest dtype that holds every token of a vocabulary."""
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
    shards: list[dict[str, Any]] = []
    count = 0
    with atomic_directory(folder) as temporary:
        for shard in _shards(documents, shard_tokens):
            name = f"shard-{len(shards):05d}.bin"
            np.asarray(shard, dtype=dtype).tofile(temporary / name)
            shards.append({"file": name, "tokens": len(shard), "sha256": sha256_of_file(temporary / name)})
            count += len(shard)
        index = {
            "dtype": dtype.str,
            "vocab_size": vocab_size,
            "tokens": count,
            "tokenizer_sha256": tokenizer_sha256,
            "shards": shards,
        } | ({"domains": domains} if domains else {})
        write_json(temporary / INDEX, index)
    return index


def _shards(documents: Iterable[list[int]], shard_tokens: int) -> Iterable[list[int]]:
    """Cut the concatenation of documents into runs of ``shard_tokens`` tokens (the last may be shorter)."""
    pending: list[int] = []
    for document in documents:
        pending.extend(document)
        while len(pending) >= shard_tokens:
            yield pending[:shard_tokens]
            pending = pending[shard_tokens:]
    if pending:
        yield pending


class TokenStore:
    """Read-only view of a folder of token shards as one array.

    Raises:
        UserError: the index is missing, or a shard is missing, truncated or altered.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.name = str(folder)
        self.index = read_json(self.folder / INDEX)
        self.dtype = np.dtype(self.index["dtype"])
        self.vocab_size: int = self.index["vocab_size"]
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

    @property
    def domains(self) -> dict[str, tuple[int, int]]:
        """By domain, its tokens [start, stop); empty for a corpus of one kind."""
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

    def _open(self, shard: dict[str, Any]) -> NDArray:
        path = self.folder / shard["file"]
        expected = shard["tokens"] * self.dtype.itemsize
        found = path.stat().st_size if path.exists() else 0
        again = f"delete {self.folder} and run again to tokenise the corpus anew"
        if found != expected:
            raise UserError(f"token shard {path} is truncated: {found} of {expected} bytes; {again}")
        if sha256_of_file(path) != shard["sha256"]:
            raise UserError(f"token shard {path} does not match its hash; {again}")
        return np.memmap(path, dtype=self.dtype, mode="r")


class TokenArray:
    """Tokens in memory, read like a store."""

    def __init__(self, tokens: NDArray[np.int64], name: str) -> None:
        self.name = name
        self._tokens = tokens

    def __len__(self) -> int:
        return len(self._tokens)

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Tokens [start, stop)."""
        return self._tokens[start:stop]
