"""The smallest study through real Snakemake: from an empty folder to figures, cut, resumed, redrawn, and refused."""

import base64
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
import zstandard
from playwright.sync_api import Locator, Page

import report_browser
from mini_benchmarks import write_prepared
from program import PVS, code_of, pvs
from pruning_vs_scratch.artifacts import read_manifest, sealed
from pruning_vs_scratch.config.load import load_config, study_files
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.figures.catalogue import figures_of
from pruning_vs_scratch.manifest import ManifestWriter
from pruning_vs_scratch.planning.jobs import job_graph
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.costs import planned_costs
from pruning_vs_scratch.supervisor.living import abandoned_jobs
from pruning_vs_scratch.tables.published.catalogue import PAGES
from pruning_vs_scratch.verification import Verification

pytestmark = pytest.mark.workflow

REPOSITORY = Path(__file__).parents[1]
SECONDS_TO_EXPAND = 10
"""Of processor time, for a study of any size."""
SMOKE = ["--configfile", "config/smoke.yaml"]
SECRETS = {
    "HF_TOKEN": "hf_a-secret-of-the-test",
    "WANDB_API_KEY": "another-secret-of-the-test",
    "password": "a-password-of-the-test",
}
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


def checkout(folder: Path) -> Path:
    """The tracked parts of the project that a run needs, in an empty folder."""
    folder.mkdir(parents=True)
    shutil.copy(REPOSITORY / "Snakefile", folder)
    for name in ("workflow", "config", "envs", "slurm"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return folder


def study_command(*arguments: str) -> list[str]:
    """A call of pvs run on two cores, as make does it."""
    return [*PVS, "run", "smoke", "--cores", "2", *arguments]


def command(folder: Path, words: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder."""
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


def run_study(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the smallest study to its end, with secrets in its environment."""
    indexes = f"{os.environ.get('PIP_EXTRA_INDEX_URL', '')} http://user:{SECRETS['password']}@127.0.0.1:9/simple"
    variables = {**SECRETS, "PIP_EXTRA_INDEX_URL": indexes.strip()}
    words = study_command()
    environment = os.environ | code_of(folder) | variables
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call Snakemake itself."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def script(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call an entry point."""
    command = [sys.executable, f"workflow/scripts/{name}", *arguments]
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


def smoke_figures() -> set[str]:
    """The figures of the smallest study."""
    config = load_config(study_files(["smoke"], REPOSITORY / "config"))
    return set(figures_of(Study(config.model_dump(mode="json"))))


def results_of(folder: Path) -> str:
    """The text of results.csv."""
    return (folder / "results/smoke/results.csv").read_text()


def test_a_study_leaves_every_promised_file(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    results, figures = folder / "results/smoke", folder / "figures/smoke"
    promised = [results / name for name in ("results.csv", "ledger.csv", "efficiency.csv", "claims.json", "claims.md")]
    promised += [figures / f"{name}.{kind}" for name in smoke_figures() for kind in ("pdf", "png", "csv")]
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


def test_no_output_holds_a_path_of_this_machine(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    secrets = [str(folder), str(Path.home()), sys.prefix]
    texts = [
        p for p in (folder / "results").rglob("*") if p.suffix in {".json", ".jsonl", ".csv", ".md", ".yaml", ".html"}
    ]
    assert len(texts) > 30
    leaks = [str(p) for p in texts for secret in secrets if len(secret) > 5 and secret in p.read_text()]
    assert leaks == []


def test_no_file_of_a_study_holds_a_secret(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    archived = pvs(folder, "archive", "config/smoke.yaml")
    assert archived.returncode == 0, archived.stderr
    [archive] = (folder / "results/smoke").glob("*.tar.zst")
    contents = {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
    contents[archive] = zstandard.ZstdDecompressor().stream_reader(contents[archive]).read()
    archive.unlink()
    assert len(contents) > 100
    assert any(".snakemake/log/" in file.as_posix() for file in contents)
    assert folder / "results/smoke/report.html" in contents
    secrets = [secret.encode() for secret in SECRETS.values()]
    secrets += [base64.b64encode(secret) for secret in secrets]
    leaks = [str(file) for file, content in contents.items() for secret in secrets if secret in content]
    assert leaks == []
    assert not any(secret in printed for secret in SECRETS.values())


browses = pytest.mark.skipif(report_browser.BROWSER is None, reason=f"none of {', '.join(report_browser.BROWSERS)}")


@browses
def test_every_result_of_the_report_can_be_seen_or_downloaded(finished: tuple[Path, str]) -> None:
    root = finished[0]
    with report_browser.reading(root / "results/smoke/report.html") as page:
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
    """A figure, page or download of the report is what its file is."""
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
def test_the_report_begins_with_the_verdicts_and_leads_to_everything_else(finished: tuple[Path, str]) -> None:
    results = finished[0] / "results/smoke"
    claims = json.loads((results / "claims.json").read_text())["claims"]
    with report_browser.reading(results / "report.html") as page:
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
def test_the_report_shows_the_workflow_its_times_and_how_a_figure_was_made(finished: tuple[Path, str]) -> None:
    with report_browser.reading(finished[0] / "results/smoke/report.html") as page:
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
    start = time.monotonic()
    again = run_study(finished[0])
    assert again.returncode == 0
    assert "nothing to be done" in again.stdout
    assert time.monotonic() - start < 30


def test_deleted_tables_and_figures_are_redrawn_without_training(copy: Path) -> None:
    expected, models = results_of(copy), sorted((copy / "results/smoke/runs").rglob("model.safetensors"))
    drawn = (copy / "figures/smoke/token_budget.csv").read_text()
    times = [model.stat().st_mtime_ns for model in models]
    report = copy / "results/smoke/report.html"
    before = report.stat().st_mtime_ns
    shutil.rmtree(copy / "results/smoke/tables")
    shutil.rmtree(copy / "figures/smoke")
    again = run_study(copy)
    assert again.returncode == 0, again.stdout + again.stderr
    assert results_of(copy) == expected
    assert (copy / "figures/smoke/token_budget.csv").read_text() == drawn
    assert [model.stat().st_mtime_ns for model in models] == times
    assert report.stat().st_mtime_ns > before


def test_a_page_that_was_made_anew_is_in_the_report(copy: Path) -> None:
    report = copy / "results/smoke/report.html"
    before = report.stat().st_mtime_ns
    (copy / "results/smoke/pages/versions.html").unlink()
    assert run_study(copy).returncode == 0
    assert report.stat().st_mtime_ns > before


def test_an_archive_makes_everything_again_without_torch(finished: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = finished
    written = pvs(folder, "archive", "smoke")
    assert written.returncode == 0, written.stderr
    archive = folder / "results/smoke/smoke.tar.zst"
    with tarfile.open(fileobj=BytesIO(zstandard.ZstdDecompressor().stream_reader(archive.read_bytes()).read())) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert not [name for name in members if name.endswith("model.safetensors")]
    assert not [name for name, content in members.items() if str(folder).encode() in content]
    described = {entity["@id"]: entity for entity in json.loads(members["smoke/ro-crate-metadata.json"])["@graph"]}
    assert {f"smoke/{name}" for name in described} >= members.keys() - {"smoke/archive.json"}
    assert len(described["#run-smoke"]["result"]) > 50

    fresh = checkout(tmp_path / "fresh")
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(REPOSITORY / name, fresh)
    redraw = ["make", "figures", f"FROM={archive}", f"PYTHON={sys.executable}"]
    first = command(fresh, redraw)
    assert first.returncode == 0, first.stdout + first.stderr
    start = time.monotonic()
    again = command(fresh, redraw)
    assert time.monotonic() - start < 60
    assert re.findall(r"^  \w+ +\d+ (.*)$", again.stdout, re.MULTILINE) == ["identical"] * 8, again.stdout
    drawn = fresh / "figures/redrawn/smoke"
    assert (drawn / "results/smoke/claims.md").read_bytes() == (folder / "results/smoke/claims.md").read_bytes()
    assert {file.stem for file in (drawn / "figures/smoke").glob("*.png")} == smoke_figures()
    torch = command(fresh, [fresh / ".venv-figures/bin/python", "-c", "import torch"])
    assert "No module named 'torch'" in torch.stderr

    small = pvs(folder, "archive", "smoke", "--small")
    assert small.returncode == 0, small.stderr
    reference = fresh / "figures/reference/smoke.tar.zst"
    reference.parent.mkdir()
    shutil.move(folder / "results/smoke/smoke-small.tar.zst", reference)
    assert reference.stat().st_size < archive.stat().st_size / 3
    again = command(fresh, ["make", "figures"])
    assert re.findall(r"^  \w+ +\d+ (.*)$", again.stdout, re.MULTILINE) == ["identical"] * 8, again.stdout
    assert (drawn / "figures/smoke/ratio.png").read_bytes() == (folder / "figures/smoke/ratio.png").read_bytes()

    (fresh / "look.yaml").write_text("font: serif\n")
    options = ["STYLE=look.yaml", "FIGURE=ratio", "SIZE=talk", "METHODS=wanda"]
    restyled = command(fresh, ["make", "figures", *options])
    assert restyled.returncode == 0, restyled.stdout + restyled.stderr
    assert re.findall(r"^  (\w+) +1 drawn otherwise$", restyled.stdout, re.MULTILINE) == ["csv", "pdf", "png"]
    assert {file.name for file in (drawn / "figures/smoke").iterdir()} == {"ratio.csv", "ratio.pdf", "ratio.png"}
    scales = command(fresh, ["make", "scales", "FROM=figures/reference/smoke.tar.zst"])
    assert scales.returncode == 0, scales.stdout + scales.stderr
    assert (fresh / "figures/scales/scales.pdf").exists()
    assert command(fresh, ["make", "clean"]).returncode == 0
    assert [file.name for file in (fresh / "figures").iterdir()] == ["reference"]


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


def test_a_snakemake_killed_alone_is_told_and_the_study_goes_on_to_the_same_results(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    """First that of run_study, then one that was started by hand."""
    folder = checkout(tmp_path / "checkout")
    shutil.copytree(finished[0] / "resources", folder / "resources")
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(study_command(), cwd=folder, text=True, **pipes)  # type: ignore[call-overload]
    wait_for(folder / "results/smoke/runs", "*/manifest.json", process)
    [child] = [c for c in psutil.Process(process.pid).children() if "snakemake" in c.cmdline()]
    child.kill()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Snakemake was killed by signal 9 (SIGKILL)" in said
    assert "Traceback" not in said
    assert abandoned_jobs(folder) == []
    assert list((folder / ".snakemake/locks").iterdir())

    unlocked = snakemake(folder, *SMOKE, "--unlock")
    assert unlocked.returncode == 0, unlocked.stderr
    by_hand = [sys.executable, "-m", "snakemake", "--cores", "2", "--rerun-incomplete", *SMOKE]
    process = subprocess.Popen(by_hand, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(folder / "results/smoke/runs", "*/manifest.json", process, count=5)
    process.kill()
    process.wait()
    assert list((folder / ".snakemake/locks").iterdir())
    again = run_study(folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "an earlier run was killed; going on where it stopped" in again.stdout
    assert results_of(folder) == results_of(finished[0])


def wait_for(folder: Path, pattern: str, process: subprocess.Popen, count: int = 1) -> None:
    """Wait until so many files of a pattern stand."""
    deadline = time.monotonic() + 120
    while len(list(folder.glob(pattern))) < count:
        assert process.poll() is None, "the study ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)


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
    "study", ["demo", "smoke", "demo-seeds", "demo-wsd", "demo-shapes", "hub-evaluation", "paper", "smollm2"]
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
    graph = job_graph(expanded, figures_of(expanded), PAGES)
    assert Counter(job.rule for job in graph.jobs) | {"all": 1} == counted


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

    grown = snakemake(copy, *SMOKE, "config/grown.yaml")
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


def planned_jobs(folder: Path, *arguments: str) -> dict[str, int]:
    """Jobs by rule of a dry run."""
    result = snakemake(folder, *arguments, "-n", "--quiet", "rules")
    assert result.returncode == 0, result.stdout + result.stderr
    table = re.findall(r"^(\w+) +(\d+)$", result.stdout + result.stderr, re.MULTILINE)
    return {rule: int(count) for rule, count in table}


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


def test_a_step_refuses_a_changed_input_and_what_is_deleted_is_made_again(
    finished: tuple[Path, str], copy: Path
) -> None:
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


def test_too_little_text_is_told_before_anything_is_trained(copy: Path) -> None:
    (copy / "config/large.yaml").write_text(yaml.safe_dump({"parent": {"tokens": 2**26}}))
    result = snakemake(copy, *SMOKE, "config/large.yaml")
    assert result.returncode == 1
    log = (copy / "results/smoke/logs/check_text.log").read_text()
    assert re.search(r"the study needs 67,2\d\d,\d\d\d tokens of resources/smoke/tokens/train, which holds", log)
    assert not list((copy / "results/smoke/runs").glob("P67*"))


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
    monkeypatch.delenv("HF_HOME")
    monkeypatch.delenv("HF_HUB_OFFLINE")

    result = command(copy, study_command("--configfile", "config/hub.yaml"))
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
    (copy / "config/look.yaml").write_text(yaml.safe_dump({"figures": {"size": "talk"}}))
    other_look = snakemake(copy, "-n", *SMOKE, "config/swept.yaml", "config/look.yaml")
    assert "draw_figures" in other_look.stdout + other_look.stderr
    assert "Train " not in other_look.stdout + other_look.stderr


def test_a_search_finds_the_shape_that_pruned_and_scratch_runs_share(finished: tuple[Path, str], copy: Path) -> None:
    search = {"ratios": [0.5], "tokens": 2048, "max": 3}
    matrix = [{"methods": ["minitron_width"], "ratios": [0.5], "retrain": [4096], "full": [4096]}]
    overlay = {"targets": {"width": []}, "shape_search": search, "matrix": matrix}
    (copy / "config/searched.yaml").write_text(yaml.safe_dump(overlay))
    whole = snakemake(copy, *SMOKE, "config/searched.yaml")
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


LOGITS = """
import sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, out = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder).eval()
tokens = tokenizer("Shall I compare thee to a summer's day?", return_tensors="pt")["input_ids"]
with torch.no_grad():
    torch.save({"tokens": tokens, "logits": model(tokens).logits, "new": model.generate(tokens, max_new_tokens=4)}, out)
"""


@pytest.mark.parametrize(
    "run", ["P16.4k-seed0", "P16.4k-wanda-0.5-2of4-R8.19k-seed0", "P16.4k-minitron_width-0.5-seed0"]
)
def test_an_exported_run_loads_without_a_network_and_gives_the_same_logits(
    finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    import torch

    folder, out = finished[0], tmp_path / "exported"
    exported = pvs(folder, "export", "smoke", "--run", run, "--out", out)
    assert exported.returncode == 0, exported.stderr
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    found = []
    for number, place in enumerate((out, folder / f"results/smoke/runs/{run}/model")):
        file = tmp_path / f"{number}.pt"
        subprocess.run([sys.executable, "-c", LOGITS, str(place), str(file)], cwd=tmp_path, check=True)
        found.append(torch.load(file, weights_only=True))
    for name in ("tokens", "logits", "new"):
        assert torch.equal(found[0][name], found[1][name])
    card = (out / "README.md").read_text()
    assert str(folder) not in card
    results = pd.read_csv(folder / "results/smoke/results.csv").set_index(["run", "dataset", "metric"])
    score = results.loc[(run, "test", "loss")]
    assert f"| test | loss | {score['value']:.4f} | {score['stderr']:.4f} | 16 |" in card
    assert not list(out.glob(".*"))


def test_an_exported_sparse_model_keeps_its_mask(finished: tuple[Path, str], tmp_path: Path) -> None:
    from pruning_vs_scratch.models.tensors import load_tensors
    from pruning_vs_scratch.pruning.masks import read_masks

    out = tmp_path / "exported"
    exported = pvs(finished[0], "export", "smoke", "--out", out, "--run", "S8.19k-wanda-0.5-2of4-seed0")
    assert exported.returncode == 0, exported.stderr
    weights = load_tensors(out / "model.safetensors")
    masks = read_masks(out / "mask.safetensors")
    assert masks
    assert all(weights[name][~mask].count_nonzero() == 0 for name, mask in masks.items())
    assert "2:4 along the inputs" in (out / "README.md").read_text()
