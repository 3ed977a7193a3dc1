"""Make the report of a finished study again, and Snakemake's own beside it; say where they are.

Each is one page that loads nothing. No step of the study is run.
"""

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
    """Make both reports."""
    from pruning_vs_scratch.report.write import write_report
    from pruning_vs_scratch.supervisor.run import StudyRun

    run = StudyRun(study_files(args.study), os.cpu_count() or 1, None)
    run.require_finished()
    paths = run.study.paths
    write_report(paths.results, paths.figures, paths.report)
    sys.stdout.write(f"{paths.report}\n{run.make_provenance_page()}\n")
