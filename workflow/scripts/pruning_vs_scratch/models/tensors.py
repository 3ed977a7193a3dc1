"""Reading and writing safetensors with errors that a person can act on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pruning_vs_scratch.errors import UserError


@contextmanager
def writing_tensors(path: Path) -> Iterator[None]:
    """Turn the safetensors library's own error (a full disk, say) into an OSError, which callers handle."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error


def save_tensors(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors to one file."""
    with writing_tensors(path):
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read all tensors of one file.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return load_file(path)
    except (FileNotFoundError, SafetensorError) as error:
        raise UserError(f"cannot read the tensors of {path}: {error}; delete it and run again") from error
