"""The corpus as a virtual array of windows under one seeded permutation.

Window w covers tokens [w(T+1), (w+1)(T+1)) of the stream: T inputs and T targets, no token in two windows. Sequence
i of the study is window ``permutation(i)``; of a text in parts, so it is within each (``reading_order``). Runs read
ranges of sequences, so two ranges that do not meet share no token, and the batch of a step is a pure function of
(plan, step, rank).
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from pruning_vs_scratch.data.reading_order import by_block
from pruning_vs_scratch.data.tokens import TokenArray, TokenStore
from pruning_vs_scratch.errors import UserError

FEISTEL_ROUNDS = 6
MORE_TEXT = "add text or lower the budgets"
MORE_FILES = "lower tokens_per_file of the training text, so that more files are asked for"
MORE_HELD_OUT = "raise its fraction under corpus.splits, or held_out_files of the training text"
EVALUATION_SEED = 0
"""Order in which held-out windows are read, the same for every run and seed, so that losses are paired."""


def permuted(indices: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Images of ``indices`` under a seeded permutation of range(size), without storing the permutation.

    A Feistel network over the next even power of two, walked until it lands inside the range (Black & Rogaway,
    "Ciphers with arbitrary finite domains", 2002).

    Raises:
        ValueError: an index is outside of the range.
    """
    if indices.size and not 0 <= indices.min() <= indices.max() < size:
        raise ValueError(f"indices {indices.min()} to {indices.max()} are outside of range({size})")
    half_bits = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    keys = _round_keys(seed)
    values = indices.astype(np.uint64)
    outside = np.ones(values.shape, dtype=bool)
    while outside.any():
        values[outside] = _feistel(values[outside], half_bits, keys)
        outside = values >= np.uint64(size)
    return values.astype(np.int64)


def _round_keys(seed: int) -> NDArray[np.uint64]:
    digest = hashlib.sha512(f"windows:{seed}".encode()).digest()
    return np.frombuffer(digest, dtype="<u8")[:FEISTEL_ROUNDS]


def _feistel(values: NDArray[np.uint64], half_bits: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    shift, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = values >> shift, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << shift) | right


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class Windows:
    """Sequences of a token store: fixed length, in a seeded order."""

    def __init__(self, store: TokenStore | TokenArray, length: int, seed: int) -> None:
        self.store = store
        self.length = length
        self.seed = seed
        self.count = sum(block.windows(length + 1) for block in store.blocks)

    def require(self, sequences: int, purpose: str, remedy: str = MORE_TEXT) -> None:
        """Refuse a plan that needs more sequences than the corpus has.

        Raises:
            UserError: says how many tokens are missing.
        """
        if sequences > self.count:
            needed, have = sequences * self.length, self.count * self.length
            raise UserError(
                f"{purpose} needs {needed:,} tokens of {self.store.name}, which holds {have:,} in windows of "
                f"{self.length}: {needed - have:,} are missing; {remedy}"
            )

    def read(self, sequences: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of some sequences, shape (n, length + 1): inputs are [:, :-1], targets are [:, 1:]."""
        return np.stack([self.store.read(start, start + self.length + 1) for start in self.starts(sequences).tolist()])

    def starts(self, sequences: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first token of each sequence's window, shape (n,).

        Raises:
            ValueError: there is no such sequence.
        """
        starts, width = np.empty_like(sequences), self.length + 1
        for block, chosen, places in by_block(self.store.blocks, width, sequences):
            windows = permuted(places, block.windows(width), block.seed(self.seed))
            starts[chosen] = block.start + windows * width
        return starts


def step_sequences(
    window_start: int, global_batch_size: int, step: int, rank: int = 0, world_size: int = 1
) -> NDArray[np.int64]:
    """Sequence numbers that a rank reads at a step; the union over ranks is the same for any world size."""
    start = window_start + step * global_batch_size
    share = global_batch_size // world_size
    return np.arange(start + rank * share, start + (rank + 1) * share, dtype=np.int64)
