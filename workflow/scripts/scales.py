"""Draw studies of several sizes beside each other, from archives or result folders, with the paper's numbers.

Says how well a fit over the smaller studies predicts the largest. Needs neither torch nor a model.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from pruning_vs_scratch import cli
from pruning_vs_scratch.archive.redraw import REPORTED
from pruning_vs_scratch.archive.reference import reference_archives
from pruning_vs_scratch.archive.studies import opened
from pruning_vs_scratch.figures import scales as figure
from pruning_vs_scratch.figures.options import add_look, chosen_look
from pruning_vs_scratch.figures.save import write
from pruning_vs_scratch.tables.reported import reported_table
from pruning_vs_scratch.tables.scales import scale_fits, scale_points
from pruning_vs_scratch.tables.write import write_csv


def main() -> None:
    """Entry point."""
    args = _arguments()
    look = chosen_look(args)
    reported = reported_table(cli.REPOSITORY / REPORTED)
    with opened(args.study or reference_archives()) as scales:
        for scale in scales:
            look.require_known(scale.tables)
        points = scale_points(scales, args.methods, reported)
        fits = scale_fits(points)
        write_csv(args.out / "scales_fit.csv", fits)
        write(points, lambda: figure.draw(scales, points, fits), "scales", args.out, look=look)
        names = ", ".join(scale.study for scale in scales)
    sys.stdout.write(f"{args.out / 'scales.pdf'}: {names}\n{_verdicts(points, fits)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "study", type=Path, nargs="*",
        help="an archive, or a folder results/STUDY of a finished study; default: the archives of figures/reference",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("figures/scales"), help="folder to write to")
    parser.add_argument("--methods", nargs="+", default=(), metavar="METHOD", help="show these; default: one a family")
    add_look(parser)
    return parser.parse_args()


def _verdicts(points: pd.DataFrame, fits: pd.DataFrame) -> str:
    """Predicted against measured at each budget of the study that was left out, or why nothing was fitted."""
    lines = []
    for fit in fits.itertuples():
        name = f"{fit.measure}, {fit.granularity}, {fit.method} {fit.pattern}, ratio {fit.ratio:g}"
        if fit.reason:
            lines.append(f"{name}: nothing to fit over sizes: {fit.reason}")
            continue
        lines.append(f"{name}: {fit.left_out} predicted from the smaller studies, off by {fit.error:.3g}")
        lines[-1] += f" (by {fit.error_without_size:.3g} without the parent's size)"
        same = (points["measure"] == fit.measure) & (points["method"] == fit.method) & points["predicted"].notna()
        lines += [
            f"  R/P {row.share_retrained:.3g}: predicted {row.predicted:.3g}, measured {row.value:.3g}"
            for row in points[same & (points["pattern"] == fit.pattern)].itertuples()
        ]
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    cli.run(main)
