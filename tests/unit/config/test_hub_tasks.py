"""A task of the hub is one file; studies that do not name it stay as they are."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pruning_vs_scratch.config import hub_tasks
from pruning_vs_scratch.config.evaluation import BenchmarksConfig
from pruning_vs_scratch.config.load import parse_config
from pruning_vs_scratch.config.schema import config_schema
from pruning_vs_scratch.data.benchmarks import headline_metric
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.evaluation import task_requests

PIQA = yaml.safe_load((hub_tasks.FOLDER / "piqa.yaml").read_text(encoding="utf-8"))
NINTH = {
    "definition": "commonsense_qa/default.yaml",
    "dataset": {"dataset": "tau/commonsense_qa", "revision": "0" * 40},
    "metric": "acc_norm",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The tasks' files in a separate folder."""
    copy = Path(shutil.copytree(hub_tasks.FOLDER, tmp_path / "hub"))
    monkeypatch.setattr(hub_tasks, "FOLDER", copy)
    forget()
    yield copy
    forget()


def forget() -> None:
    hub_tasks.hub_tasks.cache_clear()
    hub_tasks.hub_task.cache_clear()


def write(file: Path, values: Any) -> None:
    file.write_text(yaml.safe_dump(values), encoding="utf-8")


def with_tasks(smoke: dict[str, Any], *names: str, data: str = "hub") -> dict[str, Any]:
    smoke["evaluation"]["tasks"]["benchmarks"] = [{"names": list(names), "data": data}]
    return smoke


def test_the_papers_eight_are_there() -> None:
    papers = ["winogrande", "arc_challenge", "arc_easy", "hellaswag", "piqa", "sciq", "boolq", "openbookqa"]
    assert BenchmarksConfig(data="hub").names == papers
    assert set(papers) <= set(hub_tasks.hub_tasks())


def test_a_further_file_is_a_further_task_that_joins_no_study(folder: Path, smoke: dict[str, Any]) -> None:
    schema, eight = config_schema(), BenchmarksConfig(data="hub").names
    write(folder / "commonsense_qa.yaml", NINTH)
    forget()
    assert BenchmarksConfig(data="hub").names == eight
    assert config_schema() == schema
    study = Study(with_tasks(smoke, "commonsense_qa"))
    assert list(study.sources.frozen) == ["tau___commonsense_qa--00000000"]
    assert task_requests(study.config, study.paths)[-1].name == "commonsense_qa"
    assert headline_metric("commonsense_qa") == "acc_norm"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (PIQA | {"metric": "f1"}, r"ninth\.yaml is not valid: (.|\n)*metric"),
        (PIQA | {"shots": 3}, r"ninth\.yaml is not valid: (.|\n)*shots"),
        ([1], r"ninth\.yaml is not valid: "),
        (PIQA | {"definition": "piqa/pica.yaml"}, r"lm-eval has no piqa/pica\.yaml; did you mean 'piqa/piqa\.yaml'"),
    ],
)
def test_a_file_with_a_mistake_is_refused(folder: Path, smoke: dict[str, Any], values: Any, message: str) -> None:
    write(folder / "ninth.yaml", values)
    forget()
    with pytest.raises(UserError, match=message):
        parse_config(with_tasks(smoke, "ninth"))


def test_a_task_of_the_hub_alone_has_no_items_in_the_package(folder: Path, smoke: dict[str, Any]) -> None:
    write(folder / "commonsense_qa.yaml", NINTH)
    forget()
    with pytest.raises(UserError, match=r"names: the package has no items of commonsense_qa; use data: hub"):
        parse_config(with_tasks(smoke, "commonsense_qa", data="package"))


def test_a_local_task_and_one_of_the_hub_are_not_one_score(folder: Path, smoke: dict[str, Any]) -> None:
    local = next(iter(smoke["evaluation"]["tasks"]["local"]))
    write(folder / f"{local}.yaml", NINTH)
    forget()
    with pytest.raises(UserError, match=f"{local} with 0 shots is listed 2 times"):
        parse_config(with_tasks(smoke, local))
