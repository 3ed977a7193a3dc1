"""Writing an archive: a tar file compressed with Zstandard, with the same bytes for the same study."""

import io
import json
import tarfile
from pathlib import Path

import zstandard

from pruning_vs_scratch.archive.contents import archived_files, small_files
from pruning_vs_scratch.archive.crate import crate_metadata
from pruning_vs_scratch.archive.listing import LISTING, METADATA, Listing
from pruning_vs_scratch.files import atomic_file
from pruning_vs_scratch.study import Study

LEVEL = 10


def write_archive(study: Study, path: Path, weights: bool = False) -> Listing:
    """Write a finished study's archive, and return its listing.

    Raises:
        UserError: the study is not finished, or the disk is full.
    """
    return _write(study, path, Listing.of(study.name, archived_files(study, weights)))


def write_small_archive(study: Study, path: Path) -> Listing:
    """Write an archive with only what redrawing a finished study needs, and return its listing.

    Raises:
        UserError: the study is not finished, or the disk is full.
    """
    return _write(study, path, Listing.of(study.name, *small_files(study)))


def _write(study: Study, path: Path, listing: Listing) -> Listing:
    pack(path, listing, json.dumps(crate_metadata(study, listing), indent=1, sort_keys=True))
    return listing


def pack(path: Path, listing: Listing, metadata: str) -> None:
    """Write the listing, the metadata, and the listed files, which are below the working folder."""
    with (
        atomic_file(path) as temporary,
        temporary.open("wb") as file,
        zstandard.ZstdCompressor(level=LEVEL).stream_writer(file, closefd=False) as compressed,
        tarfile.open(fileobj=compressed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        _add_text(tar, f"{listing.study}/{LISTING}", listing.text)
        _add_text(tar, f"{listing.study}/{METADATA}", metadata)
        for name, listed in listing.files.items():
            with Path(name).open("rb") as content:
                tar.addfile(_member(f"{listing.study}/{name}", listed.bytes), content)


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    tar.addfile(_member(name, len(content)), io.BytesIO(content))


def _member(name: str, size: int) -> tarfile.TarInfo:
    """A member without owner or times, which would differ each time that a study is written."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member
