"""The header of a GGUF file, walked through before a library believes the counts and lengths that it claims.

The layout is that of the GGUF specification, versions 2 and 3, little-endian: magic, version, number of tensors, number
of keys; then each key with its value, and of each tensor its name, dimensions, type and place.
"""

import math
import struct
from pathlib import Path
from typing import BinaryIO

MAGIC = b"GGUF"
VERSIONS = (2, 3)
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""By the number of a type of values, its width."""
STRING, ARRAY = 8, 9
MOST_ENTRIES = 1 << 21
"""Entries of all arrays together: the largest vocabularies and their merges take a third of it."""
MOST_DIMENSIONS = 4
MOST_WEIGHTS = 1 << 44
LONGEST_NAME = 1 << 16
"""Bytes of the name of a key or tensor: the specification's limit."""


def check_header(file: Path) -> None:
    """Walk through the header of a file, at most as far as the file reaches.

    Raises:
        ValueError: it is not a GGUF header, claims more than the file holds, or holds what no Llama has.
    """
    with file.open("rb") as stream:
        _Header(stream, file.stat().st_size).check()


class _Header:
    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._left, self._entries = stream, size, 0

    def check(self) -> None:
        """Walk through all of it."""
        if self._bytes(len(MAGIC)) != MAGIC:
            raise ValueError("it does not begin with GGUF")
        version = self._number("<I")
        if version not in VERSIONS:
            raise ValueError(f"its version is {version}, not one of {', '.join(map(str, VERSIONS))}")
        tensors, keys = self._number("<Q"), self._number("<Q")
        for _ in range(keys):
            self._skip_string(LONGEST_NAME)
            self._skip_value(self._number("<I"))
        for _ in range(tensors):
            self._skip_tensor()

    def _skip_tensor(self) -> None:
        self._skip_string(LONGEST_NAME)
        dimensions = self._number("<I")
        if dimensions > MOST_DIMENSIONS:
            raise ValueError(f"a tensor has {dimensions} dimensions")
        if math.prod(self._number("<Q") for _ in range(dimensions)) > MOST_WEIGHTS:
            raise ValueError("a tensor is larger than any model")
        self._bytes(struct.calcsize("<IQ"))

    def _skip_value(self, kind: int) -> None:
        if kind != ARRAY:
            self._skip_entries(kind, 1)
            return
        kind, count = self._number("<I"), self._number("<Q")
        if kind == ARRAY:
            raise ValueError("an array holds arrays")
        self._entries += count
        if self._entries > MOST_ENTRIES:
            raise ValueError(f"an array claims {count:,} entries; all together may have {MOST_ENTRIES:,}")
        self._skip_entries(kind, count)

    def _skip_entries(self, kind: int, count: int) -> None:
        if kind == STRING:
            for _ in range(count):
                self._skip_string(self._left)
        elif kind in SCALAR_BYTES:
            self._bytes(SCALAR_BYTES[kind] * count)
        else:
            raise ValueError(f"a value is of the unknown type {kind}")

    def _skip_string(self, longest: int) -> None:
        length = self._number("<Q")
        if length > longest:
            raise ValueError(f"a string claims {length:,} bytes")
        self._bytes(length)

    def _number(self, form: str) -> int:
        value: int = struct.unpack(form, self._bytes(struct.calcsize(form)))[0]
        return value

    def _bytes(self, count: int) -> bytes:
        self._left -= count
        if self._left < 0:
            raise ValueError("the file ends within its header")
        return self._stream.read(count)
