"""A checkpoint of any shape whose weights have no values, and calibration text without tokens, inside FakeMemory."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from fake_memory import GPU
from pruning_vs_scratch.config.precision import WantedPrecision
from pruning_vs_scratch.families.parts import BLOCK_PREFIX
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.decoder import config_of, weight_shapes
from pruning_vs_scratch.models.tensors import DTYPES, Tensors
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.study import ModelShape


class FakeTensors:
    """The tensors of a checkpoint: made when they are read, as if from a file."""

    def __init__(self, config: Any, dtype: torch.dtype) -> None:
        outside, inside = weight_shapes(config)
        layers = range(config.num_hidden_layers)
        self._shapes = outside | {f"{BLOCK_PREFIX}{i}.{name}": size for i in layers for name, size in inside.items()}
        self._dtype = dtype

    @property
    def names(self) -> set[str]:
        """The names of all tensors."""
        return set(self._shapes)

    def read(self, names: Iterable[str]) -> Tensors:
        """Some of the tensors, on the CPU."""
        return {name: torch.empty(self._shapes[name], dtype=self._dtype) for name in names}

    def dtypes(self, names: Iterable[str]) -> dict[str, str]:
        """In what they are stored."""
        known = {dtype: name for name, dtype in DTYPES.items()}
        return dict.fromkeys(names, known[self._dtype])


def fake_model(
    shape: ModelShape, stored: torch.dtype, length: int, precision: WantedPrecision = "auto", device: torch.device = GPU
) -> BlockwiseModel:
    """A model whose blocks come from a checkpoint one at a time."""
    config = config_of(shape, positions=length)
    model = BlockwiseModel(config, FakeTensors(config, stored), device, precision=precision)
    model.reads_files = True
    return model


def fake_stream(
    model: BlockwiseModel, sequences: int, length: int, batch_size: int, **options: Any
) -> CalibrationStream:
    """Text in front of its first block."""
    tokens = torch.zeros(sequences, length + 1, dtype=torch.int64)
    return CalibrationStream(
        model, tokens, batch_size, options.pop("buffer_bytes"), Path(tempfile.gettempdir()), **options
    )
