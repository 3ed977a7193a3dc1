"""Masks of sparse models as files, and exact selection of what to keep.

``mask.safetensors`` has, for each pruned weight, its name and a flat uint8 tensor: the boolean mask (True is kept) in
row-major order, eight entries per byte, the first in the lowest bit. The metadata entry ``shapes`` is the JSON of the
masks' shapes by name, for example ``{"model.layers.0.mlp.up_proj.weight":[352,128]}``; a single entry, because
safetensors writes several in random order, and equal masks should be equal files.
"""

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import canonical_json
from pruning_vs_scratch.models.tensors import load_tensors, save_tensors

BITS_PER_BYTE = 8
SHAPES = "shapes"
"""The metadata entry with the shapes of the masks."""


@dataclass(frozen=True)
class PackedMask:
    """A boolean mask as it is stored: its bits in row-major order, eight per byte, the first in the lowest bit."""

    bits: torch.Tensor
    """Flat uint8; from a file, a view that is read only when its rows are needed."""
    shape: tuple[int, ...]

    @classmethod
    def of(cls, mask: torch.Tensor) -> "PackedMask":
        """A boolean tensor, packed."""
        return cls(pack_mask(mask), tuple(mask.shape))

    @property
    def whole(self) -> torch.Tensor:
        """All of it as a boolean tensor."""
        return self._entries(0, math.prod(self.shape)).view(self.shape)

    def rows(self, first: int, end: int) -> torch.Tensor:
        """The rows from ``first`` to before ``end`` as a boolean tensor; no others are unpacked."""
        row = math.prod(self.shape[1:])
        return self._entries(first * row, end * row).view(end - first, *self.shape[1:])

    def _entries(self, first: int, end: int) -> torch.Tensor:
        whole_bytes, before = first // BITS_PER_BYTE, first % BITS_PER_BYTE
        packed = self.bits[whole_bytes : math.ceil(end / BITS_PER_BYTE)].numpy()
        flat = np.unpackbits(packed, count=before + end - first, bitorder="little")
        return torch.from_numpy(flat[before:].view(bool))


def masked(weight: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A weight with +0.0 where the mask drops entries: a product would turn negative ones into -0.0."""
    return weight.masked_fill(~mask, 0)


def write_masks(masks: dict[str, torch.Tensor], path: Path) -> None:
    """Write boolean masks, bit-packed."""
    packed = {name: pack_mask(mask) for name, mask in masks.items()}
    write_packed_masks(packed, {name: list(mask.shape) for name, mask in masks.items()}, path)


def pack_mask(mask: torch.Tensor) -> torch.Tensor:
    """A boolean mask as flat uint8, eight entries per byte."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy().reshape(-1), bitorder="little"))


def write_packed_masks(packed: dict[str, torch.Tensor], shapes: dict[str, list[int]], path: Path) -> None:
    """Write masks that ``pack_mask`` packed, with their original shapes."""
    save_tensors(packed, path, metadata={SHAPES: canonical_json(shapes)})


def read_masks(path: Path) -> dict[str, torch.Tensor]:
    """Read boolean masks.

    Raises:
        UserError: the file is missing or damaged.
    """
    return {name: mask.whole for name, mask in read_packed_masks(path).items()}


def read_packed_masks(path: Path) -> dict[str, PackedMask]:
    """Read masks without unpacking them.

    Raises:
        UserError: the file is missing or damaged.
    """
    packed = load_tensors(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    try:
        shapes = json.loads(metadata[SHAPES])
        return {name: _packed_mask(bits, shapes[name]) for name, bits in packed.items()}
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is not a mask file or is damaged ({error}); delete its folder and run again"
        ) from error


def keep_largest_per_row(scores: torch.Tensor, ratio: float) -> torch.Tensor:
    """Mask that drops exactly the floor(ratio * columns) lowest scores of each row; of equal scores, the first.
    ``scores`` has shape (rows, columns). The threshold is found by selection, because sorting takes far longer.
    """
    count = _share(ratio, scores.shape[1])
    if count == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    cut = scores.kthvalue(count, dim=1, keepdim=True).values
    dropped, ties = scores < cut, scores == cut
    missing = count - dropped.sum(dim=1, keepdim=True)
    if (ties.sum(dim=1, keepdim=True) > missing).any():
        ties &= ties.cumsum(dim=1) <= missing
    return ~(dropped | ties)


def keep_largest(scores: torch.Tensor, ratio: float) -> torch.Tensor:
    """Mask that drops exactly the floor(ratio * entries) lowest scores of a whole matrix."""
    return keep_largest_per_row(scores.reshape(1, -1), ratio).view(scores.shape)


def keep_n_of_m(scores: torch.Tensor, kept: int, group: int) -> torch.Tensor:
    """Mask that keeps the ``kept`` highest of each ``group`` consecutive columns.

    Raises:
        UserError: the columns do not divide into groups.
    """
    rows, columns = scores.shape
    if columns % group:
        raise UserError(f"a matrix of {columns} columns does not divide into groups of {group} for {kept}:{group}")
    entries = scores.reshape(rows * columns // group, group).unbind(dim=1)
    mask = torch.empty(rows * columns // group, group, dtype=torch.bool, device=scores.device)
    for i, entry in enumerate(entries):
        rank = torch.zeros_like(entry, dtype=torch.uint8)
        for j, other in enumerate(entries):
            # Among equal scores, the later counts as higher.
            rank += other <= entry if j < i else other < entry
        mask[:, i] = rank >= group - kept
    return mask.view(rows, columns)


def mask_by_row(scores: torch.Tensor, ratio: float, pattern: str) -> torch.Tensor:
    """Mask of one matrix for a pattern: 'unstructured' (each row its ratio) or N:M such as '2:4'."""
    if pattern == "unstructured":
        return keep_largest_per_row(scores, ratio)
    kept, group = parse_pattern(pattern)
    return keep_n_of_m(scores, kept, group)


def has_pattern(mask: torch.Tensor, pattern: str) -> bool:
    """Whether a mask keeps what a pattern such as '2:4' requires in each group; any mask is 'unstructured'."""
    if pattern == "unstructured":
        return True
    kept, group = parse_pattern(pattern)
    return mask.shape[1] % group == 0 and bool((mask.view(-1, group).sum(dim=1) == kept).all())


def parse_pattern(pattern: str) -> tuple[int, int]:
    """'2:4' -> (2, 4)."""
    kept, group = pattern.split(":")
    return int(kept), int(group)


def _share(ratio: float, count: int) -> int:
    """floor(ratio * count) for the ratio as written: in binary, 0.29 * 100 is below 29."""
    return math.floor(Fraction(str(ratio)) * count)


def _packed_mask(bits: torch.Tensor, shape: list[int]) -> PackedMask:
    """A stored mask, if it has as many bytes as its shape needs.

    Raises:
        ValueError: it has not, or the data are not bytes. TypeError: the shape is invalid.
    """
    if bits.dtype != torch.uint8 or bits.ndim != 1:
        raise ValueError(f"a {bits.dtype} tensor of {bits.ndim} dimensions")
    if any(not isinstance(size, int) or size < 0 for size in shape):
        raise ValueError(f"a mask of shape {shape}")
    if len(bits) != math.ceil(math.prod(shape) / BITS_PER_BYTE):
        raise ValueError(f"{BITS_PER_BYTE * len(bits)} bits for a mask of shape {shape}")
    return PackedMask(bits, tuple(shape))
