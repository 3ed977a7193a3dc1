"""Add the speeds that a finished study measured to your own throughput table, which ``pvs plan`` then uses."""

import argparse
import sys
from pathlib import Path

from pruning_vs_scratch.planning.throughput import PROCESSOR, USER, read_rates, write_rates
from pruning_vs_scratch.program.studies import add_study, finished

EXAMPLES = """  pvs rates                          what the demo measured on this CPU
  pvs rates mine --device h100
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_study(parser)
    parser.add_argument("--device", default=PROCESSOR, help="name of what it ran on, as in h100 (default: cpu)")
    parser.add_argument("--out", type=Path, default=USER, help=f"table to write to (default: {USER})")


def main(args: argparse.Namespace) -> None:
    """Write the rates, and print them."""
    from pruning_vs_scratch.planning.measure import measured_rates, merged
    from pruning_vs_scratch.study import Study
    from pruning_vs_scratch.tables.published.stored import Stored

    stored = Stored(finished(args.study, "ledger.csv").results)
    rates = measured_rates(Study(stored.config.model_dump(mode="json")), stored.ledger, args.device)
    write_rates(merged(read_rates(args.out), rates), args.out)
    sys.stdout.writelines(f"{rate.device} {rate.work}: {rate.rate:,g} {rate.unit} ({rate.source})\n" for rate in rates)
    sys.stdout.write(f"written to {args.out}\n")
