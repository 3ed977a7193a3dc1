"""From a study's tables to its claims, and the gaps, crossovers, worths and differences on which they are based."""

from pathlib import Path

from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.files import write_json, write_text
from pruning_vs_scratch.tables.arm_claims import arm_claims
from pruning_vs_scratch.tables.arms import arm_groups, arm_table
from pruning_vs_scratch.tables.claims import state_claims
from pruning_vs_scratch.tables.claims_text import claims_markdown
from pruning_vs_scratch.tables.crossover import crossover_table
from pruning_vs_scratch.tables.gaps import gap_groups, gap_table
from pruning_vs_scratch.tables.load import Tables, times_read
from pruning_vs_scratch.tables.reported_claims import with_reported
from pruning_vs_scratch.tables.task_gaps import task_gap_table
from pruning_vs_scratch.tables.transfer import transfer_table
from pruning_vs_scratch.tables.write import write_csv


def derive_claims(results: Path, study: str, settings: ClaimsConfig) -> None:
    """Write claims.json and claims.md to a results folder, and the tables that follow from losses to its tables."""
    tables = Tables(results / "tables")
    groups = gap_groups(tables, settings.dataset)
    arms = arm_groups(tables, settings.dataset)
    stated = state_claims(study, groups, settings, times_read(tables.runs), arm_claims(arms, groups, settings))
    claims = with_reported(stated, tables.reported)
    write_csv(tables.folder / "gaps.csv", gap_table(groups, settings))
    write_csv(tables.folder / "task_gaps.csv", task_gap_table(groups, tables.items, settings))
    write_csv(tables.folder / "crossover.csv", crossover_table(groups, tables.runs, settings))
    write_csv(tables.folder / "transfer.csv", transfer_table(groups, tables.runs, settings))
    if arms:
        write_csv(tables.folder / "arms.csv", arm_table(arms, tables.arm_pairs, settings))
    write_json(results / "claims.json", claims)
    write_text(results / "claims.md", claims_markdown(claims))
