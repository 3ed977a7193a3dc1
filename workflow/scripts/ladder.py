"""Studies of the paper's proportions at every size, what each would cost, and one of them as a file to run."""

import argparse
import sys
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.ladder import page
from pruning_vs_scratch.ladder.machine import Machine
from pruning_vs_scratch.ladder.price import Price, ladder, largest_within
from pruning_vs_scratch.ladder.proportions import MATRICES, Proportions
from pruning_vs_scratch.ladder.rungs import nearest_parent, parents, parse_params
from pruning_vs_scratch.ladder.write import write_rung
from pruning_vs_scratch.planning.throughput import SHIPPED, USER, ThroughputTable


def main() -> None:
    """Entry point."""
    args = _arguments()
    proportions = Proportions.read()
    machine = Machine(args.device, args.gpus, ThroughputTable.read(args.throughput))
    rungs = [nearest_parent(proportions, parse_params(args.params))] if args.params else parents(proportions)
    known = ladder(rungs, machine, [args.matrix] if args.matrix else MATRICES)
    sys.stdout.write(f"{page.ladder(known, args.hours)}\n")
    chosen = _chosen(known.prices, args)
    if chosen is not None:
        sys.stdout.write("\n" + "".join(f"{line}\n" for line in page.description(chosen)))
        if args.write is not None:
            write_rung(chosen, args.write)
            sys.stdout.write(f"\nWritten: {args.write}. What it costs in detail: make plan STUDY={args.write.stem}\n")


def _chosen(known: list[Price], args: argparse.Namespace) -> Price | None:
    """The rung to describe and to write: the largest that fits, or the one that was asked for, with the full matrix."""
    if args.hours is not None:
        return largest_within(known, args.hours)
    return known[-1] if args.params else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", metavar="N", help="the rung nearest to so many parameters, such as 45M or 1.1B")
    parser.add_argument("--gpus", type=cli.positive_integer, default=8, help="devices; CPU cores for cpu (default: 8)")
    parser.add_argument("--device", default="h100", help="device of the throughput table (default: h100)")
    parser.add_argument("--hours", type=cli.positive_number, help="mark what fits, and recommend the largest")
    matrix = parser.add_mutually_exclusive_group()
    matrix.add_argument(
        "--core", action="store_const", const="core", dest="matrix",
        help="only the smallest matrix that decides all claims (default: both)",
    )  # fmt: skip
    matrix.add_argument("--full", action="store_const", const="full", dest="matrix", help="only the paper's matrix")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the rung as config/NAME.yaml")
    parser.add_argument(
        "--throughput", type=Path, nargs="+", default=[USER, SHIPPED],
        help=f"throughput tables, the first that has a row counts (default: {USER} {SHIPPED})",
    )  # fmt: skip
    args = parser.parse_args()
    if args.write is not None and args.params is None and args.hours is None:
        parser.error("--write needs --params, or --hours to choose by")
    return args


if __name__ == "__main__":
    cli.run(main)
