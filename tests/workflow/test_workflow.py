"""The smallest study through real Snakemake: from an empty folder to figures, cut, resumed, redrawn, and refused."""

import base64
import json
import re
import resource
import shutil
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
import yaml
import zstandard
from playwright.sync_api import Locator, Page

import report_browser
from checkouts import (
    SECRETS,
    SMOKE,
    checkout,
    planned_jobs,
    results_of,
    run_study,
    smoke_figures,
    snakemake,
)
from program import pvs
from pruning_vs_scratch.artifacts import read_manifest, sealed
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.load import load_config, study_files
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.figures.catalogue import figures_of
from pruning_vs_scratch.manifest import ManifestWriter
from pruning_vs_scratch.planning.jobs import job_graph
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.costs import planned_costs
from pruning_vs_scratch.tables.published.catalogue import pages_of
from pruning_vs_scratch.verification import Verification

pytestmark = pytest.mark.workflow

SECONDS_TO_EXPAND = 10
"""Of processor time, for a study of any size."""
LEDGER_COLUMNS = [
    "run",
    "phase",
    "tokens_planned",
    "tokens_seen",
    "tokens_trunk",
    "tokens_distinct",
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
    "tokens_distinct",
    "tokens_total",
    "seed",
    "dataset",
    "metric",
    "value",
    "stderr",
    "n",
    "split",
]


