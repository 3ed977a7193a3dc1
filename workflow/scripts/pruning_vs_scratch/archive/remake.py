"""Remaking the files of archives where the user sees them, and reporting how they compare with the archived ones."""

import collections
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pruning_vs_scratch.archive.compare import Match
from pruning_vs_scratch.archive.redraw import redraw
from pruning_vs_scratch.archive.restyle import Restyle
from pruning_vs_scratch.archive.unpack import unpack
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import atomic_directory
from pruning_vs_scratch.manifest import source_hash

REDRAWN = Path("figures/redrawn")


def remake(archives: Iterable[Path], restyle: Restyle) -> None:
    """Remake the tables, claims and figures of archives.

    Raises:
        UserError: lists the files that differ from the archived ones.
    """
    different = [name for archive in archives for name in _remade(archive, restyle)]
    if different:
        raise UserError("not what the archive holds:\n" + "\n".join(f"  {name}" for name in different))


def _remade(archive: Path, restyle: Restyle) -> list[str]:
    """The names of an archive's files that differ when remade."""
    with tempfile.TemporaryDirectory(prefix="redraw-") as temporary:
        folder = Path(temporary)
        listing = unpack(archive, folder)
        if listing.source_hash != source_hash():
            sys.stdout.write("note: the archive was written by another version of this project\n")
        found = redraw(folder, listing, restyle)
        out = REDRAWN / listing.study
        _keep(folder, found, out)
    _say(found, out)
    return [name for name, match in found.items() if match is Match.DIFFERENT]


def _keep(folder: Path, found: dict[str, Match], out: Path) -> None:
    """Copy the remade files to the folder that the user sees, replacing those of an earlier call."""
    with atomic_directory(out) as fresh:
        for name in found:
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            if (folder / name).exists():
                shutil.copyfile(folder / name, fresh / name)


def _say(found: dict[str, Match], out: Path) -> None:
    sys.stdout.write(f"{len(found)} files redrawn: {out}\n")
    kinds = collections.Counter((Path(name).suffix.lstrip("."), match) for name, match in found.items())
    for (kind, match), count in sorted(kinds.items()):
        sys.stdout.write(f"  {kind:8} {count:3} {match}\n")
