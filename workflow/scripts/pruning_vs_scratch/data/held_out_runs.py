"""Keeping held-out text out of a training text in parts.

There the held-out text must not depend on how many parts are read, so it is not changed, and the training text is: a
paragraph (``overlap``) that is part of a run of n words of held-out text is dropped. Held-out runs are within one
block; on the training side they may cross anything but the end of a document, even where a paragraph was dropped.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pruning_vs_scratch.data.documents import Document
from pruning_vs_scratch.data.overlap import (
    Hashes,
    OverlapReport,
    RunHasher,
    Touched,
    normalised_words,
    touched_words,
    without_touched,
)
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import atomic_file

SLOT_BITS = 2
"""Of the table that is checked first: 4 to 8 slots per run, so that few runs of other text need a search."""


class HeldOutRuns:
    """Sorted hashes of all runs of n words of held-out text."""

    def __init__(self, hashes: Hashes, n: int) -> None:
        self.n = n
        self._hashes = hashes
        bits = len(hashes).bit_length() + SLOT_BITS
        self._shift = np.uint64(64 - bits)
        self._taken = np.zeros(1 << bits, dtype=bool)
        self._taken[hashes >> self._shift] = True

    def __len__(self) -> int:
        return len(self._hashes)

    def hold(self, runs: Hashes) -> NDArray[np.bool_]:
        """Which of the given runs are held-out ones, shape (n,)."""
        found: NDArray[np.bool_] = self._taken[runs >> self._shift]
        likely = np.flatnonzero(found)
        places = np.searchsorted(self._hashes, runs[likely])
        places[places == len(self._hashes)] = 0
        found[likely] = self._hashes[places] == runs[likely] if len(self._hashes) else False
        return found

    def save(self, path: Path) -> None:
        """Write them with n."""
        with atomic_file(path) as temporary:
            save_file({"runs": self._hashes}, temporary, metadata={"words": str(self.n)})

    @classmethod
    def load(cls, path: Path) -> "HeldOutRuns":
        """The inverse of ``save``.

        Raises:
            UserError: the file is missing or damaged.
        """
        try:
            with safe_open(path, framework="numpy") as stored:
                return cls(stored.get_tensor("runs"), int(stored.metadata()["words"]))
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise UserError(f"{path} is missing or damaged ({error}): run gather_held_out again") from error


@dataclass
class Dropped:
    """What was dropped from a training text."""

    documents: int = 0
    """Documents of which nothing was left."""
    paragraphs: int = 0
    characters: int = 0


def without_held_out(documents: Iterable[Document], held_out: HeldOutRuns, dropped: Dropped) -> Iterator[Document]:
    """Training documents without what they share with held-out text; ``dropped`` counts while they pass."""
    hasher = RunHasher(held_out.n)
    for document in documents:
        text = _without_held_out(document.text, held_out, hasher, dropped)
        dropped.characters += len(document.text) - len(text)
        if text:
            yield Document(document.id, text)
        else:
            dropped.documents += 1


def _without_held_out(text: str, held_out: HeldOutRuns, hasher: RunHasher, dropped: Dropped) -> str:
    """What is left of a text; when a paragraph is dropped, its neighbours may form another held-out run."""
    while True:
        words = normalised_words(text)
        hits = held_out.hold(hasher(words))
        if not hits.any():
            return text
        report = OverlapReport()
        text = without_touched(text, _block_by_block(touched_words(hits, len(words), held_out.n)), report)
        dropped.paragraphs += report.paragraphs_dropped


def _block_by_block(touched: NDArray[np.bool_]) -> Touched:
    """Flags of all words of a text, returned block by block."""
    remaining = iter(touched.tolist())
    return lambda block: np.array(list(islice(remaining, len(block))), dtype=bool)
