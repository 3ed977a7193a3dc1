"""Show the progress of a study: which steps are done, whether a run is at work, and about how long is left."""

import argparse
import os
import sys

from pruning_vs_scratch.cli import positive_integer
from pruning_vs_scratch.program.studies import add_study, study_of

EXAMPLES = """  pvs status                         the demo
  pvs status mini
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_study(parser)
    parser.add_argument(
        "--cores",
        type=positive_integer,
        default=os.cpu_count(),
        help="cores to assume for the time left (default: all)",
    )


def main(args: argparse.Namespace) -> None:
    """Print it."""
    from pruning_vs_scratch.supervisor.status import status

    sys.stdout.write(status(study_of(args.study), args.cores))
