"""Choose the shapes of width targets from a search's candidates: shape_search.csv, and the target files."""

import argparse
import logging

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument
from pruning_vs_scratch.files import write_json
from pruning_vs_scratch.study import Target
from pruning_vs_scratch.study.candidate_shapes import shape_words
from pruning_vs_scratch.study.paths import Paths
from pruning_vs_scratch.tables.chosen_shapes import chosen_targets, search_table
from pruning_vs_scratch.tables.write import write_csv

log = logging.getLogger(__name__)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument(
        "--searches", type=json_argument, required=True, help="JSON: by target, the candidates' targets by their runs"
    )
    args = parser.parse_args()
    paths = Paths(args.study)
    searches = {
        name: {run: Target.from_dict(values) for run, values in candidates.items()}
        for name, candidates in args.searches.items()
    }
    table = search_table(paths, searches)
    for target in chosen_targets(table, searches):
        sizes = table.loc[table["target"] == target.name, "hidden_size"]
        at_an_end = target.shape.hidden_size in (sizes.min(), sizes.max())
        hint = "; no candidate is beyond it: try more of them" if at_an_end else ""
        log.info("%s: %s%s", target.name, shape_words(target.shape), hint)
        write_json(paths.target(target.name), target.to_dict())
    write_csv(paths.shape_search, table)


if __name__ == "__main__":
    cli.run(main)
