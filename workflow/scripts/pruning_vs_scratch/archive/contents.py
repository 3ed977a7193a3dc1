"""Which files an archive contains."""

from collections.abc import Iterator
from pathlib import Path

from pruning_vs_scratch.errors import Unfinished
from pruning_vs_scratch.figures.catalogue import FIGURES, figures_of
from pruning_vs_scratch.figures.save import METADATA
from pruning_vs_scratch.files import MASK_LEARNING_FILE, PRUNING_FILE, RECORDS
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.times import manifest_paths

CODE = (
    "Snakefile", "workflow", "config", "envs", "slurm", "requirements.lock", "pyproject.toml", "README.md", "LICENSE",
    "CITATION.cff",
)  # fmt: skip
"""The workflow itself, its configurations and the lock."""
LEFT_OUT = {"__pycache__", "logs", "benchmarks", "state"}
SUFFIXES_LEFT_OUT = (".egg-info", ".pyc", ".tar.zst")
NOT_TO_REDRAW = {
    "metrics.jsonl",
    "report.html",
    "provenance.html",
    "pages",
    "config.json",
    PRUNING_FILE,
    MASK_LEARNING_FILE,
}
"""Results from which tables, figures and claims are not made, if the tables of curves and importance exist."""
SCORES = ".safetensors"
"""Extension of the scores of blocks and channels, from which only the table of importance is made."""
SMALL_CODE = ("Snakefile", "config/reported.csv", "requirements.lock", "LICENSE")
"""The project's files in a small archive: inputs, those that its description names, versions and licence."""


def archived_files(study: Study, weights: bool = False) -> list[Path]:
    """Files of a finished study, relative to the working folder, sorted; checkpoints only with ``weights``.

    Raises:
        Unfinished: the study is not finished.
    """
    paths = study.paths
    for needed in (paths.results / "claims.json", paths.figures, *map(paths.manifest, study.recorded_runs)):
        if not needed.exists():
            raise Unfinished(study.name, needed)
    files = {file for name in CODE for file in _below(Path(name))}
    without = FIGURES.keys() - figures_of(study)
    files |= {file for file in _below(paths.figures) if file.stem not in without}
    files |= {file for file in _below(paths.results) if _is_of(study, file, weights)}
    files |= {path for _, path in manifest_paths(study) if path.exists()}
    return sorted(files)


def small_files(study: Study) -> tuple[list[Path], list[Path]]:
    """What redrawing a finished study needs, and its pictures, which are remade and so may be left out.

    Raises:
        Unfinished: the study is not finished, or a picture is missing.
    """
    paths = study.paths
    pictures = [paths.figures / f"{name}.{kind}" for name in figures_of(study) for kind in METADATA]
    if missing := [picture for picture in pictures if not picture.exists()]:
        raise Unfinished(study.name, missing[0])
    kept = [file for file in archived_files(study) if _serves_to_redraw(study, file)]
    return kept, pictures


def _serves_to_redraw(study: Study, file: Path) -> bool:
    if file.is_relative_to(study.paths.results):
        return file.suffix != SCORES and not NOT_TO_REDRAW.intersection(file.parts)
    if file.is_relative_to(study.paths.figures):
        return file.suffix == ".csv"
    return file.as_posix() in SMALL_CODE or file.parts[0] == study.paths.resources.parts[0]


def _below(path: Path) -> Iterator[Path]:
    """A file, or those of a folder that are not by-products."""
    if path.is_file():
        yield path
    for file in path.rglob("*"):
        parts = file.relative_to(path).parts
        by_product = any(part in LEFT_OUT or part.endswith(SUFFIXES_LEFT_OUT) for part in parts)
        if file.is_file() and not by_product and not file.name.startswith("."):
            yield file


def _is_of(study: Study, file: Path, weights: bool) -> bool:
    """Whether a result belongs to the current form of the study, not to an earlier one."""
    if not file.is_relative_to(study.paths.runs):
        return True
    run, *rest = file.relative_to(study.paths.runs).parts
    return run in study.recorded_runs and (weights or rest[0] != "model" or file.name in {*RECORDS, "config.json"})
