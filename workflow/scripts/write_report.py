"""Write the report of a study from its stored tables and drawn figures: one page that loads nothing."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.report.write import write_report


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results folder of a study, with its tables")
    parser.add_argument("--figures", type=Path, required=True, help="folder of its drawn figures")
    parser.add_argument("--out", type=Path, required=True, help="the page to write, a .html in the results folder")
    args = parser.parse_args()
    write_report(args.results, args.figures, args.out)


if __name__ == "__main__":
    cli.run(main)
