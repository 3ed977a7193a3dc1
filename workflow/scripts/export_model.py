"""Export a finished run as a folder for the Hugging Face hub, with a model card. Nothing is uploaded."""

import argparse
import logging
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.errors import UserError, nearest
from pruning_vs_scratch.publishing.export import export_model
from pruning_vs_scratch.study.paths import Paths
from pruning_vs_scratch.tables.published.stored import Stored

log = logging.getLogger(__name__)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True, help="name of a finished study")
    parser.add_argument("--run", required=True, help="name of one of its runs, as in results.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; it must not exist, or be empty")
    args = parser.parse_args()
    results = Paths(args.study).results
    if not results.parent.is_dir():
        cli.refuse_elsewhere(results.parent)
    if not results.is_dir():
        finished = [folder.name for folder in results.parent.glob("*") if folder.is_dir()]
        raise UserError(f"no study {args.study!r} under {results.parent}/; {nearest(args.study, finished)}")
    export_model(Stored(results), args.run, args.out)
    log.info("%s is exported to %s", args.run, args.out)


if __name__ == "__main__":
    cli.run(main)
