"""Which files of a local folder are read as text, and which are left out."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pruning_vs_scratch.config.corpus import DocumentSet, PathSource
from pruning_vs_scratch.errors import UserError

LINE_KINDS = (".jsonl", ".jsonl.gz", ".jsonl.zst")
"""Files with one document per line."""
FILE_KINDS = (".txt", *LINE_KINDS)


@dataclass(frozen=True)
class FolderListing:
    """The names of a folder's contents, relative to it and in order."""

    text: list[str]
    """Files of a known kind."""
    left_out: list[str]
    """Files of another kind, and links to folders or to nothing; none of them is read. Hidden ones are not listed."""


def list_folder(folder: Path) -> FolderListing:
    """The contents of a folder, if it exists, and of its subfolders. Links to files are followed, links to folders are
    not.

    Raises:
        UserError: a folder in it cannot be listed, or the name of a file of text is not UTF-8.
    """
    text: list[str] = []
    left_out: list[str] = []
    if not folder.is_dir():
        return FolderListing([], [])
    for place, folders, files in os.walk(folder, onerror=_refuse):
        links = [name for name in folders if Path(place, name).is_symlink()]
        for name in (*files, *links):
            path = Path(place, name)
            relative = path.relative_to(folder)
            if name.endswith(FILE_KINDS) and path.is_file():
                text.append(_utf8(relative.as_posix(), folder))
            elif not any(part.startswith(".") for part in relative.parts):
                left_out.append(escaped(relative.as_posix()))
    return FolderListing(sorted(text), sorted(left_out))


def files_read(source: PathSource, sets: Iterable[DocumentSet]) -> list[str]:
    """The names of the files in a folder from which some sets of documents are read, in order."""
    chosen = list(sets)
    return [name for name in list_folder(Path(source.path)).text if any(is_selected(name, some) for some in chosen)]


def is_selected(name: str, selected: DocumentSet) -> bool:
    """Whether a member's whole path matches an include pattern and no exclude pattern."""
    return matches(name, selected.include) and not matches(name, selected.exclude)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name matches any of the glob patterns; ``*`` also matches ``/``."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def escaped(name: str) -> str:
    """A name in printable form, whatever its bytes are."""
    return name.encode("utf-8", "backslashreplace").decode()


def _utf8(name: str, folder: Path) -> str:
    if (written := escaped(name)) != name:
        raise UserError(f"{folder}: the name of the file {written} is not UTF-8: rename it, or move it away")
    return name


def _refuse(error: OSError) -> None:
    raise UserError(f"cannot list {error.filename}: {error.strerror}; check its permissions, or move it away")
