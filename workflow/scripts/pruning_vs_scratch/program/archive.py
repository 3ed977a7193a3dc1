"""Write a finished study as one file: tables, scores of items, ledger, manifests, configuration, figures, claims."""

import argparse
import sys

from pruning_vs_scratch.program.studies import add_study, study_of

EXAMPLES = """  pvs archive                        results/demo/demo.tar.zst
  pvs archive mini --small           only what pvs figures needs
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_study(parser)
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--weights", action="store_true", help="put the checkpoints in too")
    extent.add_argument(
        "--small",
        action="store_true",
        help="only what pvs figures needs: no code, pictures, report, records of steps, or scores of weights",
    )


def main(args: argparse.Namespace) -> None:
    """Write the archive."""
    from pruning_vs_scratch.archive.pack import write_archive, write_small_archive

    study = study_of(args.study)
    if args.small:
        path = study.paths.small_archive
        listing = write_small_archive(study, path)
    else:
        path = study.paths.archive
        listing = write_archive(study, path, args.weights)
    size = path.stat().st_size / 2**20
    sys.stdout.write(f"{path}: {len(listing.files)} files, {size:.1f} MiB\n")
