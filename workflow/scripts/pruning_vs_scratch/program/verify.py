"""Check every artifact of a finished study against the manifest that its step wrote, and each
step's inputs against the outputs of the step before it.

Weights, text and scores are read and hashed whole.
"""

import argparse
import sys

from pruning_vs_scratch.program.studies import add_study, study_of

EXAMPLES = """  pvs verify                         the demo
  pvs verify mini
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_study(parser)


def main(args: argparse.Namespace) -> None:
    """Print what was compared, or fail."""
    from pruning_vs_scratch.verification import verified

    sys.stdout.write(verified(study_of(args.study)))
