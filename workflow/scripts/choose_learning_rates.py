"""Choose the peak learning rates from a sweep's trials: sweep.csv, and sweep.json, which training reads."""

import argparse
import logging

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument
from pruning_vs_scratch.files import write_json
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.sweep import chosen_rates, sweep_table
from pruning_vs_scratch.tables.write import write_csv

log = logging.getLogger(__name__)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=json_argument, required=True, help="the study: JSON text or a JSON file")
    study = Study(parser.parse_args().config)
    table = sweep_table(study)
    chosen = chosen_rates(table, study.swept_rates)
    for side, best in chosen.items():
        hint = "; it is an end of the grid: widen it" if best["at_an_end"] else ""
        log.info("best peak learning rate, %s: %g%s", side, best["peak_learning_rate"], hint)
    write_csv(study.paths.sweep.with_suffix(".csv"), table)
    write_json(study.paths.sweep, chosen)


if __name__ == "__main__":
    cli.run(main)
