"""An exported folder: its card says what the tables say, and nothing that is not finished or was altered gets out."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from huggingface_hub import ModelCard

from finished_studies import finished, scores
from program import pvs
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.load import parse_config
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import file_facts, read_json, sha256_of_facts, sha256_of_file, write_json, write_text
from pruning_vs_scratch.publishing.export import export_model
from pruning_vs_scratch.publishing.lineage import lineage
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.published.stored import Stored
from pruning_vs_scratch.tables.results import results_table
from pruning_vs_scratch.tables.runs import run_table

PARENT, PRUNED, RETRAINED = ("P16.4k-seed0", "P16.4k-wanda-0.5-2of4-seed0", "P16.4k-wanda-0.5-2of4-R8.19k-seed0")
SCRATCH = "S8.19k-wanda-0.5-2of4-seed0"
PUBLISHING = {
    "license": "apache-2.0",
    "language": ["en", "de"],
    "base_model": "someone/parent",
    "parent_license": "Llama 3.1 Community License",
    "data_licenses": {"shakespeare": "public domain"},
}


def written(study: Study) -> Study:
    """A study as its workflow would leave it: checkpoints that their manifests name, and results."""
    for name, run in study.recorded_runs.items():
        folder = study.paths.model(name)
        folder.mkdir(exist_ok=True)
        for shard in ("model-00001-of-00002", "model-00002-of-00002"):
            (folder / f"{shard}.safetensors").write_bytes(bytes(24))
        if run.mask == name:
            (folder / "mask.safetensors").write_bytes(bytes(7))
        write_text(folder / "generation_config.json", "{}")
        if run.role == "pruned":
            write_text(folder / "pruning.json", '{"method": "some"}')
        manifest = read_json(study.paths.manifest(name))
        facts = file_facts(folder)
        manifest["outputs"] = {"model": {"path": "model", "sha256": sha256_of_facts(facts), "files": facts}}
        write_json(study.paths.manifest(name), manifest)
        (folder / ".snakemake_timestamp").touch()
    table = results_table(study, run_table(study), *scores(study))
    table.to_csv(study.paths.results / "results.csv", index=False)
    write_text(study.paths.results / "config.yaml", yaml.safe_dump(study.config.model_dump(mode="json")))
    return study


@pytest.fixture
def study(smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The smallest study with a sweep, finished, in the working folder."""
    monkeypatch.chdir(tmp_path)
    sweep = {"peak_learning_rates": [0.001, 0.01], "on": ["wanda@2:4"], "tokens": 2048}
    return written(finished(smoke | {"publishing": PUBLISHING, "sweep": sweep}))


def exported(study: Study, run: str) -> tuple[Path, dict[str, Any], str]:
    """The folder of a run, the metadata of its card, and its text."""
    out = Path("exported") / run
    export_model(Stored(study.paths.results), run, out)
    card = ModelCard.load(out / "README.md")
    return out, card.data.to_dict(), card.text


@pytest.mark.parametrize("run", [PARENT, PRUNED, RETRAINED, SCRATCH, "S8.19k-depth-0.5-seed0"])
def test_the_metadata_says_licence_language_parent_and_method(study: Study, run: str) -> None:
    _, data, _ = exported(study, run)
    assert data["license"] == "apache-2.0"
    assert data["language"] == ["en", "de"]
    assert data["library_name"] == "transformers"
    assert data.get("base_model") == ("someone/parent" if run in (PRUNED, RETRAINED) else None)
    assert study.run(run).role in data["tags"]
    assert ("2-of-4-sparsity" in data["tags"]) == ("wanda" in run)
    assert ("wanda" in data["tags"]) == ("wanda" in run)


def test_the_lineage_goes_from_the_parent_to_the_model_with_tokens_and_hashes(study: Study) -> None:
    assert [stage.run.name for stage in lineage(study, RETRAINED)] == [PARENT, PRUNED, RETRAINED]
    assert [stage.run.name for stage in lineage(study, SCRATCH)] == [SCRATCH]
    _, _, text = exported(study, RETRAINED)
    lines = [line for line in text.splitlines() if line.startswith("| `P")]
    for line, name in zip(lines, (PARENT, PRUNED, RETRAINED), strict=True):
        manifest = read_json(study.paths.manifest(name))
        assert line.startswith(f"| `{name}` |")
        assert f"{manifest['facts']['ledger']['tokens_seen']:,}" in line
        assert manifest["outputs"]["model"]["sha256"] in line


