"""Run a study on this machine or a cluster: progress with the time left, then the report and a summary.

A run that was interrupted, even by kill -9, resumes where it stopped.
"""

import argparse
import os

from pruning_vs_scratch.cli import add_quiet, positive_integer
from pruning_vs_scratch.config.load import study_files
from pruning_vs_scratch.program.studies import add_study

EXAMPLES = """  pvs run                            the demo, on all cores
  pvs run mini --cores 2             config/mini.yaml
  pvs run mine.yaml                  a file of your own
  pvs run paper --profile slurm      as jobs of a SLURM cluster
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_study(parser)
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--cores", type=positive_integer, default=os.cpu_count(), help="CPU cores of this machine (default: all)"
    )
    place.add_argument("--profile", help="Snakemake profile that runs the jobs elsewhere, such as slurm")
    add_quiet(parser)


def main(args: argparse.Namespace) -> None:
    """Run the study."""
    from pruning_vs_scratch.supervisor.run import StudyRun

    StudyRun(study_files(args.study), args.cores, args.profile).run()
