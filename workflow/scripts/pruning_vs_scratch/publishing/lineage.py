"""How a finished run came to be: its own manifest and those of all runs that its weights went through."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.ledger import LedgerRow
from pruning_vs_scratch.study import Run, Study

TIMESTAMP = ".snakemake_timestamp"
"""Snakemake's own file in the folders that its jobs made, put there when they end: no part of a checkpoint."""


@dataclass(frozen=True)
class Stage:
    """One run that a model's weights went through, and what it left."""

    run: Run
    manifest: dict[str, Any]

    @property
    def sha256(self) -> str:
        """Hash of the checkpoint folder, as the run's manifest has it."""
        return str(self.manifest["outputs"]["model"]["sha256"])

    @property
    def ledger(self) -> LedgerRow:
        """What the run read and spent."""
        return LedgerRow.of(self.manifest, Path(self.run.name))


def lineage(study: Study, name: str) -> list[Stage]:
    """The stages of a model, the first one first and its own last.

    Raises:
        UserError: the study has no such run, or it leaves no checkpoint, or it or one before it is not finished.
    """
    run = study.run(name)
    if name not in study.runs:
        raise UserError(f"{name} is a {run.role} of study {study.name}: it leaves no checkpoint that could be exported")
    before = run.start or run.redrawn
    return [*(lineage(study, before) if before else []), Stage(run, _manifest(study, name))]


def _manifest(study: Study, name: str) -> dict[str, Any]:
    manifest = study.paths.manifest(name)
    if not manifest.exists() or not study.paths.model(name).exists():
        raise UserError(f"run {name} of study {study.name} is not finished: run the study to its end first")
    return read_manifest(manifest)
