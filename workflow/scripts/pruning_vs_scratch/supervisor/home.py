"""A place for the caches of Snakemake and of libraries if the home folder is missing or not writable."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

PLACES = {"XDG_CACHE_HOME": ".cache", "MPLCONFIGDIR": ".config/matplotlib"}
"""Where Snakemake, the Hugging Face libraries and matplotlib keep files: variables, and defaults in a home folder."""


def variables_for_home(instead: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables to set so that every place is writable: a folder in ``instead`` for each that is not."""
    unusable = (name for name, place in PLACES.items() if not _is_usable(environment.get(name) or f"~/{place}"))
    return {name: str((instead / PLACES[name]).absolute()) for name in unusable}


def _is_usable(place: str) -> bool:
    """Whether a folder exists or can be made, and is writable."""
    try:
        folder = Path(place).expanduser()
        existing = next(found for found in (folder, *folder.parents) if found.exists())
        tempfile.TemporaryFile(dir=existing).close()
    except (OSError, RuntimeError):  # RuntimeError: the user has no home at all
        return False
    return True
