"""Which files of a checkpoint folder hold its weights. No torch here."""

import logging
from collections.abc import Collection
from pathlib import Path

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import INDEX_FILE, SINGLE_FILE, read_json_object

log = logging.getLogger(__name__)

SHARD_BYTES = 1 << 30
"""A written checkpoint is cut into files of about this size, so that no more than this waits in memory."""


def weight_entry(names: Collection[str]) -> str | None:
    """The file that holds all weights, or the index of those that do; None if there is neither.

    The single file comes first, as in transformers: a save in several files may have left an index beside it.
    """
    return next((name for name in (SINGLE_FILE, INDEX_FILE) if name in names), None)


def say_which_weights(names: Collection[str], label: str) -> None:
    """Warn if a checkpoint has both, of which the index is not read."""
    if {SINGLE_FILE, INDEX_FILE} <= set(names):
        log.warning(
            "%s has its weights twice: %s is read, as transformers does, and %s is not; delete the one that is stale",
            label, SINGLE_FILE, INDEX_FILE,
        )  # fmt: skip


def weight_map(index: Path) -> dict[str, str]:
    """By weight, the file that holds it, as an index says.

    Raises:
        UserError: the index has another form, or names a file outside of its folder.
    """
    files = read_json_object(index).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise UserError(f"{index} has no weight_map that names a file for each weight; fetch it again")
    for weight, file in files.items():
        if Path(file).name != file or not file.endswith(".safetensors"):
            raise UserError(
                f"{index} says {file!r} of {weight}, which is not a .safetensors file next to it; fetch it again"
            )
    return files
