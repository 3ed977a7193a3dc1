"""Prune or train from scratch? Answers for a budget and a ratio from a finished study, and how far they reach."""

import argparse
import sys

from pruning_vs_scratch.cli import share, token_count
from pruning_vs_scratch.program.studies import add_study, finished

EXAMPLES = """  pvs recommend --tokens 207360 --ratio 0.5
  pvs recommend mini --tokens 2M --ratio 0.5 --train-parent
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_study(parser)
    parser.add_argument(
        "--tokens",
        type=token_count,
        required=True,
        metavar="N",
        help="tokens of training that you can spend, such as 131072 or 50B",
    )
    parser.add_argument(
        "--ratio",
        type=share,
        required=True,
        metavar="R",
        help="share of the decoder's parameters to remove, such as 0.5",
    )
    parser.add_argument(
        "--parent",
        type=token_count,
        metavar="N",
        help="tokens that your parent was trained on (default: as in the study)",
    )
    parser.add_argument(
        "--train-parent", action="store_true", help="the parent is still to be trained: scratch may use its tokens too"
    )


def main(args: argparse.Namespace) -> None:
    """Print the answers."""
    paths = finished(args.study, "tables/gaps.csv")
    from pruning_vs_scratch.tables.load import Tables
    from pruning_vs_scratch.tables.recommend import advice

    is_there = not args.train_parent
    tables = Tables(paths.tables)
    text = advice(tables, args.tokens, args.ratio, study=paths.study, parent=args.parent, is_there=is_there)
    sys.stdout.write(text)
