"""Draw the study's figures from its stored tables: a PDF, a PNG and the plotted data each."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.figures.catalogue import FIGURES
from pruning_vs_scratch.figures.options import add_look, chosen_look
from pruning_vs_scratch.figures.save import save
from pruning_vs_scratch.tables.load import Tables


def main() -> None:
    """Draw the chosen figures, or all."""
    args = _arguments()
    tables = Tables(args.tables)
    look = chosen_look(args)
    look.require_known(tables)
    for name in args.figure or FIGURES:
        save(FIGURES[name], tables, args.study, args.out, look=look)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="folder with the study's tables")
    parser.add_argument("--study", required=True, help="name of the study, shown on the figures")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--figure", nargs="+", choices=sorted(FIGURES), help="draw only these; default: all")
    add_look(parser)
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