def test_a_baseline_that_keeps_trained_embeddings_descends_from_the_parent(
    smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = written(finished(smoke | {"publishing": PUBLISHING, "baselines": {"redraw": "linear"}}))
    assert [stage.run.name for stage in lineage(study, SCRATCH)] == [PARENT, PRUNED, SCRATCH]
    _, data, text = exported(study, SCRATCH)
    assert data["base_model"] == "someone/parent"
    assert "embeddings and norms of the pruned model, other weights random" in text


def test_the_card_of_a_searched_width_has_the_chosen_shape(
    smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    search = {"ratios": [0.5], "tokens": 2048, "max": 3}
    study = finished(smoke | {"targets": smoke["targets"] | {"width": []}, "shape_search": search})
    chosen = list(study.candidates.values())[-1].run.target
    write_json(study.paths.target("width-0.5"), chosen.to_dict() | {"name": "width-0.5"})
    assert chosen.shape != study.targets["width-0.5"].shape
    _, _, text = exported(written(study), "S8.19k-width-0.5-seed0")
    assert f"| hidden size, neurons | {chosen.shape.hidden_size}, {chosen.shape.ffn_size} |" in text
    assert f"| parameters | {chosen.shape.params_total:,} |" in text


def test_every_score_is_in_the_card_with_its_error_and_what_guessing_scores(study: Study) -> None:
    _, _, text = exported(study, RETRAINED)
    table = pd.read_csv(study.paths.results / "results.csv")
    rows = table[table["run"] == RETRAINED]
    assert len(rows) > 5
    for _, row in rows.iterrows():
        error = "–" if np.isnan(row["stderr"]) else f"{row['stderr']:.4f}"
        start = f"| {row['dataset']} | {row['metric']} | {row['value']:.4f} | {error} |"
        assert sum(line.startswith(start) for line in text.splitlines()) == 1
    assert f"{np.log(512):.4f} |" in text


def test_the_folder_has_the_checkpoint_its_mask_and_the_hashes_of_its_weights(study: Study) -> None:
    out, _, text = exported(study, RETRAINED)
    assert {path.name for path in out.iterdir()} == {
        "README.md", "generation_config.json", "mask.safetensors", "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors", "pruning.json",
    }  # fmt: skip
    for file in out.glob("*.safetensors"):
        assert f"| `{file.name}` | `{sha256_of_file(file)}` |" in text


def test_zeros_are_said_to_be_stored_densely_for_sparse_models_only(study: Study) -> None:
    assert "Zeros are stored\ndensely" in exported(study, SCRATCH)[2]
    assert "Sparsity" not in exported(study, "S8.19k-depth-0.5-seed0")[2]


def test_licences_are_named_and_unknown_ones_are_marked_as_such(study: Study, smoke: dict[str, Any]) -> None:
    text = exported(study, RETRAINED)[2]
    for line in ("This model: apache-2.0", "Its parent: Llama 3.1 Community License", "`shakespeare`: public domain"):
        assert line in text
    assert "Its parent" not in exported(study, SCRATCH)[2]
    write_text(study.paths.results / "config.yaml", yaml.safe_dump(smoke))
    _, data, text = exported(study, PARENT)
    assert "license" not in data
    assert "base_model" not in data
    assert text.count("not stated") == 3


def refused(study: Study, run: str, out: str = "exported") -> str:
    """The message when a run cannot be exported; nothing is left of the attempt."""
    with pytest.raises(UserError) as error:
        export_model(Stored(study.paths.results), run, Path(out))
    assert not Path("exported").exists()
    return str(error.value)


def test_an_unknown_run_is_answered_with_the_nearest_name(study: Study) -> None:
    assert refused(study, "P16.4k-wanda-seed0") == (
        f"study smoke has no run 'P16.4k-wanda-seed0'; did you mean {PRUNED!r}?"
    )


def test_a_trial_has_nothing_to_export(study: Study) -> None:
    assert "is a trial of study smoke: it leaves no checkpoint" in refused(study, next(iter(study.trials)))


@pytest.mark.parametrize("lost", [RETRAINED, PRUNED])
def test_an_unfinished_run_is_refused_and_so_is_one_of_unfinished_ancestors(study: Study, lost: str) -> None:
    study.paths.manifest(lost).unlink()
    assert refused(study, RETRAINED) == f"run {lost} of study smoke is not finished: run the study to its end first"


def test_a_run_without_scores_is_refused(study: Study) -> None:
    table = pd.read_csv(study.paths.results / "results.csv")
    table[table["run"] != PARENT].to_csv(study.paths.results / "results.csv", index=False)
    assert f"run {PARENT} has no scores" in refused(study, PARENT)


@pytest.mark.parametrize("change", ["weights", "a file more", "a file less"])
def test_a_checkpoint_that_was_altered_is_refused(study: Study, change: str) -> None:
    folder, wrong = study.paths.model(RETRAINED), "model-00001-of-00002.safetensors"
    shard = folder / wrong
    if change == "weights":
        shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    elif change == "a file more":
        wrong = "note.txt"
        write_text(folder / wrong, "x")
    else:
        shard.unlink()
    message = refused(study, RETRAINED)
    assert message.startswith(f"{folder / wrong}")
    assert f"delete {folder} and {study.paths.manifest(RETRAINED)} and run again" in message


def test_a_folder_that_is_not_empty_is_never_written_to(study: Study) -> None:
    write_text(Path("full/mine.txt"), "mine")
    assert "--out full exists and is not an empty folder" in refused(study, PARENT, "full")
    assert "--out full/mine.txt exists" in refused(study, PARENT, "full/mine.txt")
    assert Path("full/mine.txt").read_text() == "mine"
    Path("empty").mkdir()
    export_model(Stored(study.paths.results), PARENT, Path("empty"))
    assert Path("empty/README.md").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"license": "MIT License"}, "publishing.license"),
        ({"base_model": "parent"}, "publishing.base_model"),
        ({"language": ["English"]}, "publishing.language.0"),
        ({"data_licenses": {"shakespear": "x"}}, "publishing.data_licenses.shakespear: no source 'shakespear'"),
        ({"parent_license": "one\ntwo"}, "publishing.parent_license"),
    ],
)
def test_a_mistake_in_the_section_is_named(smoke: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match="not valid") as error:
        parse_config(smoke | {"publishing": change})
    assert message in str(error.value)


def test_the_command_names_the_studies_and_shows_no_traceback() -> None:
    result = pvs(REPOSITORY, "export", "smoky", "--run", PARENT, "--out", "exported")
    assert result.returncode == 1
    assert result.stderr.startswith(
        "error: no study 'smoky': there is no config/smoky.yaml; did you mean 'smoke'? There are"
    )
    assert len(result.stderr.splitlines()) == 1
