"""How a command line names a study: by name, by file, or by several of them, each over the ones before."""

import argparse
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from pruning_vs_scratch.config.load import DEFAULT_STUDY, load_config, study_files
from pruning_vs_scratch.errors import Unfinished
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.paths import Paths

log = logging.getLogger(__name__)


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
    files = study_files(names)
    study = Study(load_config(files).model_dump(mode="json"))
    if len(files) > 1 and study.name == DEFAULT_STUDY:
        log.warning("%s names no study (key study): it goes to results/%s", files[-1], study.name)
    return study


def name_of(file: Path) -> str:
    """How a command line names the study of a file."""
    return file.stem if file.parent == Path("config") else str(file)


def finished(names: Sequence[str], needed: str) -> Paths:
    """The paths of a study that has a result; if it has, its name is enough without its configuration.

    Raises:
        UserError: there is no such study.
        Unfinished: the result is missing.
    """
    if len(names) <= 1:
        paths = Paths(next(iter(names), DEFAULT_STUDY))
        if (paths.results / needed).exists():
            return paths
    paths = Paths(load_config(study_files(names)).study)
    if not (missing := paths.results / needed).exists():
        raise Unfinished(paths.study, missing, names)
    return paths


def command_on(names: Sequence[str], verb: str, *options: str) -> str:
    """The command line of a verb on the study that a command line names."""
    return shlex.join(["pvs", verb, *(names or [DEFAULT_STUDY]), *options])
