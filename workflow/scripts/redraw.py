"""Make the tables, claims and figures of an archive again, from its records, and compare them with the archived ones.

Needs neither torch nor a model.
"""

import argparse
import collections
import os
import shutil
import sys
import tempfile
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.archive.compare import Match
from pruning_vs_scratch.archive.redraw import redraw
from pruning_vs_scratch.archive.unpack import unpack
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.manifest import source_hash

REDRAWN = Path("figures/redrawn")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "archive", type=Path, help="a .tar.zst that make archive wrote, or the folder it was unpacked to"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="redraw-") as temporary:
        folder = Path(temporary)
        listing = unpack(args.archive, folder)
        if listing.source_hash != source_hash():
            sys.stdout.write("note: the archive was written by another version of this project\n")
        found = redraw(folder, listing.study)
        out = REDRAWN / listing.study
        _keep(folder, found, out)
    _say(found, out)
    if different := [name for name, match in found.items() if match is Match.DIFFERENT]:
        raise UserError("not what the archive holds:\n" + "\n".join(f"  {name}" for name in different))


def _keep(folder: Path, found: dict[str, Match], out: Path) -> None:
    """Copy what was made to the folder that the user sees, in place of what an earlier call left there."""
    fresh = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    for name in found:
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        if (folder / name).exists():
            shutil.copyfile(folder / name, fresh / name)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(fresh, out)


def _say(found: dict[str, Match], out: Path) -> None:
    sys.stdout.write(f"{len(found)} files made again: {out}\n")
    kinds = collections.Counter((Path(name).suffix.lstrip("."), match) for name, match in found.items())
    for (kind, match), count in sorted(kinds.items()):
        sys.stdout.write(f"  {kind:8} {count:3} {match}\n")


if __name__ == "__main__":
    cli.run(main)
