"""Print what a finished study found: verdicts, losses, accuracies, and where the figures and the report are."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from pruning_vs_scratch import cli
from pruning_vs_scratch.files import read_json
from pruning_vs_scratch.tables.load import Tables
from pruning_vs_scratch.tables.summary import summary


def main() -> None:
    """Write the summary to standard output."""
    args = _arguments()
    claims = read_json(args.claims)
    sys.stdout.write(
        summary(Tables(args.tables), claims, pd.read_csv(args.times), args.figures, args.report, args.seconds)
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="folder with the study's tables, gaps.csv included")
    parser.add_argument("--claims", type=Path, required=True, help="the study's claims.json")
    parser.add_argument("--times", type=Path, required=True, help="the study's times.csv")
    parser.add_argument("--figures", type=Path, required=True, help="folder of the figures, to be named")
    parser.add_argument("--report", type=Path, required=True, help="the report, to be named")
    parser.add_argument("--seconds", type=float, help="how long the study took")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
