"""The command-line options for the look of figures."""

import argparse
from pathlib import Path
from typing import get_args

from pruning_vs_scratch.config.figures import FigureSize
from pruning_vs_scratch.figures.look import USUAL, Look, read_look


def add_look(parser: argparse.ArgumentParser) -> None:
    """Add the options --size and --style."""
    parser.add_argument(
        "--size", choices=get_args(FigureSize), help="for print, or for slides (default: the style file's or study's)"
    )
    parser.add_argument("--style", type=Path, help="a YAML file that changes fonts, colours, labels, sizes")


def chosen_look(args: argparse.Namespace) -> Look:
    """The look given by these options; a size given as an option overrides the style file's.

    Raises:
        UserError: the style file is missing or invalid.
    """
    look = USUAL if args.style is None else read_look(args.style)
    return look.model_copy(update={"size": args.size or look.size})
