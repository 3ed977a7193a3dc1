"""Seeded permutations of a range, computed for any index without storing them."""

import hashlib

import numpy as np
from numpy.typing import NDArray

FEISTEL_ROUNDS = 6


def permuted(indices: NDArray[np.int64], size: int, seed: int | str) -> NDArray[np.int64]:
    """Images of ``indices`` under a seeded permutation of range(size), without storing the permutation.

    A Feistel network over the next even power of two, walked until it lands inside the range (Black & Rogaway,
    "Ciphers with arbitrary finite domains", 2002).

    Raises:
        ValueError: an index is outside the range.
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


def _round_keys(seed: int | str) -> NDArray[np.uint64]:
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
