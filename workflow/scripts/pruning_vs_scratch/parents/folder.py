"""A checkpoint in a local folder, taken over without a second copy where the file system allows."""

import errno
import os
import shutil
from pathlib import Path

from pruning_vs_scratch.config.checkpoint import PathCheckpoint
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import INDEX_FILE, require_space
from pruning_vs_scratch.parents.files import required_weights, shards_of, small_files
from pruning_vs_scratch.study.checkpoints import Content

NO_LINK = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)
"""Errors of a hard link between file systems, or on one that has none."""


def take(source: PathCheckpoint, content: Content, folder: Path) -> list[str]:
    """Fill an empty folder with the files of a checkpoint, and return their names.

    Raises:
        UserError: the folder is missing or is not a complete checkpoint in safetensors, or the disk is too small.
    """
    names = _names(source, content)
    link_or_copy(Path(source.path), names, folder, source.label)
    return names


def local_files(source: PathCheckpoint, content: Content) -> list[Path]:
    """The files that ``take`` would take, and no other of their folder; none if it would refuse them."""
    try:
        return [Path(source.path, name) for name in sorted(_names(source, content))]
    except UserError:
        return []


def _names(source: PathCheckpoint, content: Content) -> list[str]:
    origin = Path(source.path)
    if not origin.is_dir():
        raise UserError(f"the folder {source.path} does not exist: correct the path of the checkpoint")
    files = {file.name for file in origin.iterdir() if file.is_file()}
    names = small_files(files, content, source.label)
    if content == "model":
        entry = required_weights(files, source.label)
        names += [entry] if entry != INDEX_FILE else [entry, *shards_of(origin / entry, files, source.label)]
    return names


def link_or_copy(origin: Path, names: list[str], folder: Path, label: str) -> None:
    """Put files of one folder into another: as hard links, or as copies where there can be none.

    Raises:
        UserError: copies are needed, and the disk is too small for them.
    """
    for name in names:
        file = (origin / name).resolve()
        try:
            os.link(file, folder / name)
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
            require_space(folder, file.stat().st_size, label)
            shutil.copyfile(file, folder / name)
