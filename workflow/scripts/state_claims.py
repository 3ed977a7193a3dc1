"""Test the study's claims on its stored losses; write the gaps, the claims, and the claims in words."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.tables.derive import derive_claims


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results folder of a study, with its tables")
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument(
        "--settings", type=cli.json_argument, default={}, help="the claims section: JSON text or a file"
    )
    args = parser.parse_args()
    derive_claims(args.results, args.study, ClaimsConfig.from_option("--settings", args.settings))


if __name__ == "__main__":
    cli.run(main)
