"""Data sets are frozen from a cache or a hub at their pinned revision, checked, and read without a network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from hub_server import hub_server
from mini_benchmarks import ITEMS, items_of, write_prepared, write_repository
from pruning_vs_scratch.artifacts import manifest_of
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.corpus import CorpusConfig, HubSource
from pruning_vs_scratch.config.hub import HubDataset
from pruning_vs_scratch.config.hub_tasks import hub_task
from pruning_vs_scratch.data.corpora import extract_corpora
from pruning_vs_scratch.data.documents import read_documents
from pruning_vs_scratch.data.hub import link_home, read_hub, verify_frozen
from pruning_vs_scratch.errors import UserError

PIQA = hub_task("piqa").dataset
ARC = hub_task("arc_easy").dataset
OTHER = "f" * 40
TOKEN = "hf_a-token-of-the-test"


def freeze(dataset: HubDataset, out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The entry point, with nothing of the machine's own settings of the hub."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    script = REPOSITORY / "workflow/scripts/freeze_dataset.py"
    command = [sys.executable, str(script), "--dataset", dataset.model_dump_json(), "--out", str(out)]
    return subprocess.run(
        [*command, "--manifest", str(manifest_of(out))],
        env=clean | environment, capture_output=True, text=True, check=False, cwd=out.parent,
    )  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for HF_HOME that holds two data sets prepared."""
    folder = tmp_path_factory.mktemp("home")
    for task in ("piqa", "arc_easy", "arc_challenge"):
        write_prepared(task, folder)
    return folder


@pytest.fixture
def frozen(home: Path, tmp_path: Path) -> Path:
    """PIQA, frozen from that cache."""
    result = freeze(PIQA, tmp_path / PIQA.key, HF_HOME=str(home), HF_HUB_OFFLINE="1")
    assert result.returncode == 0, result.stderr
    return tmp_path / PIQA.key


def facts(folder: Path) -> dict:
    return json.loads(manifest_of(folder).read_text())["facts"]


def test_a_prepared_cache_is_taken_as_it_is(frozen: Path) -> None:
    assert facts(frozen)["revision"] == PIQA.revision
    assert facts(frozen)["source"] == "cache"
    assert facts(frozen)["items"] == {"train": ITEMS, "validation": ITEMS}
    verify_frozen(frozen)


@pytest.mark.slow
def test_a_mirror_is_asked_for_the_pinned_revision_and_the_token_stays_secret(tmp_path: Path) -> None:
    for task in ("piqa", "arc_easy", "arc_challenge"):
        write_repository(task, tmp_path / "root")
    revisions = {dataset.dataset: str(dataset.revision) for dataset in (PIQA, ARC)}
    with hub_server(tmp_path / "root", revisions) as hub:
        environment = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
        result = freeze(ARC, tmp_path / ARC.key, **environment)
        wrong = freeze(PIQA.model_copy(update={"revision": OTHER}), tmp_path / "wrong", **environment)
        newest = freeze(PIQA.model_copy(update={"revision": None}), tmp_path / "newest", **environment)
    assert (result.returncode, newest.returncode) == (0, 0), result.stderr + newest.stderr
    assert facts(tmp_path / ARC.key)["items"] == {"train": ITEMS, "validation": ITEMS, "test": ITEMS}
    assert facts(tmp_path / ARC.key)["source"] == "hub"
    assert facts(tmp_path / "newest")["revision"] == PIQA.revision
    assert wrong.returncode == 1
    assert f"cannot get the data set baber/piqa at revision {OTHER}" in wrong.stderr
    assert not (tmp_path / "wrong").exists()
    assert hub.authorizations == {f"Bearer {TOKEN}"}
    written = [file for file in tmp_path.rglob("*.json") if "home" not in file.parts]
    assert all(TOKEN not in text for text in (result.stderr, wrong.stderr, *(f.read_text() for f in written)))
    assert str(tmp_path) not in manifest_of(tmp_path / ARC.key).read_text()


def test_another_revision_in_the_cache_is_not_taken_silently(home: Path, tmp_path: Path) -> None:
    wanted = PIQA.model_copy(update={"revision": OTHER})
    result = freeze(wanted, tmp_path / "out", HF_HOME=str(home), HF_HUB_OFFLINE="1")
    assert result.returncode == 1
    assert f"HF_HOME holds it at revision {PIQA.revision}: revision: newest takes that" in result.stderr
    assert "HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is set" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_missing_or_damaged_is_named_with_the_command_that_fixes_it(frozen: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing or its manifest is missing under .*: snakemake freeze"):
        verify_frozen(tmp_path / "nothing")
    [file] = frozen.rglob("*validation.arrow")
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"validation\.arrow has changed since it was written; delete"):
        verify_frozen(frozen)
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"validation\.arrow has changed since it was written; delete"):
        verify_frozen(frozen)


