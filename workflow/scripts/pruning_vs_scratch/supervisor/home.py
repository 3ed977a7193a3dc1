"""A place for the caches of Snakemake and of libraries where the home folder is missing or cannot be written."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

PLACES = {"XDG_CACHE_HOME": ".cache", "MPLCONFIGDIR": ".config/matplotlib"}
"""Variables that say where Snakemake, the libraries of Hugging Face and matplotlib keep files, and the places in a home
folder that they take without them."""


def variables_for_home(instead: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables to set so that each of the places can be written: a folder of ``instead``, for one that cannot."""
    unusable = (name for name, place in PLACES.items() if not _is_usable(environment.get(name) or f"~/{place}"))
    return {name: str((instead / PLACES[name]).absolute()) for name in unusable}


def _is_usable(place: str) -> bool:
    """Whether a folder is there, or can be made, and takes files."""
    try:
        folder = Path(place).expanduser()
        existing = next(found for found in (folder, *folder.parents) if found.exists())
        tempfile.TemporaryFile(dir=existing).close()
    except (OSError, RuntimeError):  # RuntimeError: the user has no home at all
        return False
    return True
