"""Folders of this machine that a study reads, which a plan made elsewhere need not have."""

from collections.abc import Iterator
from pathlib import Path

from pruning_vs_scratch.config.checkpoint import PathCheckpoint
from pruning_vs_scratch.config.corpus import PathSource
from pruning_vs_scratch.config.study import StudyConfig


def missing_folders(config: StudyConfig) -> list[str]:
    """The folders that do not exist, each as 'path: what is wrong'."""
    return [f"{place}: there is no folder {path}" for place, path in _folders(config) if not Path(path).is_dir()]


def _folders(config: StudyConfig) -> Iterator[tuple[str, str]]:
    for name, source in config.corpus.sources.items():
        if isinstance(source, PathSource):
            yield f"corpus.sources.{name}.path", source.path
    checkpoints = {"parent": config.parent, "tokenizer.source": getattr(config.tokenizer, "source", None)}
    for place, checkpoint in checkpoints.items():
        if isinstance(checkpoint, PathCheckpoint):
            yield f"{place}.path", checkpoint.path
