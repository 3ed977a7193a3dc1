"""A checkpoint whose decoder blocks come to the device one at a time."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pruning_vs_scratch.config.precision import WantedPrecision
from pruning_vs_scratch.counting import counted
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.families.parts import BLOCK_PREFIX
from pruning_vs_scratch.models.checkpoint import check_checkpoint
from pruning_vs_scratch.models.decoder import shape_of, weight_shapes
from pruning_vs_scratch.models.device import compute_dtype
from pruning_vs_scratch.models.portable import read_config
from pruning_vs_scratch.models.skeleton import Skeleton
from pruning_vs_scratch.models.tensors import CheckpointTensors, HeldTensors, Tensors, TensorSource, stored_dtypes


class BlockwiseModel:
    """Read-only view of a model, block by block; what is done to a block that it hands out does not change it.

    Raises:
        UserError: a weight is missing, quantised, of another shape, NaN or inf; it is named.
    """

    def __init__(
        self,
        config: Any,
        tensors: TensorSource,
        device: torch.device,
        name: str = "the model",
        *,
        precision: WantedPrecision = "auto",
    ) -> None:
        self.config = config
        self.shape = shape_of(config)
        self.name = name
        self._tensors = tensors
        outside_shapes, self._block_shapes = weight_shapes(config)
        names = self._require_names(outside_shapes)
        self.stored_dtypes = stored_dtypes(tensors, names, self.name)
        """In what each weight is stored, by its name."""
        self.outside = self._read(outside_shapes)
        self.device = device
        self._precision = precision
        self.reads_files = isinstance(tensors, CheckpointTensors)
        """Whether a block comes from disk each time it is asked for."""
        self._keeps_blocks = False
        self._blocks: dict[int, nn.Module] = {}

    @classmethod
    def open(
        cls,
        folder: Path,
        device: torch.device,
        *,
        low_memory: bool = False,
        precision: WantedPrecision = "auto",
    ) -> "BlockwiseModel":
        """A checkpoint folder; in low memory each block is read from disk when its turn comes, and not kept.

        Raises:
            UserError: the folder is not a complete safetensors checkpoint of a supported architecture.
        """
        check_checkpoint(folder)
        source: TensorSource = CheckpointTensors(folder)
        if not low_memory:
            source = HeldTensors(source.read(source.names))
        return cls(read_config(folder), source, device, name=f"the checkpoint {folder}", precision=precision)

    @cached_property
    def skeleton(self) -> Skeleton:
        """What surrounds the blocks, in the arithmetic of the model; of several dtypes the one that holds all."""
        widest = reduce(torch.promote_types, self.stored_dtypes.values())
        return Skeleton(self.config, self.outside, self.device, compute_dtype(widest, self.device, self._precision))

    @property
    def bytes_of_blocks(self) -> int:
        """Size of all blocks on the device."""
        return self.shape.layers * self.shape.block_params * self.skeleton.dtype.itemsize

    def block_tensors(self, index: int) -> Tensors:
        """The weights of a block as they are stored, by their names inside the block."""
        prefix = f"{BLOCK_PREFIX}{index}."
        found = self._read({prefix + name: shape for name, shape in self._block_shapes.items()})
        return {name.removeprefix(prefix): tensor for name, tensor in found.items()}

    def as_stored(self, tensors: Tensors, prefix: str = "") -> Tensors:
        """Tensors on the CPU, each in the dtype of the weight whose name is its own behind a prefix."""
        return {name: tensor.to("cpu", self.stored_dtypes[prefix + name]) for name, tensor in tensors.items()}

    def block(self, index: int) -> nn.Module:
        """A block on the device."""
        if index in self._blocks:
            return self._blocks[index]
        block = self.skeleton.block(self.block_tensors(index), index)
        if self._keeps_blocks:
            self._blocks[index] = block
        return block

    def keep_blocks(self) -> None:
        """Let each block stay on the device from when it is read, for those who do nothing to it."""
        self._keeps_blocks = True

    def blocks(self, task: str, indices: Sequence[int] | None = None) -> Iterator[nn.Module]:
        """All blocks in order, or those of some indices; says how far they are."""
        chosen = range(self.shape.layers) if indices is None else indices
        for index in counted(chosen, task):
            yield self.block(index)

    def blocks_beside_stored(self, task: str) -> Iterator[tuple[nn.Module, Tensors]]:
        """All blocks in order, each with its weights as they are stored; says how far they are."""
        for index in counted(range(self.shape.layers), task):
            stored = self.block_tensors(index)
            yield self.skeleton.block(stored, index), stored

    def _read(self, shapes: dict[str, torch.Size]) -> Tensors:
        """Tensors of some names, which must have these shapes and finite values."""
        tensors = self._tensors.read(shapes)
        for name, tensor in tensors.items():
            if tensor.shape != shapes[name]:
                raise UserError(
                    f"{name} of {self.name} has shape {tuple(tensor.shape)}, but its configuration says "
                    f"{tuple(shapes[name])}; fetch it again"
                )
            if not torch.isfinite(tensor).all():
                raise UserError(f"{name} of {self.name} holds NaN or inf; fetch or train it again")
        return tensors

    def _require_names(self, outside: Iterable[str]) -> set[str]:
        """The names of all weights."""
        blocks = (f"{BLOCK_PREFIX}{i}.{name}" for i in range(self.shape.layers) for name in self._block_shapes)
        names = {*outside, *blocks}
        missing = sorted(names - self._tensors.names)
        if missing:
            raise UserError(f"{self.name} lacks {len(missing)} weights, first {missing[0]}; fetch it again")
        return names
