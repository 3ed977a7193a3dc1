"""Say what a study will cost before it is run: jobs, tokens, operations, hours, storage. Needs no GPU, no network."""

import argparse
import sys
from pathlib import Path

from pruning_vs_scratch.cli import positive_integer
from pruning_vs_scratch.planning.throughput import SHIPPED, USER, ThroughputTable
from pruning_vs_scratch.program.studies import add_study, study_of

EXAMPLES = """  pvs plan --devices 2               the demo, on two cores of this CPU
  pvs plan paper --device h100       the paper's study
  pvs plan paper paper-meta          with an overlay over it
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_study(parser)
    parser.add_argument(
        "--device",
        help="device to plan for: a100, cpu, h100, or one of your own (default: cluster.device of the study)",
    )
    parser.add_argument(
        "--devices", type=positive_integer, metavar="N", help="how many; cores for cpu (default: cluster.devices)"
    )
    add_throughput(parser)


def add_throughput(parser: argparse.ArgumentParser) -> None:
    """Add the option that names throughput tables."""
    parser.add_argument(
        "--throughput", type=Path, nargs="+", default=[USER, SHIPPED], metavar="FILE",
        help=f"throughput tables; the first with a matching row is used (default: {USER} {SHIPPED})",
    )  # fmt: skip


def main(args: argparse.Namespace) -> None:
    """Print the plan, and write it next to the results."""
    from pruning_vs_scratch.figures import plan as figure
    from pruning_vs_scratch.figures.catalogue import figures_of
    from pruning_vs_scratch.figures.save import write
    from pruning_vs_scratch.files import write_text
    from pruning_vs_scratch.planning.plan import Plan
    from pruning_vs_scratch.planning.text import markdown
    from pruning_vs_scratch.tables.published.catalogue import pages_of
    from pruning_vs_scratch.tables.write import write_csv

    study = study_of(args.study)
    device = args.device or study.config.cluster.device
    plan = Plan(
        study,
        ThroughputTable.read(args.throughput),
        device,
        figures_of(study),
        pages_of(bool(study.arms)),
        args.devices,
    )
    text, results = markdown(plan), study.paths.results
    write_csv(results / "plan.csv", plan.long)
    write_text(results / "plan.md", text)
    write(figure.data(plan), lambda: figure.draw(plan), "plan", study.paths.figures, study.config.figures.size)
    sys.stdout.write(f"{text}\nAlso in {results}/plan.md, plan.csv and {study.paths.figures}/plan.pdf, png\n")
