"""The corpus as a virtual array of windows under one seeded permutation.

Window w covers tokens [w(T+1), (w+1)(T+1)) of the stream: T inputs and T targets, no token in two windows. Position p
of the order is window ``permutation(p)``; in a text in parts, this holds within each part (data.reading_order).
Sequence i of a study is position i or, if text is read in several passes, the position that data.reading computes from
i. Runs read ranges of sequences, so in one pass two disjoint ranges share no token, and the batch of a step is a pure
function of (plan, step, rank).
"""

import numpy as np
from numpy.typing import NDArray

from pruning_vs_scratch.data.permutation import permuted
from pruning_vs_scratch.data.reading import READ_ONCE, Reading
from pruning_vs_scratch.data.reading_order import by_block
from pruning_vs_scratch.data.tokens import TokenArray, TokenStore
from pruning_vs_scratch.errors import UserError

MORE_TEXT = "add text or lower the budgets"
MORE_PASSES = "add text, lower the budgets, or set corpus.passes to {passes}, so that text is read up to {passes} times"
MORE_FILES = "lower tokens_per_file of the training text, so that more files are asked for"
MORE_HELD_OUT = "raise its fraction under corpus.splits, or held_out_files of the training text"
EVALUATION_SEED = 0
"""Seed of the order in which held-out windows are read, the same for every run, so that losses are paired."""


class Windows:
    """Sequences of a token store: fixed length, in a seeded order, read once unless ``reading`` says otherwise."""

    def __init__(self, store: TokenStore | TokenArray, length: int, seed: int, reading: Reading = READ_ONCE) -> None:
        self.store = store
        self.length = length
        self.seed = seed
        self.reading = reading
        self.count = sum(block.windows(length + 1) for block in store.blocks)

    def read_by(self, reading: Reading) -> "Windows":
        """The same windows, with the sequences of another reading."""
        return Windows(self.store, self.length, self.seed, reading)

    def require(self, sequences: int, purpose: str, remedy: str = MORE_TEXT) -> None:
        """Refuse a plan that needs more sequences, numbered from 0, than the corpus has in all passes.

        Raises:
            UserError: says how many tokens are missing and what to do about it.
        """
        windows = self.reading.windows_needed(sequences)
        if windows <= self.count:
            return
        needed, have, passes = windows * self.length, self.count * self.length, self.reading.passes
        distinct = f" of different text, read {passes} times," if passes > 1 else ""
        raise UserError(
            f"{purpose} needs {needed:,} tokens{distinct} of {self.store.name}, which holds {have:,} in windows of "
            f"{self.length}: {needed - have:,} are missing; {remedy}"
        )

    def starts(self, sequences: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first token of each sequence's window, shape (n,).

        Raises:
            ValueError: there is no such sequence.
        """
        starts, width = np.empty_like(sequences), self.length + 1
        positions = self.reading.positions(sequences, self.count, self.seed)
        for block, chosen, places in by_block(self.store.blocks, width, positions):
            windows = permuted(places, block.windows(width), block.seed(self.seed))
            starts[chosen] = block.start + windows * width
        return starts

    def read(self, sequences: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of some sequences, shape (n, length + 1): inputs are [:, :-1], targets are [:, 1:]."""
        width = self.length + 1
        return np.stack([self.store.read(start, start + width) for start in self.starts(sequences).tolist()])


def step_sequences(
    window_start: int, global_batch_size: int, step: int, rank: int = 0, world_size: int = 1
) -> NDArray[np.int64]:
    """Sequence numbers that a rank reads at a step; the union over ranks is the same for any world size."""
    start = window_start + step * global_batch_size
    share = global_batch_size // world_size
    return np.arange(start + rank * share, start + (rank + 1) * share, dtype=np.int64)
