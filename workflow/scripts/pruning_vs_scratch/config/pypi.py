"""Files of Python packages, pinned."""

from typing import Annotated, Literal

from pydantic import Field

from pruning_vs_scratch.config.base import Section

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class PypiFile(Section):
    """One pinned file of a Python package, fetched through the user's own package index and never installed."""

    kind: Literal["pypi"]
    project: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name on the package index."""
    version: str
    """Exact version."""
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*\.(tar\.gz|whl|zip)$")]
    """File name on the index (sdist or wheel)."""
    sha256: Sha256
    """SHA-256 of the file, checked before it is opened."""
