"""archive.json: what an archive holds, with the hash of each file."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import sha256_of_file
from pruning_vs_scratch.manifest import source_hash

SCHEMA = 1
LISTING = "archive.json"
"""Name of the listing, the first file of an archive."""
METADATA = "ro-crate-metadata.json"
"""Name of the description as an RO-Crate, the second file."""
STUDY_NAME = r"^[a-z][a-z0-9_-]*$"


class ListedFile(Section):
    """A file's size and hash."""

    bytes: int
    sha256: str


class Listing(Section):
    """What an archive holds."""

    schema_version: int
    study: str
    source_hash: str
    """Of the code that wrote the archive."""
    files: dict[str, ListedFile]
    """By the path below the archive's folder."""

    @classmethod
    def of(cls, study: str, files: Iterable[Path]) -> "Listing":
        """The listing of files whose paths start at the working folder."""
        listed = {file.as_posix(): ListedFile(bytes=file.stat().st_size, sha256=sha256_of_file(file)) for file in files}
        return cls(schema_version=SCHEMA, study=study, source_hash=source_hash(), files=listed)

    @classmethod
    def parse(cls, values: Any, source: str) -> "Listing":
        """A listing as it was read.

        Raises:
            UserError: it is of a newer version, damaged, or names files outside of the archive.
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
        outside = [name for name in listing.files if not _is_inside(name)]
        if outside or not re.match(STUDY_NAME, listing.study):
            raise UserError(f"{source} is refused: it names files outside of its folder ({outside or listing.study})")
        return listing

    def check(self, name: str, content: Path, source: str) -> None:
        """Compare a file with what is listed of it.

        Raises:
            UserError: it is another file.
        """
        listed = self.files[name]
        if content.stat().st_size != listed.bytes or sha256_of_file(content) != listed.sha256:
            raise UserError(f"{source} was altered or damaged: {name} is not what {LISTING} lists; get it again")


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts
