"""The order in which the windows of a text are read: block by block, each under its own permutation.

A text that one process wrote is a single block. In a text in parts each part is one: its windows begin at its start,
and their order depends only on the seed and the part's name. So a text of more parts begins like one of fewer.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Block:
    """Tokens [start, start + tokens) of a text."""

    name: str | None
    """Name of the part; None for a text of a single block."""
    start: int
    tokens: int

    def windows(self, width: int) -> int:
        """Number of windows of this many tokens; the remainder at the end is in none."""
        return self.tokens // width

    def seed(self, seed: int) -> int:
        """Seed of the block's permutation; for a single block the seed itself."""
        if self.name is None:
            return seed
        return int.from_bytes(hashlib.sha256(f"block:{seed}:{self.name}".encode()).digest()[:8], "big")


def by_block(
    blocks: Sequence[Block], width: int, sequences: NDArray[np.int64]
) -> Iterator[tuple[Block, NDArray[np.bool_], NDArray[np.int64]]]:
    """For each block with some of the sequences: which ones, shape (n,), and their places in it, counted from 0.

    A sequence beyond the last one has a place beyond its block.
    """
    firsts = np.cumsum([0, *(block.windows(width) for block in blocks)])
    found = np.clip(np.searchsorted(firsts, sequences, side="right") - 1, 0, len(blocks) - 1)
    for number in np.unique(found).tolist():
        chosen = found == number
        yield blocks[number], chosen, sequences[chosen] - firsts[number]
