"""Reading an archive: nothing in it is used before its hash is checked."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import zstandard

from pruning_vs_scratch.archive.listing import LISTING, METADATA, Listing
from pruning_vs_scratch.archive.reference import no_such_source
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import MIB, require_space

LARGEST_LISTING = 16 * MIB
"""Bytes of a listing, and of the description after it: room for 100,000 files."""
BYTES_PER_HEADER = 4096
"""Bytes that a tar file may have for a member besides its content."""


class _Bounded:
    """A stream that yields no more bytes than allowed: a few compressed bytes can expand to any number."""

    def __init__(self, stream: IO[bytes], source: Path, allowed: int) -> None:
        self._stream, self._source, self.allowed = stream, source, allowed

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes.

        Raises:
            UserError: more than are allowed were read.
        """
        block = self._stream.read(size)
        self.allowed -= len(block)
        if self.allowed < 0:
            raise UserError(f"{self._source} is refused: it holds more than its {LISTING} lists")
        return block


def unpack(source: Path, folder: Path) -> Listing:
    """Copy the files of an archive, or of a folder into which one was unpacked, to a folder, checking each.

    Raises:
        UserError: the archive is missing, truncated, altered, of a newer version, no archive of a study, or holds more
            than it lists.
    """
    if not source.exists():
        raise UserError(no_such_source(source))
    if source.is_dir() and not (source / LISTING).exists():
        raise UserError(f"{source} has no {LISTING}: name a file that pvs archive wrote, or where it was unpacked to")
    listing: Listing | None = None
    found = set()
    for name, content, bound in _folder_files(source) if source.is_dir() else _members(source):
        if name == LISTING and listing is None:
            listing = Listing.parse(_json(content, source), str(source))
            size = sum(listed.bytes for listed in listing.files.values())
            require_space(folder, size, str(source))
            if bound is not None:
                bound.allowed = size + LARGEST_LISTING + BYTES_PER_HEADER * (len(listing.files) + 2)
        elif listing is None:
            raise UserError(f"{source} is not an archive of a study: {LISTING} does not come first")
        elif name in listing.files:
            target = folder / name
            _copy(content, target, listing.files[name].bytes, source)
            listing.check(name, target, str(source))
            found.add(name)
        elif name != METADATA:
            raise UserError(f"{source} was altered: {LISTING} does not list {name}")
    missing = sorted(set(listing.files) - found) if listing else [LISTING]
    if listing is None or missing:
        raise UserError(f"{source} is truncated: {len(missing)} files are missing, such as {missing[0]}; get it again")
    return listing


def _copy(content: IO[bytes], target: Path, size: int, source: Path) -> None:
    """Write a file of a given size; for a larger file, only enough to show that it is larger."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as copy:
            left = size + 1
            while left > 0 and (block := content.read(min(left, MIB))):
                copy.write(block)
                left -= len(block)
    except (OSError, ValueError) as error:
        raise UserError(f"{source}: cannot write {target.name[:80]!r} ({error.__class__.__name__}: {error})") from error


def _members(source: Path) -> Iterator[tuple[str, IO[bytes], _Bounded]]:
    """Files of a tar.zst, by their names below its folder, in order, and the bound on everything that follows."""
    try:
        with source.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as plain:
            bound = _Bounded(plain, source, LARGEST_LISTING + BYTES_PER_HEADER)
            with tarfile.open(fileobj=bound, mode="r|") as tar:  # type: ignore[call-overload]
                for member in tar:
                    content = tar.extractfile(member) if member.isfile() else None
                    if content is None:
                        raise UserError(f"{source} is refused: {member.name} is not a regular file")
                    yield member.name.partition("/")[2], content, bound
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        raise UserError(
            f"{source} is truncated, damaged, or no tar.zst file ({error}): get it again, or name a file that "
            "pvs archive wrote"
        ) from error


def _folder_files(source: Path) -> Iterator[tuple[str, IO[bytes], None]]:
    """Files of an unpacked archive, the listing first; their own sizes bound them."""
    names = [file.relative_to(source).as_posix() for file in sorted(source.rglob("*")) if file.is_file()]
    for name in sorted(names, key=lambda name: name != LISTING):
        with (source / name).open("rb") as content:
            yield name, content, None


def _json(content: IO[bytes], source: Path) -> object:
    text = content.read(LARGEST_LISTING + 1)
    if len(text) > LARGEST_LISTING:
        raise UserError(f"{source} is refused: its {LISTING} is larger than {LARGEST_LISTING // MIB} MiB")
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source} is damaged: its {LISTING} is not JSON; get it again") from error
    return value
