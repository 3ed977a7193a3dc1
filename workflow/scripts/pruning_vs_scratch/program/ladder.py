"""Say which studies of the paper's proportions, 0.2M to 8B parameters, fit your hours; write one as a file to run."""

import argparse
import sys
from pathlib import Path

from pruning_vs_scratch.cli import positive_integer, positive_number
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.planning.throughput import ThroughputTable
from pruning_vs_scratch.program.plan import add_throughput
from pruning_vs_scratch.program.studies import name_of

EXAMPLES = """  pvs ladder --hours 24 --gpus 8 --device h100
  pvs ladder --params 37M --core --gpus 1 --device a100 --write config/mine.yaml
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--params", metavar="N", help="the rung nearest to this many parameters, such as 45M or 1.1B")
    parser.add_argument(
        "--gpus",
        "--devices",
        type=positive_integer,
        default=8,
        metavar="N",
        help="how many; cores for cpu (default: 8)",
    )
    parser.add_argument(
        "--device", default="h100", help="device to plan for: a100, cpu, h100, or one of your own (default: h100)"
    )
    parser.add_argument("--hours", type=positive_number, help="mark what fits, and recommend the largest")
    matrix = parser.add_mutually_exclusive_group()
    matrix.add_argument(
        "--core", action="store_const", const="core", dest="matrix",
        help="only the smallest matrix that decides all claims (without --core or --full: both)",
    )  # fmt: skip
    matrix.add_argument("--full", action="store_const", const="full", dest="matrix", help="only the paper's matrix")
    matrix.add_argument(
        "--arms", action="store_const", const="arms", dest="matrix",
        help="what the paper leaves open: distillation, gradual pruning, one schedule, younger parents",
    )  # fmt: skip
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the rung as config/NAME.yaml")
    add_throughput(parser)


def main(args: argparse.Namespace) -> None:
    """Print the ladder, and write the chosen rung."""
    from pruning_vs_scratch.ladder import page
    from pruning_vs_scratch.ladder.machine import Machine
    from pruning_vs_scratch.ladder.price import chosen, ladder
    from pruning_vs_scratch.ladder.proportions import MATRICES, Proportions
    from pruning_vs_scratch.ladder.rungs import nearest_parent, parents, parse_params
    from pruning_vs_scratch.ladder.write import require_new_study, write_rung

    if args.write is not None:
        if args.params is None and args.hours is None:
            raise UserError("--write needs --params, or --hours to choose by")
        require_new_study(args.write)
    proportions = Proportions.read()
    machine = Machine(args.device, args.gpus, ThroughputTable.read(args.throughput))
    rungs = [nearest_parent(proportions, parse_params(args.params))] if args.params else parents(proportions)
    known = ladder(rungs, machine, [args.matrix] if args.matrix else MATRICES)
    found = chosen(known.prices, args.hours, named=args.params is not None)
    if found is not None and args.hours is not None:
        sys.stdout.write(f"{page.recommendation(found, args.hours)}\n")
        sys.stdout.write("" if args.write else "To run it: add --write config/NAME.yaml, then pvs run NAME.\n")
        sys.stdout.write("\n")
    sys.stdout.write(f"{page.ladder(known, args.hours)}\n")
    if found is not None:
        sys.stdout.write("\n" + "".join(f"{line}\n" for line in page.description(found)))
        if args.write is not None:
            write_rung(found, args.write)
            sys.stdout.write(f"\nWritten: {args.write}. What it costs in detail: pvs plan {name_of(args.write)}\n")
