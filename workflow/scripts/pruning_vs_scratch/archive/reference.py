"""The archives that are part of the repository."""

from pathlib import Path

from pruning_vs_scratch.cli import refuse_elsewhere
from pruning_vs_scratch.errors import UserError

REFERENCE = Path("figures/reference")
RESULTS = Path("results")


def reference_archives(folder: Path = REFERENCE) -> list[Path]:
    """The archives in a folder, by name.

    Raises:
        UserError: there are none.
    """
    if found := sorted(folder.glob("*.tar.zst")):
        return found
    refuse_elsewhere(folder)
    raise UserError(f"{folder} holds no archive: name one, such as FROM=results/demo/demo.tar.zst")


def no_such_source(source: Path) -> str:
    """Why an archive or results folder cannot be read that does not exist, and which there are."""
    archives = [*sorted(REFERENCE.glob("*.tar.zst")), *sorted(RESULTS.glob("*/*.tar.zst"))]
    known = [*archives, *sorted(tables.parent for tables in RESULTS.glob("*/tables"))]
    alike = [path for path in known if _study(path) == _study(source)]
    hint = f"did you mean {alike[0]}?" if alike else f"there are: {', '.join(map(str, known)) or 'none here'}"
    return f"archive not found: {source}; name a file that pvs archive wrote, or a folder results/STUDY; {hint}"


def _study(path: Path) -> str:
    return path.name.partition(".")[0]
