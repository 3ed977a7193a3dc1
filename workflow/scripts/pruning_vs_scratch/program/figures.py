"""Redraw the tables, claims and figures of archives from their records, and compare them with the archived copies.

Needs neither torch nor a model. The files go to figures/redrawn/STUDY.
"""

import argparse
from pathlib import Path

from pruning_vs_scratch.figures.catalogue import FIGURES
from pruning_vs_scratch.figures.options import add_look, chosen_look

EXAMPLES = """  pvs figures                                    all archives of figures/reference
  pvs figures results/demo/demo.tar.zst --figure token_budget --size talk
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "archive", type=Path, nargs="*", metavar="ARCHIVE",
        help="a study's name, a .tar.zst that pvs archive wrote, or the folder it was unpacked to (default: all of "
        "figures/reference)",
    )  # fmt: skip
    parser.add_argument(
        "--figure",
        nargs="+",
        choices=sorted(FIGURES),
        metavar="FIGURE",
        help=f"draw only these (default: those of the study): {', '.join(FIGURES)}",
    )
    parser.add_argument("--methods", nargs="+", default=(), metavar="METHOD", help="show only these (default: all)")
    add_look(parser)


def main(args: argparse.Namespace) -> None:
    """Draw, and fail if anything differs from what is archived."""
    from pruning_vs_scratch.archive.reference import archive_of, reference_archives
    from pruning_vs_scratch.archive.remake import remake
    from pruning_vs_scratch.archive.restyle import Restyle

    restyle = Restyle(tuple(args.figure or ()), tuple(args.methods), chosen_look(args))
    remake([archive_of(archive) for archive in args.archive] or reference_archives(), restyle)
