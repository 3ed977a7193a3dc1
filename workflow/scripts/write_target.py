"""Write a target file: what a ratio means."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument
from pruning_vs_scratch.files import write_json
from pruning_vs_scratch.study import Target


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=json_argument, required=True, help="the target: JSON text or a JSON file")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    args = parser.parse_args()
    write_json(args.out, Target.from_dict(args.target).to_dict())


if __name__ == "__main__":
    cli.run(main)
