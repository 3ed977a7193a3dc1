"""Draw studies of several sizes side by side, from archives or result folders, with the paper's numbers.

Says how well a fit over the smaller studies predicts the largest. Needs neither torch nor a model.
"""

import argparse
import sys
from pathlib import Path

from pruning_vs_scratch.figures.options import add_look, chosen_look

EXAMPLES = """  pvs compare                                    all archives of figures/reference
  pvs compare demo mini                          their results, or these archives
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "study", type=Path, nargs="*", metavar="STUDY",
        help="a finished study by name, its folder, or an archive (default: the archives of figures/reference)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("figures/scales"), help="folder to write to")
    parser.add_argument(
        "--methods", nargs="+", default=(), metavar="METHOD", help="show these (default: one per family)"
    )
    add_look(parser)


def main(args: argparse.Namespace) -> None:
    """Draw, and print the predictions."""
    from pruning_vs_scratch.archive.reference import results_of
    from pruning_vs_scratch.archive.scales import compare

    studies = [results_of(study) for study in args.study]
    sys.stdout.write(compare(studies, args.methods, chosen_look(args), args.out))
