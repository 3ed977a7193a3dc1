"""Writing a finished run as a folder of its own."""

import shutil
from pathlib import Path

from pruning_vs_scratch.artifacts import require_as_written
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import MASK_FILE, PRUNING_FILE, atomic_directory, sha256_of_file, write_text
from pruning_vs_scratch.models.portable import make_portable, read_config
from pruning_vs_scratch.publishing.card import Subject, model_card
from pruning_vs_scratch.publishing.lineage import TIMESTAMP, Stage, lineage
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.chosen_shapes import made_shape
from pruning_vs_scratch.tables.published.stored import Stored

CARD, GENERATION = "README.md", "generation_config.json"


def export_model(stored: Stored, run: str, out: Path) -> None:
    """Write a run's checkpoint with its tokenizer, generation settings and card; nothing or all of it.

    Raises:
        UserError: the run is not known or not finished, was altered since, or has no scores; or ``out`` is not empty.
    """
    study = Study(stored.config.model_dump(mode="json"))
    stages = lineage(study, run)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out} exists and is not an empty folder; choose another one, or delete it")
    require_as_written(study.paths.model(run))
    results = stored.results
    if run not in set(results["run"]):
        raise UserError(f"run {run} has no scores in {stored.folder}: run the study to its end first")
    with atomic_directory(out) as temporary:
        _copy_checkpoint(study, stages, temporary)
        make_portable(temporary)
        weights = {file.name: sha256_of_file(file) for file in sorted(temporary.glob("*.safetensors"))}
        shape = made_shape(study, stages[-1].run)
        write_text(temporary / CARD, model_card(Subject(study, stages, shape, results, weights)))


def _copy_checkpoint(study: Study, stages: list[Stage], folder: Path) -> None:
    """The checkpoint's own files, and what it lacks: the mask and record of its pruning, and generation settings."""
    run = stages[-1].run
    shutil.copytree(study.paths.model(run.name), folder, ignore=shutil.ignore_patterns(TIMESTAMP), dirs_exist_ok=True)
    if run.mask is not None and not (folder / MASK_FILE).exists():
        shutil.copyfile(study.paths.model(run.mask) / MASK_FILE, folder / MASK_FILE)
    pruned = [stage.run.name for stage in stages if stage.run.pruning is not None]
    if pruned and not (folder / PRUNING_FILE).exists():
        shutil.copyfile(study.paths.model(pruned[-1]) / PRUNING_FILE, folder / PRUNING_FILE)
    if not (folder / GENERATION).exists():
        from transformers import GenerationConfig

        config = read_config(folder)
        GenerationConfig.from_model_config(config).save_pretrained(folder)
