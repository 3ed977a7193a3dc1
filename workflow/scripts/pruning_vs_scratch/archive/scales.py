"""Studies of several sizes in one figure, and how well the smaller ones predict the largest."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from pruning_vs_scratch.archive.listing import LISTING
from pruning_vs_scratch.archive.redraw import REPORTED
from pruning_vs_scratch.archive.reference import no_such_source, reference_archives
from pruning_vs_scratch.archive.unpack import unpack
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.figures import scales as figure
from pruning_vs_scratch.figures.look import Look
from pruning_vs_scratch.figures.save import write
from pruning_vs_scratch.tables.reported import reported_table
from pruning_vs_scratch.tables.scales import Scale, read_scale, scale_fits, scale_points, sorted_scales
from pruning_vs_scratch.tables.write import write_csv


def compare(studies: Sequence[Path], methods: Sequence[str], look: Look, out: Path) -> str:
    """Draw finished studies in one figure in a folder; returns the predictions in words.

    Without ``studies``, those are the archives of the repository, except studies with arms, which repeat a size.

    Raises:
        UserError: a study cannot be read, or a method or label is not known.
    """
    reported = reported_table(REPOSITORY / REPORTED)
    with opened(studies or reference_archives()) as found:
        scales = [scale for scale in found if studies or scale.tables.arm_pairs.empty]
        for scale in scales:
            look.require_known(scale.tables)
        points = scale_points(scales, methods, reported)
        fits = scale_fits(points)
        write_csv(out / "scales_fit.csv", fits)
        write(points, lambda: figure.draw(scales, points, fits), "scales", out, look=look)
        names = ", ".join(scale.study for scale in scales)
    return f"{out / 'scales.pdf'}: {names}\n{_verdicts(points, fits)}"


def _verdicts(points: pd.DataFrame, fits: pd.DataFrame) -> str:
    """Predicted against measured at each budget of the study that was left out, or why nothing was fitted."""
    lines = []
    for fit in fits.to_dict("records"):
        name = f"{fit['measure']}, {fit['granularity']}, {fit['method']} {fit['pattern']}, ratio {fit['ratio']:g}"
        if fit["reason"]:
            lines.append(f"{name}: nothing to fit over sizes: {fit['reason']}")
            continue
        lines.append(f"{name}: {fit['left_out']} predicted from the smaller studies, off by {fit['error']:.3g}")
        lines[-1] += f" (by {fit['error_without_size']:.3g} without the parent's size)"
        same = (points["measure"] == fit["measure"]) & (points["method"] == fit["method"]) & points["predicted"].notna()
        lines += [
            f"  R/P {row.share_retrained:.3g}: predicted {row.predicted:.3g}, measured {row.value:.3g}"
            for row in points[same & (points["pattern"] == fit["pattern"])].itertuples()
        ]
    return "".join(f"{line}\n" for line in lines)


@contextmanager
def opened(sources: Sequence[Path]) -> Iterator[list[Scale]]:
    """The studies of some archives or folders, by size. Archives are unpacked, and each file checked, for as long.

    Raises:
        UserError: there is no such file, an archive is damaged or of a newer version, a folder holds no tables, or a
            study is listed twice.
    """
    with tempfile.TemporaryDirectory(prefix="scales-") as temporary:
        yield sorted_scales([_opened(source, Path(temporary) / str(i)) for i, source in enumerate(sources)])


def _opened(source: Path, folder: Path) -> Scale:
    if not source.exists():
        raise UserError(no_such_source(source))
    if source.is_dir() and not (source / LISTING).exists():
        return read_scale(source, source)
    listing = unpack(source, folder)
    return read_scale(folder / "results" / listing.study, source)
