"""Make the report of a finished study, and say where it is: one page that loads nothing."""

import argparse
import os
import sys

from pruning_vs_scratch.config.load import study_files
from pruning_vs_scratch.program.studies import add_study

EXAMPLES = """  pvs report                         the demo's
  pvs report mini
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_study(parser)


def main(args: argparse.Namespace) -> None:
    """Make the report anew."""
    from pruning_vs_scratch.supervisor.run import StudyRun

    run = StudyRun(study_files(args.study), os.cpu_count() or 1, None)
    sys.stdout.write(f"{run.make_report()}\n")
