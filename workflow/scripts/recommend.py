"""Prune or train from scratch? Answers for a budget and a ratio from a study's results, with how far they reach."""

import argparse
import sys

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import share, token_count
from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.study.paths import Paths
from pruning_vs_scratch.tables.gaps import gap_groups
from pruning_vs_scratch.tables.load import Tables
from pruning_vs_scratch.tables.recommend import answers, recommendation
from pruning_vs_scratch.tables.transfer import parent_tokens


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", default="demo", help="name of a finished study (default: demo)")
    parser.add_argument(
        "--tokens", type=token_count, required=True, help="tokens of training that you can spend, such as 131072 or 50B"
    )
    parser.add_argument("--ratio", type=share, required=True, help="share of the parent that is to go, such as 0.5")
    parser.add_argument("--parent", type=token_count, help="tokens of your parent (default: the study's parent's)")
    parser.add_argument(
        "--train-parent", action="store_true", help="the parent is still to be trained: scratch may use its tokens too"
    )
    args = parser.parse_args()
    tables = Tables(Paths(args.study).tables)
    measured = tables.gaps.iloc[0] if len(tables.gaps) else None
    settings = ClaimsConfig(
        dataset=str(measured["dataset"]), confidence=measured["confidence"], equivalence_margin=measured["margin"]
    ) if measured is not None else ClaimsConfig()  # fmt: skip
    groups = gap_groups(tables, settings.dataset)
    found = answers(groups, tables, args.tokens, args.ratio, settings, parent_is_there=not args.train_parent)
    studied = parent_tokens(tables.runs)
    text = recommendation(
        found,
        args.tokens,
        args.ratio,
        study=args.study,
        studied_parent=studied,
        parent=args.parent or studied,
        is_there=not args.train_parent,
    )
    sys.stdout.write(text)


if __name__ == "__main__":
    cli.run(main)
