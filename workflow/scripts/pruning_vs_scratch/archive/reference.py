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


def results_of(study: Path) -> Path:
    """The results of a study that is given by name, else its archive in the repository; other paths as they are."""
    return _first(study, RESULTS / study, _in_repository(study))


def archive_of(study: Path) -> Path:
    """The archive of a study that is given by name: of its results, else of the repository; other paths as they are."""
    names = (f"{study}.tar.zst", f"{study}-small.tar.zst")
    return _first(study, *(RESULTS / study / name for name in names), _in_repository(study))


def _first(given: Path, *places: Path) -> Path:
    if given.exists() or len(given.parts) > 1:
        return given
    return next((place for place in places if place.exists()), given)


def _in_repository(study: Path) -> Path:
    return REFERENCE / f"{study}.tar.zst"


def no_such_source(source: Path) -> str:
    """Why an archive or results folder cannot be read that does not exist, and which there are."""
    archives = [*sorted(REFERENCE.glob("*.tar.zst")), *sorted(RESULTS.glob("*/*.tar.zst"))]
    known = [*archives, *sorted(tables.parent for tables in RESULTS.glob("*/tables"))]
    alike = [path for path in known if _study(path) == _study(source)]
    hint = f"did you mean {alike[0]}?" if alike else f"there are: {', '.join(map(str, known)) or 'none here'}"
    return f"archive not found: {source}; name a study, its folder, or a file that pvs archive wrote; {hint}"


def _study(path: Path) -> str:
    return path.name.partition(".")[0]
