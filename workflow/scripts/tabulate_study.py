"""Collect a study's ledger, results, efficiency, times and provenance, and the tables behind claims and figures.

Fails when the two sides of a compared pair did not see the same tokens under the same recipe, when what it reads was
changed since, or when a step read another form of an artifact than the one that is there.
"""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.tabulate import tabulate
from pruning_vs_scratch.verification import require_sound_results


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=json_argument, required=True, help="the study: JSON text or a JSON file")
    parser.add_argument("--reported", type=Path, required=True, help="the paper's numbers, a .csv; they are kept too")
    args = parser.parse_args()
    study = Study(args.config)
    require_sound_results(study)
    tabulate(study, args.reported)


if __name__ == "__main__":
    cli.run(main)
