"""Write a finished study as one file: tables, scores of items, ledger, manifests, configuration, figures, claims."""

import argparse
import sys
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.archive.pack import write_archive, write_small_archive
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.study import Study


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, action="append", default=[], help="overlay of config/config.yaml")
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--weights", action="store_true", help="put the checkpoints in too")
    extent.add_argument(
        "--small",
        action="store_true",
        help="only what make figures needs: no code, pictures, report, records of steps, or scores of weights",
    )
    args = parser.parse_args()
    study = Study(load_config([Path("config/config.yaml"), *args.configfile]).model_dump(mode="json"))
    if args.small:
        path = study.paths.small_archive
        listing = write_small_archive(study, path)
    else:
        path = study.paths.archive
        listing = write_archive(study, path, args.weights)
    size = path.stat().st_size / 2**20
    sys.stdout.write(f"{path}: {len(listing.files)} files, {size:.1f} MiB\n")


if __name__ == "__main__":
    cli.run(main)
