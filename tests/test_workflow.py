"""The smallest study through real Snakemake: from an empty folder to figures, cut, resumed, redrawn, and refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mini_benchmarks import write_prepared
from pruning_vs_scratch.figures import FIGURES

pytestmark = pytest.mark.workflow

REPOSITORY = Path(__file__).parents[1]
SMOKE = ["--configfile", "config/smoke.yaml"]
LEDGER_COLUMNS = [
    "run",
    "phase",
    "tokens_planned",
    "tokens_seen",
    "tokens_trunk",
    "window_start",
    "window_end",
    "sequence_length",
    "global_batch_size",
    "steps",
    "peak_lr",
    "schedule",
    "objective",
    "precision",
    "seed",
    "flops",
    "flops_trunk",
    "flops_teacher",
    "flops_teacher_trunk",
    "wall_seconds",
    "wall_seconds_trunk",
    "world_size",
    "spec_hash",
    "source_hash",
]
RESULT_COLUMNS = [
    "study",
    "run",
    "role",
    "method",
    "granularity",
    "pattern",
    "target_ratio",
    "achieved_ratio",
    "params_total",
    "params_nonzero",
    "tokens_parent",
    "tokens_prune",
    "tokens_train",
    "tokens_total",
    "seed",
    "dataset",
    "metric",
    "value",
    "stderr",
    "n",
    "split",
]


def checkout(folder: Path) -> Path:
    """The tracked parts of the project that a run needs, in an empty folder."""
    folder.mkdir(parents=True)
    shutil.copy(REPOSITORY / "Snakefile", folder)
    for name in ("workflow", "config", "envs", "slurm"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return folder


def study_command(*arguments: str) -> list[str]:
    """A call of run_study.py on two cores, as make does it."""
    return [sys.executable, "workflow/scripts/run_study.py", "--cores", "2", *SMOKE, *arguments]


def run_study(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the smallest study to its end."""
    return subprocess.run(study_command(), cwd=folder, capture_output=True, text=True, check=False)


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call Snakemake itself."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which the smallest study ran from nothing, and what it printed."""
    folder = checkout(tmp_path_factory.mktemp("study") / "checkout")
    result = run_study(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result.stdout


@pytest.fixture
def copy(finished: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the finished folder to damage."""
    shutil.copytree(finished[0], tmp_path / "checkout", symlinks=True)
    return tmp_path / "checkout"


def results_of(folder: Path) -> str:
    """The text of results.csv."""
    return (folder / "results/smoke/results.csv").read_text()


def test_a_study_leaves_every_promised_file(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    results, figures = folder / "results/smoke", folder / "figures/smoke"
    promised = [results / name for name in ("results.csv", "ledger.csv", "efficiency.csv", "claims.json", "claims.md")]
    promised += [figures / f"{name}.{kind}" for name in FIGURES for kind in ("pdf", "png", "csv")]
    promised.append(results / "report.html")
    assert [str(path) for path in promised if not path.exists() or not path.stat().st_size] == []
    assert list(pd.read_csv(results / "ledger.csv").columns) == LEDGER_COLUMNS
    assert list(pd.read_csv(results / "results.csv").columns) == RESULT_COLUMNS


def test_the_time_of_every_phase_is_told(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    times = pd.read_csv(folder / "results/smoke/times.csv").set_index("phase")
    phases = ["download", "text", "pretrain", "score", "prune", "retrain", "scratch", "evaluate"]
    assert list(times.index) == phases
    assert (times["seconds"] > 0).all()
    assert times.loc[["pretrain", "prune", "retrain"], "jobs"].tolist() == [1, 3, 4]
    assert "times.csv" in (folder / "results/smoke/report.html").read_text()
    assert "Jobs     " in printed


def test_every_run_saw_the_tokens_that_were_planned(finished: tuple[Path, str]) -> None:
    ledger = pd.read_csv(finished[0] / "results/smoke/ledger.csv")
    assert set(ledger["phase"]) == {"pretrain", "prune", "retrain", "scratch"}
    assert (ledger["tokens_seen"] == ledger["tokens_planned"]).all()
    pairs = pd.read_csv(finished[0] / "results/smoke/tables/pairs.csv")
    assert set(pairs["setting"]) == {"equal", "full"}


def test_every_run_is_scored_on_every_corpus_and_task(finished: tuple[Path, str]) -> None:
    table = pd.read_csv(finished[0] / "results/smoke/results.csv")
    losses = table[table["metric"] == "perplexity"].pivot(index="run", columns="dataset", values="value")
    assert set(losses.columns) == {"test", "folio", "milton", "encyclopedia"}
    accuracies = table[table["metric"] == "acc"].pivot(index="run", columns="dataset", values="value")
    assert set(accuracies.columns) == {"continuation", "scramble", "last_word"}
    assert set(table[table["metric"] == "accuracy"]["dataset"]) == {"task_mean"}
    assert losses.notna().all(axis=None)
    assert accuracies.notna().all(axis=None)
    assert len(losses) == len(accuracies) == table["run"].nunique()


def test_the_summary_names_verdicts_and_files(finished: tuple[Path, str]) -> None:
    for words in ("C1", "C4", "Minitron-depth", "figures/smoke", "results/smoke/report.html", "Took"):
        assert words in finished[1]


def test_a_sparse_model_and_its_baseline_keep_the_mask(finished: tuple[Path, str]) -> None:
    from pruning_vs_scratch.models.tensors import load_tensors
    from pruning_vs_scratch.pruning.masks import read_masks

    runs = finished[0] / "results/smoke/runs"
    pruned = next(runs.glob("P*-wanda-0.5-2of4-seed0"))
    masks = read_masks(pruned / "model/mask.safetensors")
    for run in runs.glob("*wanda-0.5-2of4*"):
        weights = load_tensors(run / "model/model.safetensors")
        for name, mask in masks.items():
            assert weights[name][~mask].count_nonzero() == 0
            assert weights[name].view(-1, 4).count_nonzero(dim=1).max() <= 2


def test_no_output_holds_a_path_of_this_machine(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    secrets = [str(folder), str(Path.home()), sys.prefix]
    texts = [p for p in (folder / "results").rglob("*") if p.suffix in {".json", ".jsonl", ".csv", ".md", ".yaml"}]
    assert len(texts) > 30
    leaks = [str(p) for p in texts for secret in secrets if len(secret) > 5 and secret in p.read_text()]
    assert leaks == []


def test_a_second_run_does_nothing_and_says_so(finished: tuple[Path, str]) -> None:
    start = time.monotonic()
    again = run_study(finished[0])
    assert again.returncode == 0
    assert "nothing to be done" in again.stdout
    assert time.monotonic() - start < 30


def test_deleted_tables_and_figures_are_redrawn_without_training(copy: Path) -> None:
    expected, models = results_of(copy), sorted((copy / "results/smoke/runs").rglob("model.safetensors"))
    drawn = (copy / "figures/smoke/token_budget.csv").read_text()
    times = [model.stat().st_mtime_ns for model in models]
    shutil.rmtree(copy / "results/smoke/tables")
    shutil.rmtree(copy / "figures/smoke")
    again = run_study(copy)
    assert again.returncode == 0, again.stdout + again.stderr
    assert results_of(copy) == expected
    assert (copy / "figures/smoke/token_budget.csv").read_text() == drawn
    assert [model.stat().st_mtime_ns for model in models] == times


def test_a_study_killed_with_sigkill_goes_on_to_the_same_results(finished: tuple[Path, str], tmp_path: Path) -> None:
    folder = checkout(tmp_path / "checkout")
    shutil.copytree(finished[0] / "resources", folder / "resources")
    process = subprocess.Popen(study_command(), cwd=folder, stdout=subprocess.DEVNULL, start_new_session=True)
    wait_for(folder / "results/smoke/runs", "*/manifest.json", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    again = run_study(folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert results_of(folder) == results_of(finished[0])


def wait_for(folder: Path, pattern: str, process: subprocess.Popen) -> None:
    """Wait until the first file of a pattern stands."""
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert process.poll() is None, "the study ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_mismatched_pair_fails_the_study(copy: Path) -> None:
    manifest = next((copy / "results/smoke/runs").glob("S4.1k-*/manifest.json"))
    content = json.loads(manifest.read_text())
    content["facts"]["ledger"]["window_start"] += 8
    manifest.write_text(json.dumps(content))
    result = run_study(copy)
    assert result.returncode == 1
    assert "not matched" in result.stderr
    assert "window_start" in result.stderr


def test_a_corrupted_download_is_refused(copy: Path) -> None:
    download = next((copy / "resources/downloads").glob("*.tar.gz"))
    download.write_bytes(download.read_bytes()[:-1] + b"?")
    shutil.rmtree(copy / "resources/smoke/corpora")
    result = run_study(copy)
    assert result.returncode == 1
    assert "sha256" in result.stderr.lower()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matrix": [{"methods": ["wnda"], "ratios": [0.5], "retrain": [4096]}]}, "did you mean 'wanda'?"),
        ({"trainning": {}}, "did you mean 'training'?"),
        ({"parent": {"tokens": 1000}}, "nearest: 1024"),
        ({"matrix": [{"methods": ["shortgpt"], "ratios": [0.6], "retrain": [4096]}]}, "targets.depth; nearest: 0.5"),
    ],
    ids=["method", "key", "budget", "ratio"],
)
def test_a_bad_configuration_is_refused_before_any_job(tmp_path: Path, change: dict, message: str) -> None:
    folder = checkout(tmp_path / "checkout")
    (folder / "bad.yaml").write_text(yaml.safe_dump(change))
    result = snakemake(folder, "-n", "--configfile", "config/smoke.yaml", "bad.yaml")
    assert result.returncode == 1
    assert message in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert not (folder / "results").exists()


@pytest.mark.parametrize("study", ["demo", "demo-seeds", "demo-wsd", "smollm2"])
def test_the_shipped_studies_expand(tmp_path: Path, study: str) -> None:
    overlay = [] if study == "demo" else ["--configfile", f"config/{study}.yaml"]
    result = snakemake(checkout(tmp_path / "checkout"), "-n", *overlay)
    assert result.returncode == 0, result.stderr
    assert "train" in result.stdout + result.stderr


ADDITIONS = {
    "matrix": [
        {"methods": ["sheared_llama"], "ratios": [0.5], "retrain": [4096], "full": [4096]},
        {"chains": [["minitron_depth@0.5", "wanda@2:4"]], "retrain": [4096], "rewind": [4096]},
    ],
    "pruning": {"sheared_llama": {"tokens": 1024, "global_batch_size": 2, "micro_batch_size": 2}},
}


def test_a_study_grows_by_learned_masks_a_chain_and_a_rewound_baseline(copy: Path) -> None:
    smoke = yaml.safe_load((copy / "config/smoke.yaml").read_text())
    overlay = ADDITIONS | {"matrix": [*smoke["matrix"], *ADDITIONS["matrix"]]}
    (copy / "config/grown.yaml").write_text(yaml.safe_dump(overlay))
    runs = copy / "results/smoke/runs"
    made_before = {path: path.stat().st_mtime_ns for path in runs.glob("*/manifest.json")}
    scores = runs / "P16.4k-seed0/scores/minitron_depth.safetensors"
    scored_before = scores.stat().st_mtime_ns

    grown = snakemake(copy, *SMOKE, "config/grown.yaml")
    assert grown.returncode == 0, grown.stderr
    assert {path: path.stat().st_mtime_ns for path in made_before} == made_before
    assert scores.stat().st_mtime_ns == scored_before

    ledger = pd.read_csv(copy / "results/smoke/ledger.csv").set_index("run")
    learned, chained = "P16.4k-sheared_llama-0.5", "minitron_depth-0.5+wanda-0.5-2of4"
    assert ledger.loc[f"{learned}-seed0", ["phase", "tokens_seen", "window_start"]].tolist() == ["prune", 1024, 192]
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
    two = snakemake(copy, *SMOKE, "config/two.yaml")
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

    result = snakemake(copy, *SMOKE, "config/hub.yaml")
    assert result.returncode == 0, result.stderr
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
    alone = snakemake(copy, "sweep", *SMOKE, "config/swept.yaml")
    assert alone.returncode == 0, alone.stderr
    table = pd.read_csv(copy / "results/smoke/sweep.csv")
    assert table.groupby("side")["peak_lr"].apply(list).to_dict() == {
        "pruned": [0.0005, 0.01],
        "scratch": [0.0005, 0.01],
    }
    assert not any((copy / "results/smoke/runs" / run / "model").exists() for run in table["run"])

    whole = snakemake(copy, *SMOKE, "config/swept.yaml")
    assert whole.returncode == 0, whole.stderr
    chosen = json.loads((copy / "results/smoke/sweep.json").read_text())
    ledger = pd.read_csv(copy / "results/smoke/ledger.csv").set_index("run")
    for side, run in {"pruned": "P16.4k-minitron_depth-0.5-R4.1k-seed0", "scratch": "S4.1k-depth-0.5-seed0"}.items():
        best = table[table["side"] == side].sort_values("validation_loss").iloc[0]
        assert ledger.loc[run, "peak_lr"] == chosen[side]["peak_learning_rate"] == best["peak_lr"]
    assert ledger[ledger["phase"] == "sweep"]["tokens_seen"].tolist() == [2048] * 4
    again = snakemake(copy, *SMOKE, "config/swept.yaml")
    assert "Nothing to be done" in again.stdout + again.stderr
