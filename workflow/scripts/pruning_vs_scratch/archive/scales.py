"""Studies of several sizes drawn beside each other, and how well the smaller ones predict the largest."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pruning_vs_scratch.archive.redraw import REPORTED
from pruning_vs_scratch.archive.studies import opened
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.figures import scales as figure
from pruning_vs_scratch.figures.look import Look
from pruning_vs_scratch.figures.save import write
from pruning_vs_scratch.tables.reported import reported_table
from pruning_vs_scratch.tables.scales import scale_fits, scale_points
from pruning_vs_scratch.tables.write import write_csv


def compare(studies: Sequence[Path], methods: Sequence[str], look: Look, out: Path) -> str:
    """Draw finished studies beside each other into a folder; the predictions in words.

    Raises:
        UserError: a study cannot be read, or a method or label is not known.
    """
    reported = reported_table(REPOSITORY / REPORTED)
    with opened(studies) as scales:
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
