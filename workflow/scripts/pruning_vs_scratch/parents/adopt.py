"""Adopting an acquired checkpoint as the parent of a study: it must be what the configuration says."""

from pathlib import Path
from typing import Any

from pruning_vs_scratch.artifacts import record_of
from pruning_vs_scratch.data.hub import FREEZE
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import atomic_directory
from pruning_vs_scratch.parents.folder import link_or_copy
from pruning_vs_scratch.study import ModelShape

KEYS = {"vocab_size": "tokenizer.vocab_size"}
"""Where the configuration has what a shape has, if not under parent.shape."""


def adopt(checkpoint: Path, shape: ModelShape, positions: int, out: Path) -> str:
    """Put an acquired checkpoint where the models of a study lie; returns the dtype that it was published in.

    Raises:
        UserError: it has no manifest, or has another shape, or reads fewer tokens at a time than the study does.
    """
    record = record_of(checkpoint)
    if record is None:
        raise UserError(
            f"{checkpoint} has no manifest that lists its files; delete it and fetch it where there is a network: "
            f"{FREEZE}"
        )

    from pruning_vs_scratch.models.decoder import shape_of
    from pruning_vs_scratch.models.portable import read_config

    config = read_config(checkpoint)
    if problems := [*_differences(shape, shape_of(config)), *_too_long(positions, config)]:
        raise UserError(f"the parent {checkpoint.name} is not what the study says:\n" + "\n".join(problems))
    with atomic_directory(out) as temporary:
        link_or_copy(checkpoint, list(record.files), temporary, checkpoint.name)
    return str(config.dtype).removeprefix("torch.")


def _differences(wanted: ModelShape, found: ModelShape) -> list[str]:
    """The keys of the configuration in which a checkpoint differs."""
    has = found.to_dict()
    return [
        f"  {KEYS.get(key, f'parent.shape.{key}')}: the study says {value}, the checkpoint has {has[key]}"
        for key, value in wanted.to_dict().items()
        if value != has[key]
    ]


def _too_long(positions: int, config: Any) -> list[str]:
    limit = config.max_position_embeddings
    if positions <= limit:
        return []
    return [
        f"  training.sequence_length or pruning.calibration.sequence_length: {positions} tokens are beyond the {limit} "
        "positions of the checkpoint"
    ]
