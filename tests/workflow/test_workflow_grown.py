"""A finished study through real Snakemake, with more runs, processes, benchmarks or searches."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from checkouts import (
    SMOKE,
    command,
    snakemake,
    snakemake_kept_warm,
    study_command,
)
from mini_benchmarks import write_prepared

pytestmark = pytest.mark.workflow


ADDITIONS = {
    "matrix": [
        {"methods": ["sheared_llama"], "ratios": [0.5], "retrain": [4096], "full": [4096]},
        {"chains": [["minitron_depth@0.5", "wanda@2:4"]], "retrain": [4096], "rewind": [4096]},
    ],
    "pruning": {
        "processes": 2,
        "sheared_llama": {"tokens": 1024, "global_batch_size": 2, "micro_batch_size": 1},
    },
}


def test_a_study_grows_by_learned_masks_a_chain_and_a_rewound_baseline(copy: Path) -> None:
    smoke = yaml.safe_load((copy / "config/smoke.yaml").read_text())
    overlay = ADDITIONS | {"matrix": [*smoke["matrix"], *ADDITIONS["matrix"]]}
    (copy / "config/grown.yaml").write_text(yaml.safe_dump(overlay))
    runs = copy / "results/smoke/runs"
    made_before = {path: path.stat().st_mtime_ns for path in runs.glob("*/manifest.json")}
    scores = runs / "P16.4k-seed0/scores/minitron_depth.safetensors"
    scored_before = scores.stat().st_mtime_ns

    grown = snakemake_kept_warm(copy, *SMOKE, "config/grown.yaml")
    assert grown.returncode == 0, grown.stderr
    assert {path: path.stat().st_mtime_ns for path in made_before} == made_before
    assert scores.stat().st_mtime_ns == scored_before

    ledger = pd.read_csv(copy / "results/smoke/ledger.csv").set_index("run")
    learned, chained = "P16.4k-sheared_llama-0.5", "minitron_depth-0.5+wanda-0.5-2of4"
    assert ledger.loc[f"{learned}-seed0", ["phase", "tokens_seen", "window_start"]].tolist() == ["prune", 1024, 0]
    assert ledger.loc[f"{learned}-seed0", "world_size"] == 2
    assert ledger.loc["S21.5k-width-0.5-full-seed0", "tokens_seen"] == 16384 + 4096 + 1024
    steps = [f"P16.4k-{name}-seed0" for name in ("minitron_depth-0.5", chained)]
    assert ledger.loc[steps, "tokens_seen"].tolist() == [1024, 1024]
    rewound, retrained = f"S4.1k-{chained}-rewind-seed0", f"P16.4k-{chained}-R4.1k-seed0"
    windows = ["window_start", "window_end", "tokens_seen", "steps"]
    assert ledger.loc[rewound, windows].tolist() == ledger.loc[retrained, windows].tolist()
    results = pd.read_csv(copy / "results/smoke/results.csv").set_index("run")
    assert set(results.loc[rewound, "role"]) == {"rewind"}
    assert set(results.loc[retrained, "tokens_prune"]) == {2048}
    target = json.loads((copy / f"results/smoke/targets/{chained}.json").read_text())
    assert target["steps"] == ["minitron_depth@0.5", "wanda@2:4"]


def test_two_processes_a_run_give_the_same_study(finished: tuple[Path, str], copy: Path) -> None:
    overlay = {
        "matrix": [{"methods": ["wanda"], "ratios": [0.5], "patterns": ["2:4"], "retrain": [8192], "full": [8192]}],
        "training": {"processes": 2, "micro_batch_size": 4},
    }
    (copy / "config/two.yaml").write_text(yaml.safe_dump(overlay))
    two = snakemake_kept_warm(copy, *SMOKE, "config/two.yaml")
    assert two.returncode == 0, two.stderr

    ledger = pd.read_csv(copy / "results/smoke/ledger.csv").set_index("run")
    trained = ledger[ledger["phase"] != "prune"]
    assert set(trained["phase"]) == {"pretrain", "retrain", "scratch"}
    assert set(trained["world_size"]) == {2}
    alone = pd.read_csv(finished[0] / "results/smoke/ledger.csv").set_index("run").loc[ledger.index]
    assert (ledger["tokens_seen"] == alone["tokens_seen"]).all()
    assert (trained["spec_hash"][["P16.4k-seed0"]] == alone["spec_hash"][["P16.4k-seed0"]]).all()
    found, expected = (
        pd.read_csv(folder / "results/smoke/results.csv")
        .query("metric == 'perplexity' and role != 'chance'")
        .set_index(["run", "dataset"])["value"]
        for folder in (copy, finished[0])
    )
    assert len(found) == 5 * 4
    assert (found / expected.loc[found.index] - 1).abs().max() < 1e-3


def test_benchmarks_of_the_hub_join_a_study_whose_jobs_have_no_network(
    finished: tuple[Path, str], copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("piqa", "sciq"):
        write_prepared(name, tmp_path / "home")
    blocks = [{"names": ["piqa", "sciq"], "data": "hub", "shots": [0, 1]}]
    (copy / "config/hub.yaml").write_text(yaml.safe_dump({"evaluation": {"tasks": {"benchmarks": blocks}}}))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    frozen = snakemake(copy, "freeze", *SMOKE, "config/hub.yaml")
    assert frozen.returncode == 0, frozen.stderr
    shutil.rmtree(tmp_path / "home")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.delenv("HF_HUB_OFFLINE")

    result = command(copy, study_command("hub"))
    assert result.returncode == 0, result.stdout + result.stderr
    results, before = (pd.read_csv(folder / "results/smoke/results.csv") for folder in (copy, finished[0]))
    added = results[results["dataset"].str.startswith(("piqa", "sciq"))]
    assert set(added["dataset"]) == {"piqa", "sciq", "piqa@1shot", "sciq@1shot"}
    assert added.groupby("dataset")["split"].unique().str[0].to_dict() == {
        "piqa": "validation", "piqa@1shot": "validation", "sciq": "test", "sciq@1shot": "test",
    }  # fmt: skip
    assert set(added["run"]) == {*before["run"]}
    kept = results.merge(before, on=["run", "dataset", "metric"], suffixes=("", "_before"))
    kept = kept[kept["dataset"] != "task_mean"]
    assert (kept["value"] == kept["value_before"]).all()
    gaps = pd.read_csv(copy / "results/smoke/tables/task_gaps.csv")
    assert {"piqa", "piqa@1shot", "task_mean"} <= set(gaps["dataset"])
    for manifest in (copy / "results/smoke/evaluation").glob("*-seed0.manifest.json"):
        assert json.loads(manifest.read_text())["facts"]["network_refused"] == []


def test_a_sweep_finds_the_rates_that_each_side_is_trained_at(copy: Path) -> None:
    sweep = {"peak_learning_rates": [0.0005, 0.01], "on": ["minitron_depth@0.5"], "tokens": 2048, "use": "own"}
    matrix = [{"methods": ["minitron_depth"], "ratios": [0.5], "retrain": [4096]}]
    (copy / "config/swept.yaml").write_text(yaml.safe_dump({"sweep": sweep, "matrix": matrix}))
    alone = snakemake_kept_warm(copy, "sweep", *SMOKE, "config/swept.yaml")
    assert alone.returncode == 0, alone.stderr
    table = pd.read_csv(copy / "results/smoke/sweep.csv")
    assert table.groupby("side")["peak_lr"].apply(list).to_dict() == {
        "pruned": [0.0005, 0.01],
        "scratch": [0.0005, 0.01],
    }
    assert not any((copy / "results/smoke/runs" / run / "model").exists() for run in table["run"])

    whole = snakemake_kept_warm(copy, *SMOKE, "config/swept.yaml")
    assert whole.returncode == 0, whole.stderr
    chosen = json.loads((copy / "results/smoke/sweep.json").read_text())
    ledger = pd.read_csv(copy / "results/smoke/ledger.csv").set_index("run")
    for side, run in {"pruned": "P16.4k-minitron_depth-0.5-R4.1k-seed0", "scratch": "S4.1k-depth-0.5-seed0"}.items():
        best = table[table["side"] == side].sort_values("validation_loss").iloc[0]
        assert ledger.loc[run, "peak_lr"] == chosen[side]["peak_learning_rate"] == best["peak_lr"]
    assert ledger[ledger["phase"] == "sweep"]["tokens_seen"].tolist() == [2048] * 4
    again = snakemake(copy, *SMOKE, "config/swept.yaml")
    assert "Nothing to be done" in again.stdout + again.stderr
    (copy / "config/look.yaml").write_text(yaml.safe_dump({"figures": {"size": "talk"}}))
    other_look = snakemake(copy, "-n", *SMOKE, "config/swept.yaml", "config/look.yaml")
    assert "draw_figures" in other_look.stdout + other_look.stderr
    assert "Train " not in other_look.stdout + other_look.stderr


def test_a_search_finds_the_shape_that_pruned_and_scratch_runs_share(finished: tuple[Path, str], copy: Path) -> None:
    search = {"ratios": [0.5], "tokens": 2048, "max": 3}
    matrix = [{"methods": ["minitron_width"], "ratios": [0.5], "retrain": [4096], "full": [4096]}]
    overlay = {"targets": {"width": []}, "shape_search": search, "matrix": matrix}
    (copy / "config/searched.yaml").write_text(yaml.safe_dump(overlay))
    whole = snakemake_kept_warm(copy, *SMOKE, "config/searched.yaml")
    assert whole.returncode == 0, whole.stderr

    results, runs = copy / "results/smoke", copy / "results/smoke/runs"
    table = pd.read_csv(results / "shape_search.csv")
    assert len(table) == 3
    assert table["params_decoder"].max() / table["params_decoder"].min() < 1.05
    best = table.loc[table["validation_loss"].idxmin()]
    assert table.loc[table["chosen"], "run"].tolist() == [best["run"]]
    shape = json.loads((results / "targets/width-0.5.json").read_text())["shape"]
    assert [shape["hidden_size"], shape["ffn_size"], shape["heads"]] == best[
        ["hidden_size", "ffn_size", "heads"]
    ].tolist()
    for run in ("P16.4k-minitron_width-0.5-R4.1k-seed0", "S4.1k-width-0.5-seed0", "S21.5k-width-0.5-full-seed0"):
        config = json.loads((runs / run / "model/config.json").read_text())
        assert (config["hidden_size"], config["intermediate_size"]) == (best["hidden_size"], best["ffn_size"])
    parameters = pd.read_csv(results / "results.csv").set_index("run").loc["S4.1k-width-0.5-seed0", "params_total"]
    assert set(parameters) == {best["params_decoder"] + 512 * best["hidden_size"]}
    ledger = pd.read_csv(results / "ledger.csv")
    assert ledger.loc[ledger["phase"] == "shape_search", "tokens_seen"].tolist() == [2048] * 3
    assert not list(runs.glob("P16.4k-minitron_width-0.5-h*/model"))
    drawn = pd.read_csv(copy / "figures/smoke/shape_search.csv")
    assert sorted(drawn["validation_loss"]) == sorted(table["validation_loss"])
    assert not (finished[0] / "figures/smoke/shape_search.csv").exists()

    changed = {**overlay, "figures": {"size": "talk"}, "publishing": {"license": "mit"}}
    (copy / "config/searched.yaml").write_text(yaml.safe_dump(changed))
    again = snakemake(copy, "-n", *SMOKE, "config/searched.yaml")
    assert "choose_shapes" not in again.stdout + again.stderr
    assert "Train " not in again.stdout + again.stderr