def test_a_home_of_links_leaves_the_frozen_data_untouched(frozen: Path, tmp_path: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in frozen.rglob("*")}
    link_home([frozen], tmp_path / "linked")
    link_home([frozen], tmp_path / "linked")
    script = "import datasets; d = datasets.load_dataset('baber/piqa'); d.map(lambda r: {'n': 1}); print(d.num_rows)"
    environment = {"HF_HOME": str(tmp_path / "linked"), "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert f"{{'train': {ITEMS}, 'validation': {ITEMS}}}" in result.stdout
    assert {file: file.stat().st_mtime_ns for file in frozen.rglob("*")} == before


def source(**changes: object) -> HubSource:
    values = {"kind": "hub", **PIQA.model_dump(), "split": "validation", "text_key": "goal"}
    return HubSource.model_validate(values | changes)


def test_rows_are_documents_or_one_document(frozen: Path) -> None:
    goals = [item["goal"] for item in items_of("piqa", "validation")]
    rows = list(read_hub(source(), frozen))
    assert [document.text for document in rows] == goals
    assert [document.text for document in read_hub(source(rows=2), frozen)] == goals[:2]
    assert rows[3].id == "baber/piqa:validation#000000003"
    [joined] = read_hub(source(join="\n\n"), frozen)
    assert joined.text == "\n\n".join(goals)


def frozen_rows(folder: Path, column: pa.Array) -> Path:
    """A frozen data set with one column."""
    place = folder / "datasets/baber___piqa/default/0.0.0" / OTHER
    place.mkdir(parents=True)
    table = pa.table({"goal": column})
    with pa.OSFile(str(place / "piqa-validation.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return folder


@pytest.mark.parametrize(
    "column", [pa.array(["one", None, "two"]), pa.array([b"one", None, b"two"])], ids=["str", "bytes"]
)
def test_a_row_without_a_text_is_left_out(tmp_path: Path, column: pa.Array) -> None:
    folder = frozen_rows(tmp_path, column)
    numbered = [(document.id[-1], document.text) for document in read_hub(source(), folder)]
    assert numbered == [("0", "one"), ("2", "two")]
    assert [document.text for document in read_hub(source(join="\n"), folder)] == ["one\ntwo"]
    assert [document.text for document in read_hub(source(join="\n", rows=2), folder)] == ["one"]


def test_rows_that_are_no_text_are_named_with_their_split(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"piqa.*: the column 'goal' holds list<.*>, not text"):
        list(read_hub(source(), frozen_rows(tmp_path / "lists", pa.array([["a"]]))))
    with pytest.raises(UserError, match=r"piqa.*, split validation, row 1: not UTF-8 text \(byte 3\)"):
        list(read_hub(source(), frozen_rows(tmp_path / "bytes", pa.array([b"one", b"caf\xe9"]))))


def test_a_corpus_is_read_out_of_a_frozen_data_set(frozen: Path, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    for name in ("train", "calibration", "validation", "test"):
        (tmp_path / "text" / f"{name}.txt").write_text(f"Some {name} text.")
    splits = {name: {"include": [f"{name}.txt"]} for name in ("calibration", "validation", "test")}
    corpus = CorpusConfig.model_validate(
        {
            "sources": {"local": {"kind": "path", "path": str(tmp_path / "text")}, "goals": source().model_dump()},
            "train": [{"source": "local"}],
            "splits": splits,
            "evaluation": {"goals": {"source": "goals"}},
        }
    )
    facts = extract_corpora(corpus, {"goals": frozen}, tmp_path / "out")
    assert facts["goals"]["documents"] == ITEMS
    written = [document.text for document in read_documents(tmp_path / "out/goals.jsonl")]
    assert written == [item["goal"] for item in items_of("piqa", "validation")]
    next(frozen.rglob("*.arrow")).unlink()
    with pytest.raises(UserError, match="is missing"):
        extract_corpora(corpus, {"goals": frozen}, tmp_path / "again")


def test_a_wrong_split_or_column_is_answered_with_those_that_are_there(frozen: Path) -> None:
    with pytest.raises(UserError, match="no split 'test'; it has train, validation"):
        list(read_hub(source(split="test"), frozen))
    with pytest.raises(UserError, match="no column 'text'; it has goal, sol1, sol2, label"):
        list(read_hub(source(text_key="text"), frozen))
