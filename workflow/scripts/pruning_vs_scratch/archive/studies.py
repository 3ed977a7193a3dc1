"""Finished studies where they lie: in archives, or in result folders."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pruning_vs_scratch.archive.listing import LISTING
from pruning_vs_scratch.archive.unpack import unpack
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.tables.scales import Scale, read_scale, sorted_scales


@contextmanager
def opened(sources: Sequence[Path]) -> Iterator[list[Scale]]:
    """The studies of some archives or folders, by size. Archives are unpacked, and each file checked, for as long.

    Raises:
        UserError: there is no such file, an archive is damaged or of a newer version, a folder holds no tables, or a
            study stands twice.
    """
    with tempfile.TemporaryDirectory(prefix="scales-") as temporary:
        yield sorted_scales([_opened(source, Path(temporary) / str(i)) for i, source in enumerate(sources)])


def _opened(source: Path, folder: Path) -> Scale:
    if not source.exists():
        raise UserError(f"there is no {source}: give an archive, or the folder results/STUDY of a finished study")
    if source.is_dir() and not (source / LISTING).exists():
        return read_scale(source, source)
    listing = unpack(source, folder)
    return read_scale(folder / "results" / listing.study, source)
