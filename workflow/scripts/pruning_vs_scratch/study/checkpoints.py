"""The parts of published checkpoints that a study uses."""

from dataclasses import dataclass
from typing import Literal

from pruning_vs_scratch.config.checkpoint import CheckpointSource, HubCheckpoint, PathCheckpoint, PypiCheckpoint
from pruning_vs_scratch.config.model import PretrainedParent
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.config.tokenizer import CheckpointTokenizer

Content = Literal["model", "tokenizer"]


@dataclass(frozen=True)
class Acquisition:
    """One checkpoint to acquire: all of it, or its tokenizer alone."""

    source: CheckpointSource
    content: Content

    @property
    def key(self) -> str:
        """Name of its folder under resources/checkpoints."""
        return self.source.key if self.content == "model" else f"{self.source.key}--tokenizer"


def parent_acquisition(config: StudyConfig) -> Acquisition | None:
    """The published parent; None for one that the study pretrains."""
    parent = config.parent
    if isinstance(parent, PretrainedParent):
        return None
    kinds: dict[str, type[HubCheckpoint | PypiCheckpoint | PathCheckpoint]] = {
        "hub": HubCheckpoint, "pypi": PypiCheckpoint, "path": PathCheckpoint
    }  # fmt: skip
    kind = kinds[parent.kind]
    return Acquisition(kind(**parent.model_dump(include=set(kind.model_fields))), "model")


def tokenizer_acquisition(config: StudyConfig) -> Acquisition | None:
    """Source of the tokenizer: its own checkpoint or the published parent; None for a trained tokenizer."""
    tokenizer = config.tokenizer
    if not isinstance(tokenizer, CheckpointTokenizer):
        return None
    return parent_acquisition(config) if tokenizer.source is None else Acquisition(tokenizer.source, "tokenizer")
