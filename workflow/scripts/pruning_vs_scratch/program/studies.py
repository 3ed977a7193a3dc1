"""How a command line names a study: by name, by file, or by several of them, each over the ones before."""

import argparse
from collections.abc import Sequence

from pruning_vs_scratch.config.load import DEFAULT_STUDY, load_config, study_files
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.paths import Paths


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the names of a study."""
    parser.add_argument(
        "study", nargs="*", metavar="STUDY",
        help=f"name or YAML file; later ones override earlier ones (default: {DEFAULT_STUDY})",
    )  # fmt: skip


def study_of(names: Sequence[str]) -> Study:
    """The study that a command line names.

    Raises:
        UserError: there is none, or its configuration is not valid.
    """
    return Study(load_config(study_files(names)).model_dump(mode="json"))


def paths_of(names: Sequence[str]) -> Paths:
    """The results folder of a study; its name is enough without its configuration.

    Raises:
        UserError: there is no such study, or no results of it.
    """
    if len(names) <= 1:
        finished = Paths(next(iter(names), DEFAULT_STUDY))
        if finished.results.is_dir():
            return finished
    paths = Paths(load_config(study_files(names)).study)
    if not paths.results.is_dir():
        raise UserError(f"{paths.results} does not exist: run study {paths.study} first (pvs run)")
    return paths
