"""Reading an archive: nothing of it is used before its hash was compared."""

import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import zstandard

from pruning_vs_scratch.archive.listing import LISTING, METADATA, Listing
from pruning_vs_scratch.errors import UserError


def unpack(source: Path, folder: Path) -> Listing:
    """Copy the files of an archive, or of the folder that one was unpacked to, to a folder, each checked.

    Raises:
        UserError: the archive is missing, truncated, altered, of a newer version, or no archive of a study.
    """
    if not source.exists():
        raise UserError(f"archive not found: {source}; name a file written by make archive")
    listing: Listing | None = None
    found = set()
    for name, content in _folder_files(source) if source.is_dir() else _members(source):
        if name == LISTING:
            listing = Listing.parse(_json(content, source), str(source))
        elif listing is None:
            raise UserError(f"{source} is no archive of a study: {LISTING} does not come first")
        elif name in listing.files:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as copy:
                shutil.copyfileobj(content, copy)
            listing.check(name, target, str(source))
            found.add(name)
        elif name != METADATA:
            raise UserError(f"{source} was altered: {LISTING} does not list {name}")
    missing = sorted(set(listing.files) - found) if listing else [LISTING]
    if listing is None or missing:
        raise UserError(f"{source} is truncated: {len(missing)} files are missing, such as {missing[0]}; get it again")
    return listing


def _members(source: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Files of a tar.zst, by their names below its folder, in its order."""
    try:
        with (
            source.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is None:
                    raise UserError(f"{source} is refused: {member.name} is no plain file")
                yield member.name.partition("/")[2], content
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        raise UserError(f"{source} is truncated, damaged, or no tar.zst file ({error}); get it again") from error


def _folder_files(source: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Files of an unpacked archive, the listing first."""
    names = [file.relative_to(source).as_posix() for file in sorted(source.rglob("*")) if file.is_file()]
    for name in sorted(names, key=lambda name: name != LISTING):
        with (source / name).open("rb") as content:
            yield name, content


def _json(content: IO[bytes], source: Path) -> object:
    try:
        value: object = json.load(content)
    except ValueError as error:
        raise UserError(f"{source} is damaged: its {LISTING} is not JSON; get it again") from error
    return value
