"""Make the tables, claims and figures of archives again, from their records, and compare them with the archived ones.

Needs neither torch nor a model.
"""

import argparse
import collections
import shutil
import sys
import tempfile
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.archive.compare import Match
from pruning_vs_scratch.archive.redraw import redraw
from pruning_vs_scratch.archive.reference import reference_archives
from pruning_vs_scratch.archive.restyle import Restyle
from pruning_vs_scratch.archive.unpack import unpack
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.figures.catalogue import FIGURES
from pruning_vs_scratch.figures.options import add_look, chosen_look
from pruning_vs_scratch.files import atomic_directory
from pruning_vs_scratch.manifest import source_hash

REDRAWN = Path("figures/redrawn")


def main() -> None:
    """Entry point."""
    args = _arguments()
    restyle = Restyle(tuple(args.figure or FIGURES), tuple(args.methods), chosen_look(args))
    different = [name for archive in args.archive or reference_archives() for name in _redraw(archive, restyle)]
    if different:
        raise UserError("not what the archive holds:\n" + "\n".join(f"  {name}" for name in different))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "archive", type=Path, nargs="*",
        help="a .tar.zst that make archive wrote, or the folder it was unpacked to; default: all of figures/reference",
    )  # fmt: skip
    parser.add_argument("--figure", nargs="+", choices=sorted(FIGURES), help="draw only these; default: all")
    parser.add_argument("--methods", nargs="+", default=(), metavar="METHOD", help="show only these; default: all")
    add_look(parser)
    return parser.parse_args()


def _redraw(archive: Path, restyle: Restyle) -> list[str]:
    """Make an archive's files again where the user sees them; the names of those that differ from the archived ones."""
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
    """Copy what was made to the folder that the user sees, in place of what an earlier call left there."""
    with atomic_directory(out) as fresh:
        for name in found:
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            if (folder / name).exists():
                shutil.copyfile(folder / name, fresh / name)


def _say(found: dict[str, Match], out: Path) -> None:
    sys.stdout.write(f"{len(found)} files made again: {out}\n")
    kinds = collections.Counter((Path(name).suffix.lstrip("."), match) for name, match in found.items())
    for (kind, match), count in sorted(kinds.items()):
        sys.stdout.write(f"  {kind:8} {count:3} {match}\n")


if __name__ == "__main__":
    cli.run(main)
