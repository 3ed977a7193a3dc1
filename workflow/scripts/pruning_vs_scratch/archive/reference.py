"""The archives that are part of the repository."""

from pathlib import Path

from pruning_vs_scratch.cli import refuse_elsewhere
from pruning_vs_scratch.errors import UserError

REFERENCE = Path("figures/reference")


def reference_archives(folder: Path = REFERENCE) -> list[Path]:
    """The archives in a folder, by name.

    Raises:
        UserError: there are none.
    """
    if found := sorted(folder.glob("*.tar.zst")):
        return found
    refuse_elsewhere(folder)
    raise UserError(f"{folder} holds no archive: name one, such as FROM=results/demo/demo.tar.zst")
