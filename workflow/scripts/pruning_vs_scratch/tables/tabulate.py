"""From the records of a study's steps to its tables: ledger, results, efficiency, times, and those behind figures."""

import logging
from pathlib import Path

import pandas as pd
import yaml

from pruning_vs_scratch.evaluation.finite import require_finite
from pruning_vs_scratch.files import write_text
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.arm_ledger import verified_arms
from pruning_vs_scratch.tables.chosen_shapes import search_table, searches_of
from pruning_vs_scratch.tables.curves import curve_table
from pruning_vs_scratch.tables.importance import importance_table
from pruning_vs_scratch.tables.ledger import ledger_table, verified_pairs
from pruning_vs_scratch.tables.provenance import mixed_sources, provenance_table
from pruning_vs_scratch.tables.reported import reported_table
from pruning_vs_scratch.tables.results import results_table
from pruning_vs_scratch.tables.runs import efficiency_table, run_table
from pruning_vs_scratch.tables.times import times_table
from pruning_vs_scratch.tables.write import write_csv, write_parquet

log = logging.getLogger(__name__)


def tabulate(
    study: Study, reported: Path, curves: pd.DataFrame | None = None, importance: pd.DataFrame | None = None
) -> None:
    """Write a study's tables to its results folder; ``reported`` has the paper's numbers (.csv). ``curves`` and
    ``importance`` are those of an archive without the records of steps and the scores of blocks and channels; otherwise
    they are made from these.

    Raises:
        UserError: the two sides of a compared pair did not see the same tokens under the same recipe.
    """
    ledger, provenance = ledger_table(study), provenance_table(study)
    if warning := mixed_sources(provenance):
        log.warning(warning)
    pairs = verified_pairs(study, ledger)
    runs = run_table(study)
    arms = verified_arms(study, ledger, runs) if study.arms else None
    losses, items = (_scores(study, table) for table in ("losses", "items"))
    results, tables = study.paths.results, study.paths.tables
    write_text(results / "config.yaml", yaml.safe_dump(study.config.without_folders(), sort_keys=False))
    write_csv(results / "ledger.csv", ledger)
    write_csv(results / "results.csv", results_table(study, runs, losses, items))
    speed = pd.read_csv(study.paths.speed) if study.config.evaluation.speed else None
    write_csv(results / "efficiency.csv", efficiency_table(study, runs, speed))
    write_csv(results / "times.csv", times_table(study))
    write_csv(results / "provenance.csv", provenance)
    write_csv(tables / "runs.csv", runs)
    write_csv(tables / "pairs.csv", pairs)
    if arms is not None:
        write_csv(tables / "arm_pairs.csv", arms)
    write_csv(tables / "shape_search.csv", search_table(study.paths, searches_of(study)))
    write_csv(tables / "reported.csv", reported_table(reported))
    write_parquet(tables / "losses.parquet", losses)
    write_parquet(tables / "items.parquet", items)
    write_parquet(tables / "curves.parquet", curve_table(study) if curves is None else curves)
    write_parquet(tables / "importance.parquet", importance_table(study) if importance is None else importance)


def _scores(study: Study, table: str) -> pd.DataFrame:
    """Scores of all evaluation groups, in the order of the study's runs."""
    parts = []
    for group in study.evaluation_groups:
        path = study.paths.evaluation / group / f"{table}.parquet"
        parts.append(pd.read_parquet(path))
        require_finite(parts[-1], f"{path} (delete its folder and run again)")
    return pd.concat(parts, ignore_index=True)