def test_a_study_leaves_every_promised_file(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    results, figures = folder / "results/smoke", folder / "figures/smoke"
    promised = [results / name for name in ("results.csv", "ledger.csv", "efficiency.csv", "claims.json", "claims.md")]
    promised += [figures / f"{name}.{kind}" for name in smoke_figures() for kind in ("pdf", "png", "csv")]
    promised += [results / "report.html", results / "provenance.html"]
    assert [str(path) for path in promised if not path.exists() or not path.stat().st_size] == []
    assert list(pd.read_csv(results / "ledger.csv").columns) == LEDGER_COLUMNS
    assert list(pd.read_csv(results / "results.csv").columns) == RESULT_COLUMNS


def test_the_time_of_every_phase_is_shown(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    times = pd.read_csv(folder / "results/smoke/times.csv").set_index("phase")
    phases = ["download", "text", "pretrain", "score", "prune", "retrain", "scratch", "evaluate"]
    assert list(times.index) == phases
    assert (times["seconds"] > 0).all()
    assert times.loc[["pretrain", "prune", "retrain"], "jobs"].tolist() == [1, 3, 4]
    assert "times.csv" in (folder / "results/smoke/provenance.html").read_text()
    assert "time of the longest job" in (folder / "results/smoke/report.html").read_text()
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


def test_the_plan_of_a_study_is_what_its_ledger_and_its_files_show(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    planned = pvs(folder, "plan", "smoke")
    assert planned.returncode == 0, planned.stderr
    plan = pd.read_csv(folder / "results/smoke/plan.csv", dtype=str)
    ledger = pd.read_csv(folder / "results/smoke/ledger.csv")
    study = Study(load_config(study_files(["smoke"], REPOSITORY / "config")).model_dump(mode="json"))
    costs = pd.DataFrame([asdict(row) for row in planned_costs(study)])
    pd.testing.assert_frame_equal(costs, ledger[list(costs.columns)])
    assert (ledger["tokens_seen"] == costs["tokens_planned"]).all()
    told = plan[plan["part"] == "ledger"].pivot(index="item", columns="quantity", values="value").astype(int)
    spent = ledger.groupby("phase")[list(told.columns)].sum()
    pd.testing.assert_frame_equal(told, spent.loc[told.index], check_names=False)

    stored = plan[(plan["part"] == "storage") & (plan["quantity"] == "bytes")].set_index("item")["value"].astype(int)
    weights = sum(path.stat().st_size for path in (folder / "results/smoke/runs").rglob("model.safetensors"))
    masks = sum(path.stat().st_size for path in (folder / "results/smoke/runs").rglob("mask.safetensors"))
    # Besides the weights, a file has a header with the name and place of each.
    assert 0.9 * weights < stored["checkpoints"] < weights
    assert 0.5 * masks < stored["masks"] < masks
    assert stored["tokens"] <= sum(path.stat().st_size for path in (folder / "resources/smoke/tokens").rglob("*.bin"))


def test_what_a_study_measured_is_what_the_next_one_is_planned_by(copy: Path) -> None:
    measured = pvs(copy, "rates", "smoke")
    assert measured.returncode == 0, measured.stderr
    ledger = pd.read_csv(copy / "results/smoke/ledger.csv").set_index("run")
    depth = ledger.filter(regex="-R|^S", axis="index").filter(like="depth", axis="index")
    sustained = depth["flops"].sum() / depth["wall_seconds"].sum() / 1e12
    table = pd.read_csv(copy / "config/throughput.user.csv")
    rates = table[table["work"] == "train"]
    assert sustained in [pytest.approx(rate, rel=1e-3) for rate in rates["rate"]]
    assert list(rates["params_from"][1:]) == list(rates["params_below"][:-1])
    planned = pvs(copy, "plan", "smoke")
    assert planned.returncode == 0, planned.stderr
    assert "study smoke" in planned.stdout
    assert "assumed" not in planned.stdout

    elsewhere = pvs(copy, "rates", "smoke", "--device", "h100")
    assert elsewhere.returncode == 1
    assert "ran without a GPU" in elsewhere.stderr
    assert pd.read_csv(copy / "config/throughput.user.csv").equals(table)


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


def test_no_output_contains_a_path_of_this_machine(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    secrets = [str(folder), str(Path.home()), sys.prefix]
    texts = [
        p for p in (folder / "results").rglob("*") if p.suffix in {".json", ".jsonl", ".csv", ".md", ".yaml", ".html"}
    ]
    assert len(texts) > 30
    leaks = [str(p) for p in texts for secret in secrets if len(secret) > 5 and secret in p.read_text()]
    assert leaks == []


def test_no_file_of_a_study_contains_a_secret(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    archived = pvs(folder, "archive", "config/smoke.yaml")
    assert archived.returncode == 0, archived.stderr
    [archive] = (folder / "results/smoke").glob("*.tar.zst")
    contents = {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
    contents[archive] = zstandard.ZstdDecompressor().stream_reader(contents[archive]).read()
    archive.unlink()
    assert len(contents) > 100
    assert any(".snakemake/log/" in file.as_posix() for file in contents)
    assert {folder / "results/smoke/report.html", folder / "results/smoke/provenance.html"} <= set(contents)
    secrets = [secret.encode() for secret in SECRETS.values()]
    secrets += [base64.b64encode(secret) for secret in secrets]
    leaks = [str(file) for file, content in contents.items() for secret in secrets if secret in content]
    assert leaks == []
    assert not any(secret in printed for secret in SECRETS.values())


browses = pytest.mark.skipif(report_browser.BROWSER is None, reason=f"none of {', '.join(report_browser.BROWSERS)}")


@browses
@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["desk", "phone"])
def test_the_report_is_one_page_that_is_whole_at_any_width(finished: tuple[Path, str], size: tuple[int, int]) -> None:
    results = finished[0] / "results/smoke"
    claims = json.loads((results / "claims.json").read_text())["claims"]
    with report_browser.opened(results / "report.html", size) as page:
        verdicts = page.locator(".verdicts tbody tr")
        assert verdicts.locator("td:nth-child(2)").all_inner_texts() == [claim["verdict"] for claim in claims]
        assert verdicts.first.bounding_box()["y"] < size[1]  # type: ignore[index]
        assert report_browser.width_beyond_window(page) == 0
        figures = page.locator("figure img").all()
        assert len(figures) == len(smoke_figures())
        for figure in figures:
            figure.evaluate("image => image.decode()")
            assert figure.bounding_box()["width"] > 300  # type: ignore[index]
        links = [str(link.get_attribute("href")) for link in page.locator("a:not([href^='#'])").all()]
        assert "provenance.html" in links
        assert [link for link in links if not (results / link).is_file()] == []


@browses
def test_every_result_of_snakemakes_report_can_be_seen_or_downloaded(finished: tuple[Path, str]) -> None:
    root = finished[0]
    with report_browser.reading(root / "results/smoke/provenance.html") as page:
        contents = report_browser.contents(page)
        folders = report_browser.menu(page)
        assert folders == ["1. Claims", "2. Figures", "3. Tables", "4. Accounting", "5. Provenance", "6. Files"]
        assert sorted(contents) == folders
        for folder in folders:
            names = report_browser.open_folder(page, folder)
            assert sorted(names) == sorted(contents[folder])
            for name in names:
                view, _ = report_browser.buttons(page, name)
                check_result(page, view, root / contents[folder][name])
    assert set(contents["2. Figures"]) == smoke_figures()


def check_result(page: Page, view: Locator, file: Path) -> None:
    """A figure, page or download of Snakemake's report is what its file is."""
    if file.suffix == ".csv":
        download = report_browser.downloaded(page, view)
        assert download.suggested_filename == file.name
        assert download.path().read_bytes() == file.read_bytes()
        return
    view.click()
    if file.suffix == ".png":
        image = report_browser.image(page)
        assert image.is_visible()
        assert image.evaluate("image => image.naturalWidth") > 300
        assert base64.b64decode(str(image.get_attribute("src")).partition("base64,")[2]) == file.read_bytes()
        return
    results = file.parents[1]
    source = results / "claims.md" if file.stem == "claims" else results / "printed" / f"{file.stem}.md"
    heading, *lines = source.read_text().splitlines()
    document = report_browser.document(page, heading.removeprefix("# "))
    rows = [line.strip("|").split("|") for line in lines if line.startswith("|") and not line.startswith(("|:", "|-"))]
    assert [text.strip() for text in document.locator("th, td").all_inner_texts()] == [
        cell.strip() for row in rows for cell in row
    ]
    sections = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert document.locator("h2").all_inner_texts() == sections


@browses
def test_snakemakes_report_begins_with_the_verdicts_and_leads_to_everything_else(finished: tuple[Path, str]) -> None:
    results = finished[0] / "results/smoke"
    claims = json.loads((results / "claims.json").read_text())["claims"]
    with report_browser.reading(results / "provenance.html") as page:
        text = page.locator("#app .prose")
        verdicts = text.locator("table").nth(0).locator("tbody tr")
        assert [row.split("\t") for row in verdicts.all_inner_texts()] == [
            [claim[key] for key in ("id", "statement", "verdict", "reason", "reported")] for claim in claims
        ]
        overview = dict(row.split("\t") for row in text.locator("table").nth(1).locator("tbody tr").all_inner_texts())
        assert overview["parent"] == "trained on 16.4k tokens"
        assert overview["seeds"] == "0"
        for link in text.locator("a").all():
            link.click()
            report_browser.sidebar(page).locator("nav").get_by_text(link.inner_text()).wait_for()
            assert report_browser.sidebar(page).locator("tbody tr").count() > 0


@browses
def test_snakemakes_report_shows_the_workflow_its_times_and_how_a_figure_was_made(finished: tuple[Path, str]) -> None:
    with report_browser.reading(finished[0] / "results/smoke/provenance.html") as page:
        assert report_browser.is_drawn(page.locator("#rulegraph canvas"))
        report_browser.sidebar(page).get_by_text("Statistics").click()
        assert report_browser.is_drawn(page.locator("#runtimes canvas"))
        assert report_browser.is_drawn(page.locator("#timeline canvas"))
        report_browser.open_folder(page, "2. Figures")
        view, about = report_browser.buttons(page, "reported")
        view.click()
        assert report_browser.image(page).bounding_box()["y"] >= 0  # type: ignore[index]
        about.click()
        report_browser.sidebar(page).get_by_text("The paper's own figures, redrawn from its numbers").wait_for()
        report_browser.sidebar(page).locator("li", has_text="draw_figures").locator("a").click()
        report_browser.sidebar(page).get_by_text("python workflow/scripts/draw_figures.py").wait_for()


def test_a_second_run_does_nothing_and_says_so(finished: tuple[Path, str]) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    again = run_study(finished[0])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert again.returncode == 0
    assert "nothing to be done" in again.stdout
    # Of processors, not of the clock: other tests run at the same time.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 30


def test_deleted_tables_and_figures_are_redrawn_without_training(copy: Path) -> None:
    expected, models = results_of(copy), sorted((copy / "results/smoke/runs").rglob("model.safetensors"))
    drawn = (copy / "figures/smoke/token_budget.csv").read_text()
    times = [model.stat().st_mtime_ns for model in models]
    reports = [copy / f"results/smoke/{name}.html" for name in ("report", "provenance")]
    before = [report.stat().st_mtime_ns for report in reports]
    shutil.rmtree(copy / "results/smoke/tables")
    shutil.rmtree(copy / "figures/smoke")
    again = run_study(copy)
    assert again.returncode == 0, again.stdout + again.stderr
    assert results_of(copy) == expected
    assert (copy / "figures/smoke/token_budget.csv").read_text() == drawn
    assert [model.stat().st_mtime_ns for model in models] == times
    assert all(report.stat().st_mtime_ns > made for report, made in zip(reports, before, strict=True))


@pytest.mark.parametrize("remade", ["pages/versions.html", "report.html"])
def test_snakemakes_report_follows_a_page_that_was_made_again(copy: Path, remade: str) -> None:
    provenance, page = copy / "results/smoke/provenance.html", copy / "results/smoke" / remade
    before, written = provenance.stat().st_mtime_ns, page.read_bytes()
    page.unlink()
    assert run_study(copy).returncode == 0
    assert provenance.stat().st_mtime_ns > before
    assert page.read_bytes() == written


def test_both_reports_can_be_made_again_without_a_step_of_the_study(copy: Path) -> None:
    results = copy / "results/smoke"
    written = (results / "report.html").read_bytes()
    for name in ("report.html", "provenance.html"):
        (results / name).unlink()
    made = pvs(copy, "report", "smoke")
    assert made.returncode == 0, made.stderr
    assert made.stdout.split() == ["results/smoke/report.html", "results/smoke/provenance.html"]
    assert (results / "report.html").read_bytes() == written
    assert "nothing to be done" in run_study(copy).stdout


def test_a_mismatched_pair_fails_the_study(copy: Path) -> None:
    manifest = next((copy / "results/smoke/runs").glob("S4.1k-*/manifest.json"))
    content = json.loads(manifest.read_text())
    content["facts"]["ledger"]["window_start"] += 8
    manifest.write_text(json.dumps(sealed(content)))
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


@pytest.mark.parametrize(
    "study",
    [
        "demo",
        "smoke",
        "demo-seeds",
        "demo-wsd",
        "demo-shapes",
        "demo-qwen3",
        "demo-gemma3",
        "hub-evaluation",
        "paper",
        "smollm2",
    ],
)
def test_the_shipped_studies_expand_to_the_jobs_that_their_plans_count(tmp_path: Path, study: str) -> None:
    overlay = [] if study == "demo" else ["--configfile", f"config/{study}.yaml"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = snakemake(checkout(tmp_path / "checkout"), "-n", *overlay)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0, result.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS_TO_EXPAND
    table = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\ntotal", result.stdout + result.stderr, re.DOTALL)
    assert table is not None
    counted = {rule: int(count) for rule, count in map(str.split, table[1].splitlines())}
    config = load_config(study_files([study], REPOSITORY / "config"))
    expanded = Study(config.model_dump(mode="json"))
    graph = job_graph(expanded, figures_of(expanded), pages_of(bool(expanded.arms)))
    assert Counter(job.rule for job in graph.jobs) | {"all": 1} == counted


def test_a_larger_budget_trains_nothing_again(copy: Path) -> None:
    smoke = yaml.safe_load((copy / "config/smoke.yaml").read_text())
    smoke["matrix"][0]["retrain"].append(32768)
    (copy / "config/larger.yaml").write_text(yaml.safe_dump({"matrix": smoke["matrix"]}))
    jobs = planned_jobs(copy, *SMOKE, "config/larger.yaml")
    assert jobs.get("train") == 2, jobs
    assert jobs["check_text"] == 1
    assert not {"tokenize_corpus", "prune", "score"} & set(jobs)


def test_how_often_state_is_saved_and_how_text_is_cut_make_nothing_again(copy: Path) -> None:
    saving = {"checkpoint_every_steps": 3, "checkpoint_every_minutes": 5.0, "keep_checkpoints": 2}
    overlay = {"training": saving, "tokenizer": {"shard_tokens": 1000}}
    (copy / "config/saving.yaml").write_text(yaml.safe_dump(overlay))
    jobs = planned_jobs(copy, *SMOKE, "config/saving.yaml")
    assert jobs["tabulate"] == 1
    assert not {"tokenize_corpus", "train", "prune", "score", "evaluate"} & set(jobs)


def test_a_changed_or_removed_artifact_of_any_kind_is_named(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy)
    study = Study(load_config(study_files(["smoke"], copy / "config")).model_dump(mode="json"))

    def problems() -> str:
        found = Verification(study)
        try:
            return "\n".join([*found.missing(), *found.altered(), *found.broken_links()])
        except UserError as error:
            return str(error)

    assert problems() == ""
    files = []
    for path, manifest in Verification(study).manifests.items():
        written = {path.parent / Path(output["path"]).name: output["files"] for output in manifest["outputs"].values()}
        files += [path, *(place / name for place, names in written.items() for name in names)]
    assert len(files) > 100
    assert {file.suffix for file in files} >= {".safetensors", ".parquet", ".jsonl", ".json", ".csv", ".bin", ".gz"}
    for file in files:
        content = file.read_bytes()
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        assert str(file) in problems()
        file.unlink()
        assert f"{file} is missing" in problems()
        file.write_bytes(content)
    assert problems() == ""


def test_results_of_changed_scores_are_not_collected(copy: Path) -> None:
    groups = ("depth-0.5-seed0", "width-0.5-seed0")
    first, second = (copy / f"results/smoke/evaluation/{group}/losses.parquet" for group in groups)
    content = first.read_bytes()
    (copy / "results/smoke/results.csv").unlink()
    first.write_bytes(second.read_bytes())
    result = run_study(copy)
    assert result.returncode == 1
    assert f"{first.relative_to(copy)} has changed since it was written" in result.stdout + result.stderr
    first.write_bytes(content)
    result = run_study(copy)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_step_refuses_a_changed_input_and_remakes_what_is_deleted(finished: tuple[Path, str], copy: Path) -> None:
    runs = copy / "results/smoke/runs"
    weights, pruned = runs / "P16.4k-seed0/model/model.safetensors", runs / "P16.4k-minitron_width-0.5-seed0"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    shutil.rmtree(pruned)
    result = run_study(copy)
    assert result.returncode == 1
    assert f"{weights.relative_to(copy)} has changed since it was written" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    weights.write_bytes(content)
    result = run_study(copy)
    assert result.returncode == 0, result.stdout + result.stderr
    assert results_of(copy) == results_of(finished[0])


def test_a_parent_that_was_made_again_is_not_mixed_with_what_was_made_from_it(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = copy / "results/smoke/runs/P16.4k-seed0"
    (parent / "model/generation_config.json").write_text("{}")
    monkeypatch.chdir(copy)
    runs = Path("results/smoke/runs/P16.4k-seed0")
    outputs = {"model": runs / "model", "metrics": runs / "metrics.jsonl"}
    facts = read_manifest(runs / "manifest.json")["facts"]
    ManifestWriter("train", {}).write(runs / "manifest.json", outputs, facts)
    result = pvs(copy, "verify", "smoke")
    assert result.returncode == 1
    made = "results/smoke/runs/P16.4k-minitron_width-0.5-seed0/manifest.json"
    assert f"{made} was made from another {runs / 'model'} than the one that is there" in result.stderr


def test_too_little_text_is_reported_before_anything_is_trained(copy: Path) -> None:
    (copy / "config/large.yaml").write_text(yaml.safe_dump({"parent": {"tokens": 2**26}}))
    result = snakemake(copy, *SMOKE, "config/large.yaml")
    assert result.returncode == 1
    log = (copy / "results/smoke/logs/check_text.log").read_text()
    assert re.search(r"the study needs 67,2\d\d,\d\d\d tokens of resources/smoke/tokens/train, which holds", log)
    assert not list((copy / "results/smoke/runs").glob("P67*"))
