"""Write a study's tables as a paper prints them: csv, Markdown and LaTeX."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.tables.published.catalogue import published_of
from pruning_vs_scratch.tables.published.stored import Stored, write


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results folder of a study")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    args = parser.parse_args()
    stored = Stored(args.results)
    for table in published_of(not stored.tables.arms.empty).values():
        write(table.make(stored), table.name, args.out)


if __name__ == "__main__":
    cli.run(main)
