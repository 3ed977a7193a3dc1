"""Check a study's configuration; with --cluster, also whether this SLURM cluster can run it, and if not, what to do."""

import argparse
import sys

from pruning_vs_scratch.config.load import study_files
from pruning_vs_scratch.config.local_folders import missing_folders
from pruning_vs_scratch.config.places import InvalidConfig, naming_lines
from pruning_vs_scratch.program.studies import add_study, command_on, study_of

EXAMPLES = """  pvs check mine                     config/mine.yaml
  pvs check path/to/mine.yaml        a file elsewhere
  pvs check paper --cluster          before pvs run paper --profile slurm
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_study(parser)
    parser.add_argument("--cluster", action="store_true", help="look at the SLURM cluster too")


def main(args: argparse.Namespace) -> None:
    """Print what was checked.

    Raises:
        UserError: the configuration is not valid, or names a folder that is not on this machine.
    """
    study = study_of(args.study)
    with naming_lines(study_files(args.study)):
        if problems := missing_folders(study.config):
            raise InvalidConfig(problems)
    sys.stdout.write(f"study {study.name} is valid: {len(study.runs)} models, {study.comparisons}\n")
    if not args.cluster:
        sys.stdout.write(f"next: {command_on(args.study, 'run')}\n")
        return
    from pruning_vs_scratch.cluster.allocation import Allocation
    from pruning_vs_scratch.cluster.preflight import require_ready
    from pruning_vs_scratch.cluster.site import read_site

    allocation = Allocation(study, read_site())
    unseen = require_ready(allocation)
    sys.stdout.writelines(f"{request}\n" for request in allocation.requests)
    sys.stdout.writelines(f"no node for {kind} jobs was free: not checked from there\n" for kind in unseen)
    sys.stdout.write(f"the cluster is ready for study {study.name}\n")
    sys.stdout.write(f"next: {command_on(args.study, 'run', '--profile', 'slurm')}\n")
