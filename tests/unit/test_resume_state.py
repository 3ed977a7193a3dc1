"""A run's resume state survives a failure, goes with success, and nothing else goes with it."""

from pathlib import Path

import pytest

from pruning_vs_scratch.files import write_json
from pruning_vs_scratch.manifest import source_hash
from pruning_vs_scratch.resume_state import is_made, resume_state


def test_a_failed_run_finds_its_state_again(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cut"), resume_state(tmp_path, "run", "spec") as folder:
        (folder / "step").write_text("7")
        raise OSError("cut")
    with resume_state(tmp_path, "run", "spec") as again:
        assert again == folder
        assert (again / "step").read_text() == "7"


def test_what_another_spec_left_is_not_continued(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cut"), resume_state(tmp_path, "run", "spec") as folder:
        raise OSError("cut")
    with resume_state(tmp_path, "run", "another") as other:
        assert other != folder
        assert not any(other.iterdir())


def test_a_finished_run_removes_all_its_states_and_nothing_of_anyone_else(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cut"), resume_state(tmp_path, "run", "older"):
        raise OSError("cut")
    keep = tmp_path / "run" / "model.safetensors"
    keep.write_text("the user's own")
    with resume_state(tmp_path, "run", "spec") as folder:
        assert len(list((tmp_path / "run").iterdir())) == 3
    assert not folder.exists()
    assert [path.name for path in (tmp_path / "run").iterdir()] == [keep.name]


def test_only_the_manifest_of_a_run_with_this_plan_and_code_counts_as_done(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    assert not is_made(manifest, [tmp_path], "spec")
    ledger = {"spec_hash": "spec", "source_hash": source_hash()}
    for facts, expected in (
        ({"ledger": ledger}, True),
        ({"ledger": ledger | {"spec_hash": "other"}}, False),
        ({"ledger": ledger | {"source_hash": "other"}}, False),
        ({"ledger": []}, False),
        ({}, False),
    ):
        write_json(manifest, {"facts": facts})
        assert is_made(manifest, [tmp_path, None], "spec") == expected
    write_json(manifest, {"facts": {"ledger": ledger}})
    assert not is_made(manifest, [tmp_path, tmp_path / "missing"], "spec")
