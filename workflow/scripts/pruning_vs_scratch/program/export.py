"""Export a finished run as a folder for the Hugging Face hub, with a model card. Nothing is uploaded."""

import argparse
import sys
from pathlib import Path

from pruning_vs_scratch.program.studies import add_study, finished

EXAMPLES = """  pvs export --run P829k-wanda-0.5-R207k-seed0 --out exported
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_study(parser)
    parser.add_argument("--run", required=True, help="name of one of its runs, as in results.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; it must not exist, or be empty")


def main(args: argparse.Namespace) -> None:
    """Write the folder."""
    from pruning_vs_scratch.publishing.export import export_model
    from pruning_vs_scratch.tables.published.stored import Stored

    export_model(Stored(finished(args.study, "results.csv").results), args.run, args.out)
    sys.stdout.write(f"{args.run} is exported to {args.out}\n")
