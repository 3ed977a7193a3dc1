"""Collect a study's ledger.csv, results.csv, efficiency.csv, times.csv and the tables behind claims and figures.

Fails when the two sides of a compared pair did not see the same tokens under the same recipe.
"""

import argparse
import logging
from pathlib import Path

import pandas as pd
import yaml

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument
from pruning_vs_scratch.data.corpora import without_folders
from pruning_vs_scratch.files import atomic_file, write_text
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.curves import curve_table
from pruning_vs_scratch.tables.importance import importance_table
from pruning_vs_scratch.tables.ledger import ledger_table, mixed_sources, verified_pairs
from pruning_vs_scratch.tables.reported import reported_table
from pruning_vs_scratch.tables.results import results_table
from pruning_vs_scratch.tables.runs import efficiency_table, run_table
from pruning_vs_scratch.tables.times import times_table

log = logging.getLogger(__name__)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=json_argument, required=True, help="the study: JSON text or a JSON file")
    parser.add_argument("--reported", type=Path, required=True, help="the paper's numbers, a .csv; they are kept too")
    args = parser.parse_args()
    study = Study(args.config)

    ledger = ledger_table(study)
    if warning := mixed_sources(ledger):
        log.warning(warning)
    pairs = verified_pairs(study, ledger)
    runs = run_table(study)
    losses, items = (_scores(study, table) for table in ("losses", "items"))
    results, tables = study.paths.results, study.paths.tables
    write_text(results / "config.yaml", yaml.safe_dump(without_folders(study.config), sort_keys=False))
    _write_csv(ledger, results / "ledger.csv")
    _write_csv(results_table(study, runs, losses, items), results / "results.csv")
    speed = pd.read_csv(study.paths.speed) if study.config.evaluation.speed else None
    _write_csv(efficiency_table(study, runs, speed), results / "efficiency.csv")
    _write_csv(times_table(study), results / "times.csv")
    _write_csv(runs, tables / "runs.csv")
    _write_csv(pairs, tables / "pairs.csv")
    _write_csv(reported_table(args.reported), tables / "reported.csv")
    stored = {"losses": losses, "items": items, "curves": curve_table(study), "importance": importance_table(study)}
    for name, table in stored.items():
        with atomic_file(tables / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)


def _scores(study: Study, table: str) -> pd.DataFrame:
    """Scores of all evaluation groups, in the order of the study's runs."""
    parts = [pd.read_parquet(study.paths.evaluation / group / f"{table}.parquet") for group in study.evaluation_groups]
    return pd.concat(parts, ignore_index=True)


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with atomic_file(path) as temporary:
        table.to_csv(temporary, index=False)


if __name__ == "__main__":
    cli.run(main)
