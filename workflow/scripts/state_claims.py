"""Test the study's claims on its stored losses; write the gaps, the claims, and the claims in words."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.files import atomic_file, write_json, write_text
from pruning_vs_scratch.tables.claims import state_claims
from pruning_vs_scratch.tables.claims_text import claims_markdown
from pruning_vs_scratch.tables.crossover import crossover_table
from pruning_vs_scratch.tables.gaps import gap_groups, gap_table
from pruning_vs_scratch.tables.load import Tables
from pruning_vs_scratch.tables.task_gaps import task_gap_table


def main() -> None:
    """Read the tables, write gaps, claims.json and claims.md."""
    args = _arguments()
    settings = ClaimsConfig.from_option("--settings", args.settings)
    tables = Tables(args.tables)
    groups = gap_groups(tables, settings.dataset)
    claims = state_claims(args.study, groups, settings)
    with atomic_file(args.gaps) as temporary:
        gap_table(groups, settings).to_csv(temporary, index=False)
    with atomic_file(args.task_gaps) as temporary:
        task_gap_table(groups, tables.items, settings).to_csv(temporary, index=False)
    with atomic_file(args.crossover) as temporary:
        crossover_table(groups, settings).to_csv(temporary, index=False)
    write_json(args.claims_json, claims)
    write_text(args.claims_md, claims_markdown(claims))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="folder with pairs.csv and losses.parquet")
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument(
        "--settings", type=cli.json_argument, default={}, help="the claims section: JSON text or a file"
    )
    parser.add_argument("--gaps", type=Path, required=True, help="gaps.csv to write")
    parser.add_argument("--task-gaps", type=Path, required=True, help="task_gaps.csv to write")
    parser.add_argument("--crossover", type=Path, required=True, help="crossover.csv to write")
    parser.add_argument("--claims-json", type=Path, required=True, help="claims.json to write")
    parser.add_argument("--claims-md", type=Path, required=True, help="claims.md to write")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
