"""What one evaluation step is asked to do: checkpoints, and what each of them is scored on. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pruning_vs_scratch.config.precision import WantedPrecision
from pruning_vs_scratch.study.evaluation import CorpusRequest, TaskRequest

TABLES = ("losses", "items")


@dataclass(frozen=True)
class EvaluationRequest:
    """Checkpoints by the names of their runs, all scored on the same."""

    checkpoints: tuple[tuple[str, Path], ...]
    tokens: Path | None
    """Folder that holds one folder of token shards per corpus."""
    corpora: Mapping[str, CorpusRequest]
    sequence_length: int
    """Tokens read at a time."""
    stride: int | None
    """Tokens between windows; None for windows that do not overlap."""
    bos: bool
    """Whether each window begins with the separator of documents."""
    batch_size: int
    """Windows or requests run together."""
    tasks: tuple[TaskRequest, ...]
    task_definitions: Path
    """Folder of task definitions."""
    precision: WantedPrecision
    threads: int
    """CPU threads."""
    work: Path
    """Folder for what is scored already."""
    out: Path
    """Folder to write: losses.parquet, items.parquet."""
    manifest: Path
    """Manifest to write."""

    @property
    def home(self) -> Path:
        """A folder in which the libraries that read frozen data feel at home."""
        return self.work / f"{self.out.name}.home"

    def parts(self, table: str) -> list[str]:
        """What is scored and kept by itself, in the order of the table."""
        names = list(self.corpora) if table == "losses" else [task.key for task in self.tasks]
        return [f"{table}-{name}" for name in names]
