"""Artifacts are checked against the manifests next to them wherever they are read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pruning_vs_scratch.artifacts import manifest_of, read_manifest, record_of, require_as_written
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import sha256_of_path
from pruning_vs_scratch.manifest import ManifestWriter


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder, as training leaves it: a checkpoint, a record of its steps, and a manifest."""
    monkeypatch.chdir(tmp_path)
    folder = Path("results/runs/A")
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights.safetensors").write_bytes(b"weights")
    (folder / "model" / "pruning.json").write_text("{}")
    (folder / "metrics.jsonl").write_text("{}\n")
    outputs = {"model": folder / "model", "metrics": folder / "metrics.jsonl"}
    ManifestWriter("train", {"counts": {2: "b", 10: "a"}}).write(folder / "manifest.json", outputs, {"loss": 0.1})
    return folder


def changed(file: Path) -> None:
    """Flip a bit in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def more(file: Path) -> None:
    """Put another file next to it."""
    file.with_name("more.safetensors").write_bytes(b"x")


def test_unchanged_files_are_accepted(run: Path) -> None:
    writer = ManifestWriter("next", {})
    assert writer.add_input("model", run / "model") == sha256_of_path(run / "model")
    assert writer.add_input("metrics", run / "metrics.jsonl") == sha256_of_path(run / "metrics.jsonl")
    assert writer.add_input("weights", run / "model" / "weights.safetensors")


def test_hidden_files_such_as_those_of_snakemake_change_nothing(run: Path) -> None:
    before = sha256_of_path(run / "model")
    (run / "model" / ".snakemake_timestamp").touch()
    assert ManifestWriter("next", {}).add_input("model", run / "model") == before
    record = record_of(run / "model")
    assert record is not None
    assert record.sha256 == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [(changed, "has changed since it was written"), (Path.unlink, "is missing"), (more, "was not written with")],
)
def test_a_folder_that_is_not_what_was_written_is_refused_by_the_file(
    run: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(run / "model" / "weights.safetensors")
    with pytest.raises(UserError, match=said) as error:
        ManifestWriter("next", {}).add_input("model", run / "model")
    assert str(error.value).startswith("results/runs/A/model/")
    assert "delete results/runs/A/model and results/runs/A/manifest.json and run again" in str(error.value)


def test_records_of_times_are_checked_too(run: Path) -> None:
    before = sha256_of_path(run / "model")
    (run / "model" / "pruning.json").write_text("[]")
    assert sha256_of_path(run / "model") == before
    with pytest.raises(UserError, match=r"pruning\.json has changed"):
        require_as_written(run / "model")


def test_a_file_of_a_folder_is_checked_alone(run: Path) -> None:
    changed(run / "model" / "pruning.json")
    require_as_written(run / "model" / "weights.safetensors")
    with pytest.raises(UserError, match=r"pruning\.json has changed"):
        require_as_written(run / "model" / "pruning.json")


@pytest.mark.parametrize(("folder", "path"), [(".", "A/model"), ("A", "model"), ("A/model", ".")])
def test_the_working_folder_may_be_anywhere(run: Path, monkeypatch: pytest.MonkeyPatch, folder: str, path: str) -> None:
    monkeypatch.chdir(run.parent / folder)
    require_as_written(Path(path))
    changed(Path(path) / "weights.safetensors")
    with pytest.raises(UserError, match=r"weights\.safetensors has changed"):
        ManifestWriter("next", {}).add_input("model", Path(path))


def test_what_no_step_wrote_has_no_record(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("text")
    assert record_of(tmp_path / "mine.txt") is None
    ManifestWriter("next", {}).add_input("mine", tmp_path / "mine.txt")
    (run / "model.txt").write_text("of the same beginning")
    require_as_written(run / "model.txt")


def test_each_place_of_a_manifest_is_found(run: Path) -> None:
    file = run / "scores.safetensors"
    file.write_bytes(b"scores")
    for manifest in (manifest_of(file), file.with_suffix(".manifest.json")):
        ManifestWriter("score", {}).write(manifest, {"scores": file}, {})
        record = record_of(file)
        assert record is not None
        assert record.manifest == manifest.absolute()
        manifest.unlink()


def test_a_manifest_of_the_first_form_names_no_files(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["sha256"], manifest["outputs"]["model"]["files"]
    (run / "manifest.json").write_text(json.dumps(manifest | {"schema": 1}))
    assert record_of(run / "model") is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"schema": 2}', '{"schema": "x"}', '{"schema": [2]}', "null", '{"schema": 1}', '{"facts": 1}'],
)
def test_a_damaged_manifest_is_refused(run: Path, text: str) -> None:
    (run / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"results/runs/A/manifest\.json"):
        read_manifest(run / "manifest.json")


def test_an_edited_manifest_is_refused(run: Path) -> None:
    path = run / "manifest.json"
    assert read_manifest(path)["facts"] == {"loss": 0.1}
    path.write_text(path.read_text().replace("0.1", "0.2"))
    with pytest.raises(UserError, match="was changed since it was written"):
        read_manifest(path)


def test_a_newer_manifest_and_a_missing_one_are_distinguished(run: Path) -> None:
    (run / "manifest.json").write_text('{"schema": 99}')
    with pytest.raises(UserError, match="newer version"):
        read_manifest(run / "manifest.json")
    (run / "manifest.json").unlink()
    with pytest.raises(UserError, match="is missing"):
        read_manifest(run / "manifest.json")


def test_linked_folders_keep_their_names_in_manifests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, disk = tmp_path / "project", tmp_path / "disk"
    project.mkdir()
    (disk / "A").mkdir(parents=True)
    (project / "runs").symlink_to(disk)
    monkeypatch.chdir(project)
    Path("runs/A/model").write_text("weights")
    ManifestWriter("train", {}).write(Path("runs/A/manifest.json"), {"model": Path("runs/A/model")}, {})
    assert read_manifest(Path("runs/A/manifest.json"))["outputs"]["model"]["path"] == "runs/A/model"
    assert str(tmp_path) not in Path("runs/A/manifest.json").read_text()
