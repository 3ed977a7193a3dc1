"""Prune one checkpoint by one method, as a step of a study; ``pvs prune`` does the same by hand."""

import argparse

from pruning_vs_scratch import cli
from pruning_vs_scratch.pruning.arguments import add_pruning_arguments, prune_by_arguments


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    add_pruning_arguments(parser)
    prune_by_arguments(parser.parse_args())


if __name__ == "__main__":
    cli.run(main)
