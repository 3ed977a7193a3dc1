"""archive.json: the contents of an archive, with the hash of each file."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import Field, ValidationError

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import canonical_json, sha256_of_file
from pruning_vs_scratch.manifest import source_hash

WHOLE, SMALL = 1, 2
"""Versions of a listing: only the second can name files that were left out."""
SCHEMA = SMALL
LISTING = "archive.json"
"""Name of the listing, the first file of an archive."""
METADATA = "ro-crate-metadata.json"
"""Name of the description as an RO-Crate, the second file."""
STUDY_NAME = r"[a-z][a-z0-9_-]*"


class ListedFile(Section):
    """A file's size and hash."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: str


class Listing(Section):
    """The contents of an archive."""

    schema_version: int
    study: str
    source_hash: str
    """Hash of the code that wrote the archive."""
    files: dict[str, ListedFile]
    """By the path below the archive's folder."""
    left_out: dict[str, ListedFile] = {}
    """Pictures that are not in a small archive: remade ones are compared with their hashes."""

    @classmethod
    def of(cls, study: str, files: Iterable[Path], left_out: Iterable[Path] = ()) -> "Listing":
        """The listing of files with paths from the working folder, and of those that a small archive lacks."""
        listed, lacking = _listed(files), _listed(left_out)
        version = SMALL if lacking else WHOLE
        return cls(schema_version=version, study=study, source_hash=source_hash(), files=listed, left_out=lacking)

    @property
    def text(self) -> str:
        """The listing as stored in an archive."""
        return canonical_json(self.model_dump(mode="json", exclude_defaults=True))

    @property
    def is_small(self) -> bool:
        """Whether it contains only what redrawing needs."""
        return self.schema_version == SMALL

    @classmethod
    def parse(cls, values: Any, source: str) -> "Listing":
        """A listing from its parsed values.

        Raises:
            UserError: it is of a newer version, damaged, or lists files outside the archive.
        """
        version = values.get("schema_version") if isinstance(values, dict) else None
        if isinstance(version, int) and version > SCHEMA:
            raise UserError(
                f"{source} is of version {version}, and this project reads up to {SCHEMA}: use a newer version of it"
            )
        try:
            listing = cls.model_validate(values)
        except ValidationError as error:
            raise UserError(f"{source} is damaged: its {LISTING} is not valid ({error.errors()[0]['msg']})") from error
        outside = [name for name in (*listing.files, *listing.left_out) if not _is_inside(name)]
        if outside or not re.fullmatch(STUDY_NAME, listing.study):
            named = (outside or [listing.study])[0][:80]
            raise UserError(f"{source} is refused: it names files outside of its folder, such as {named!r}")
        return listing

    def check(self, name: str, content: Path, source: str) -> None:
        """Compare a file with its entry.

        Raises:
            UserError: it is a different file.
        """
        listed = self.files[name]
        if content.stat().st_size != listed.bytes or sha256_of_file(content) != listed.sha256:
            raise UserError(f"{source} was altered or damaged: {name} is not what {LISTING} lists; get it again")


def _listed(files: Iterable[Path]) -> dict[str, ListedFile]:
    return {file.as_posix(): ListedFile(bytes=file.stat().st_size, sha256=sha256_of_file(file)) for file in files}


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
