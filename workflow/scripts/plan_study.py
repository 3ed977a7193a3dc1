"""What a study will cost, before it is run: jobs, tokens, operations, hours, storage. Needs no GPU and no network."""

import argparse
import sys
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.load import load_config, study_files
from pruning_vs_scratch.figures import plan as figure
from pruning_vs_scratch.figures.catalogue import FIGURES
from pruning_vs_scratch.figures.save import write
from pruning_vs_scratch.files import write_text
from pruning_vs_scratch.planning.plan import Plan
from pruning_vs_scratch.planning.text import markdown
from pruning_vs_scratch.planning.throughput import SHIPPED, USER, ThroughputTable
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.published.catalogue import PAGES
from pruning_vs_scratch.tables.write import write_csv


def main() -> None:
    """Entry point."""
    args = _arguments()
    study = Study(load_config(study_files(args.study)).model_dump(mode="json"))
    device = args.device or study.config.cluster.device
    plan = Plan(study, ThroughputTable.read(args.throughput), device, FIGURES, PAGES)
    text, results = markdown(plan), study.paths.results
    write_csv(results / "plan.csv", plan.long)
    write_text(results / "plan.md", text)
    write(figure.data(plan), lambda: figure.draw(plan), "plan", study.paths.figures, study.config.figures.size)
    sys.stdout.write(f"{text}\nAlso in {results}/plan.md, plan.csv and {study.paths.figures}/plan.pdf, png\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--study", nargs="+", default=["demo"], metavar="STUDY",
        help="config/STUDY.yaml, and what goes over it; demo is config/config.yaml (default: demo)",
    )  # fmt: skip
    parser.add_argument("--device", help="device of the throughput table (default: cluster.device of the study)")
    parser.add_argument(
        "--throughput", type=Path, nargs="+", default=[USER, SHIPPED],
        help=f"throughput tables, the first that has a row counts (default: {USER} {SHIPPED})",
    )  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
