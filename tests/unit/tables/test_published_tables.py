"""Printed tables say what the stored ones say, in three forms, and need no torch."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.tables.published.catalogue import PUBLISHED, ReportFolder, pages_of
from pruning_vs_scratch.tables.published.stored import MISSING, Stored, write
from pruning_vs_scratch.tables.reported import GRADES
from results_world import write_results
from synthetic_tables import BUDGETS, PARENT_TOKENS


@pytest.fixture
def stored(synthetic: Path, tmp_path: Path) -> Stored:
    """A results folder of a synthetic study, to change."""
    shutil.copytree(synthetic, tmp_path / "results")
    return Stored(tmp_path / "results")


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as it is made."""
    return write_results(tmp_path_factory.mktemp("synthetic") / "results").folder


def test_the_main_table_has_both_settings_of_every_comparison_in_a_row(stored: Stored) -> None:
    numbers = PUBLISHED["main"].make(stored).numbers
    gaps = stored.tables.gaps
    assert len(numbers) == (gaps["setting"] == "equal").sum()
    for setting in ("equal", "full"):
        expected = gaps[gaps["setting"] == setting]["gap"].tolist()
        assert numbers[f"gap_{setting}"].dropna().tolist() == expected
    printed = PUBLISHED["main"].make(stored).printed
    first = gaps.iloc[0]
    assert printed["gap"].iloc[0] == f"{first['gap']:+.3f} [{first['low']:+.3f}, {first['high']:+.3f}]"
    assert printed["gap, full budget"].iloc[0] == "–"
    assert printed["accuracy"].str.endswith("%").all()


def test_tasks_are_shown_with_guessing(stored: Stored) -> None:
    printed = PUBLISHED["tasks"].make(stored).printed
    assert printed["model"].iloc[0] == "chance"
    assert printed.loc[0, ["continuation", "last_word", "mean"]].tolist() == ["25.0", "25.0", "25.0"]
    assert len(printed) == len(stored.tables.runs) + 1
    assert not printed.isna().any(axis=None)


def test_the_full_budget_is_taken_apart(stored: Stored) -> None:
    numbers = PUBLISHED["accounting"].make(stored).numbers
    assert (
        numbers["tokens_pipeline"] == numbers[["tokens_parent", "tokens_prune", "tokens_retrain"]].sum(axis=1)
    ).all()
    assert set(numbers["tokens_parent"]) == {PARENT_TOKENS}
    assert len(numbers) == len(stored.tables.pairs)
    full = numbers[numbers["setting"] == "full"]
    assert (full["tokens_scratch"] == PARENT_TOKENS + max(BUDGETS)).all()


def test_what_a_shared_baseline_read_beyond_each_pipeline_is_shown(stored: Stored) -> None:
    pairs, ledger, runs = stored.tables.pairs, stored.ledger, stored.tables.runs
    full = pairs["setting"] == "full"
    shared = pairs.loc[full, "scratch"].iloc[0]
    ledger.loc[ledger["run"] == shared, "tokens_seen"] += 1500
    runs["tokens_prune"] = 200
    table = PUBLISHED["accounting"].make(stored)
    told = table.printed["beyond the pipeline"]
    assert set(told[~full]) == {"–"}
    assert set(told[full & (pairs["scratch"] == shared)]) == {"1,300"}
    assert table.numbers["tokens_beyond"].notna().tolist() == full.tolist()
    stored.tables.pairs.drop(pairs.index[full], inplace=True)
    assert "beyond the pipeline" not in PUBLISHED["accounting"].make(stored).printed


def test_search_ranges_and_values_are_shown(stored: Stored) -> None:
    table = PUBLISHED["hyperparameters"].make(stored).numbers.set_index("hyperparameter")
    assert table.loc["peak learning rate"].tolist() == ["0.003", "0.001, 0.003"]
    assert table.loc["sparsegpt: damping", "value"] == "0.01"
    tried = "72/136/6, 66/160/6, 84/104/3"
    assert table.loc["hidden size/neurons/heads of width-0.5"].tolist() == ["66/160/6", tried]
    assert table.loc["weight decay"].tolist() == ["0.1", "not searched"]


def test_pairs_with_two_learning_rates_are_distinguished(stored: Stored) -> None:
    accounting, hyperparameters = PUBLISHED["accounting"].make, PUBLISHED["hyperparameters"].make
    assert "peak_lr_scratch" not in accounting(stored).numbers
    assert hyperparameters(stored).title == "Hyperparameters, the same on both sides of every pair"
    pairs, ledger = stored.tables.pairs, stored.ledger
    sparse = pairs[pairs["granularity"] == "sparse"]
    ledger.loc[ledger["run"].isin(sparse["scratch"]), "peak_lr"] = 0.001
    ledger.to_csv(stored.folder / "ledger.csv", index=False)
    config = yaml.safe_load((stored.folder / "config.yaml").read_text())
    rule = {"runs": ["scratch"], "granularities": ["sparse"], "budgets": [32768, 65536], "peak": 0.001}
    config["training"] |= {"learning_rates": [rule]}
    config["training"]["optimizer"]["decay"] = "all"
    (stored.folder / "config.yaml").write_text(yaml.safe_dump(config))
    apart = Stored(stored.folder)
    printed = accounting(apart).printed
    assert set(printed["learning rate of retraining"]) == {"0.003"}
    assert (printed["learning rate of scratch"] == "0.001").tolist() == (pairs["granularity"] == "sparse").tolist()
    table = hyperparameters(apart)
    assert table.title.endswith(f"but for the peak learning rate of {len(sparse)} pairs out of {len(pairs)}")
    values = table.numbers.set_index("hyperparameter")["value"]
    assert values["peak learning rate (scratch; sparse; 32768 tokens, 65536 tokens)"] == "0.001"
    assert values["weight decay"] == "0.1, norms and biases too"


def test_size_and_speed_have_units_and_the_hardware(stored: Stored) -> None:
    published = PUBLISHED["efficiency"].make(stored)
    assert published.title.endswith("measured on A CPU")
    assert set(published.printed["prefill"]) == {"12.5 ms"}
    assert set(published.printed["parameters"]) == {"2M"}


def test_the_speed_of_skipped_zeros_is_listed_with_the_models_that_have_it(stored: Stored) -> None:
    file = stored.folder / "efficiency.csv"
    table = pd.read_csv(file)
    prefill = table["metric"] == "prefill_seconds"
    model = table.loc[prefill & (table["role"] == "pruned")].iloc[[0]]
    faster = model.assign(metric="prefill_seconds_skipping_zeros", value=0.01)
    pd.concat([table, faster]).to_csv(file, index=False)
    printed = PUBLISHED["efficiency"].make(Stored(stored.folder)).printed["prefill, zeros skipped"].tolist()
    assert printed.count("10 ms") == 1
    assert set(printed) == {"10 ms", MISSING}


def test_every_claim_has_a_line_with_its_verdict_and_reason(stored: Stored) -> None:
    printed = PUBLISHED["verdicts"].make(stored).printed
    assert printed.to_numpy().tolist() == [
        [claim["id"], claim["statement"], claim["verdict"], claim["reason"], claim["reported"]]
        for claim in stored.claims["claims"]
    ]
    assert dict(zip(printed["claim"], printed["verdict"], strict=True))["C1"] == "supported"


def test_the_overview_gives_a_published_parents_tokens_if_known(stored: Stored) -> None:
    file = stored.folder / "tables/runs.csv"
    runs = pd.read_csv(file)
    runs.loc[runs["role"] == "parent", "tokens_train"] = 0
    for tokens, said in ((10**12, "trained on 1T tokens"), (None, "published, number of training tokens unknown")):
        runs.loc[runs["role"] == "retrained", "tokens_parent"] = tokens
        runs.to_csv(file, index=False)
        facts = PUBLISHED["overview"].make(Stored(stored.folder)).printed.set_index("fact")["value"]
        assert facts["parent"] == said


def test_the_overview_counts_models_pairs_and_tokens(stored: Stored) -> None:
    facts = PUBLISHED["overview"].make(stored).printed.set_index("fact")["value"]
    runs, pairs = stored.tables.runs, stored.tables.pairs
    assert facts[["models", "matched pairs"]].tolist() == [str(len(runs)), str(len(pairs))]
    assert facts["pruned by"] == "ShortGPT, Minitron-width, Wanda, Wanda 2:4"
    assert facts["retraining"] == "32.8k, 65.5k, 131k tokens, and as many for scratch"
    assert facts["full budgets of scratch"] == "655k tokens"
    assert facts["read in all"] == f"{runs['tokens_train'].sum() / 1e6:.3g}M tokens, {7e9 * len(runs):.3g} FLOP"
    assert facts[["seeds", "time of all jobs"]].tolist() == ["0", "1 h 1 min"]


def test_the_papers_perplexities_are_next_to_the_studys(stored: Stored) -> None:
    published = PUBLISHED["reported"].make(stored)
    same, pruned, whole = published.numbers.set_index("model").to_dict("index").values()
    assert [row["paper_perplexity"] for row in (same, pruned, whole)] == [10.77, 9.41, 9.01]
    assert [row["paper_tokens"] for row in (same, pruned, whole)] == [50e9, 50e9, 250e9]
    assert published.printed["paper, grade"].tolist() == ["labelled"] * 3
    assert [row["study_tokens"] for row in (same, pruned, whole)] == [max(BUDGETS)] * 2 + [PARENT_TOKENS + max(BUDGETS)]
    losses = stored.tables.losses.groupby("run")["loss"].mean()
    for row, run in ((same, "S131k-depth-0.5-seed0"), (pruned, "P524k-shortgpt-0.5-R131k-seed0")):
        assert row["study_perplexity"] == pytest.approx(np.exp(losses[run]))
        assert row["study_low"] < row["study_perplexity"] < row["study_high"]
    assert "ShortGPT at ratio 0.5 in this study" in published.title


def test_a_study_without_depth_pruning_leaves_its_perplexities_open(stored: Stored) -> None:
    gaps = stored.tables.gaps
    gaps[gaps["granularity"] != "depth"].to_csv(stored.folder / "tables/gaps.csv", index=False)
    published = PUBLISHED["reported"].make(Stored(stored.folder))
    assert published.printed["study, test"].tolist() == ["–"] * 3
    assert published.printed["paper, WikiText-2"].tolist() == ["10.77", "9.41", "9.01"]
    assert "has no depth pruning" in published.title


def test_every_number_of_the_paper_is_listed_with_its_grade(stored: Stored) -> None:
    published = PUBLISHED["reported_numbers"].make(stored)
    reported = stored.tables.reported
    assert published.numbers["value"].tolist() == reported["value"].tolist()
    assert published.printed["grade"].tolist() == reported["precision"].tolist()
    lines = {" ".join(cells[:-1]) for cells in published.printed.astype(str).to_numpy()}
    assert {
        "mean zero-shot accuracy (%) FLAP 0.5 pruned and retrained 50B 66.5 secondary",
        "mean zero-shot accuracy (%) FLAP 0.5 from scratch 250B 65.1 secondary",
        "mean zero-shot accuracy (%) Wanda 0.5 pruned and retrained 50B 68.1 secondary",
        "mean zero-shot accuracy (%) Wanda 0.5 from scratch 250B 67.2 secondary",
        "mean zero-shot accuracy (%) SparseGPT 2:4 0.5 pruned and retrained 50B 66.7 labelled",
        "perplexity, wikitext103 Minitron-depth 0.813 pruned and retrained 50B 30.79 preliminary",
        "accuracy (%), hellaswag Minitron-depth 0.5 from scratch 50B 59.2 preliminary",
        "validation loss (nats per token) – 0 parent, unpruned 200B 2.4 read_off",
        "perplexity, c4 – 0 released Llama-3.1-8B, unpruned – 9.916 labelled",
    } < lines
    for meaning in GRADES.values():
        assert meaning in published.title


def test_provenance_names_time_memory_hardware_and_code_of_each_phase(stored: Stored) -> None:
    printed = PUBLISHED["provenance"].make(stored).printed
    assert printed.to_numpy().tolist() == [
        ["text", 2, "8 s", "5 s", "3.00 GB", "A CPU (x86_64), 2 cores", "0a0a0a0a0a0a"],
        ["retrain", 3, "1 h 1 min", "5 s", "3.00 GB", "A CPU (x86_64, AVX2), 2 cores, 2 x A GPU", "1b1b1b1b1b1b"],
    ]


def test_a_package_of_several_versions_has_a_line_for_each(stored: Stored) -> None:
    assert PUBLISHED["versions"].make(stored).printed.to_numpy().tolist() == [
        ["python", "3.11.7", "all"],
        ["torch", "2.12.0", "text"],
        ["torch", "2.13.0", "retrain"],
    ]


def test_columns_of_numbers_stand_on_the_right_and_long_text_is_broken(stored: Stored, tmp_path: Path) -> None:
    for name, columns in {
        "provenance": "lrrrrlr",
        "verdicts": r"lp{0.23\linewidth}lp{0.23\linewidth}p{0.23\linewidth}",
    }.items():
        write(PUBLISHED[name].make(stored), name, tmp_path)
        assert rf"\begin{{tabular}}{{{columns}}}" in (tmp_path / f"{name}.tex").read_text()
    assert set(PUBLISHED["verdicts"].make(stored).alignments) == {"left"}  # reasons begin with a number
    rule = (tmp_path / "provenance.md").read_text().splitlines()[3]
    assert [cell.endswith(":") for cell in rule.strip("|").split("|")] == [letter == "r" for letter in "lrrrrlr"]


def test_every_module_of_a_table_is_listed_and_the_report_explains_every_page_and_folder() -> None:
    folder = REPOSITORY / "workflow/scripts/pruning_vs_scratch/tables/published"
    assert {file.stem for file in folder.glob("*.py")} - {"__init__", "catalogue", "stored"} == set(PUBLISHED)
    assert all(page.caption.endswith(".") for page in pages_of(has_arms=True).values())
    first_page = (REPOSITORY / "workflow/report/workflow.rst").read_text(encoding="utf-8")
    assert re.findall(r'^    "(\d\. \w+)": ', first_page, re.MULTILINE) == list(ReportFolder)


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_table_is_written_in_three_forms(stored: Stored, name: str, tmp_path: Path) -> None:
    published = PUBLISHED[name].make(stored)
    write(published, name, tmp_path / "out")
    csv, markdown, latex = ((tmp_path / f"out/{name}.{kind}").read_text() for kind in ("csv", "md", "tex"))
    assert len(csv.splitlines()) == len(published.numbers) + 1
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(rows) == len(published.printed) + 2
    assert latex.count(r"\\") == len(published.printed) + 1
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert latex.count(rule) == 1
    body = latex.replace(r"\_", "").replace(r"\%", "").replace(r"\&", "")
    assert "_" not in body
    assert "%" not in body


def test_tables_are_printed_without_torch(stored: Stored, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not needed here')")
    command = [sys.executable, str(REPOSITORY / "workflow/scripts/publish_tables.py"), "--results", str(stored.folder)]
    environment = {"PYTHONPATH": str(tmp_path)}
    subprocess.run([*command, "--out", str(tmp_path / "out")], env=environment, check=True, capture_output=True)
    assert len(list((tmp_path / "out").iterdir())) == 3 * len(PUBLISHED)


def test_a_missing_table_says_what_to_run(stored: Stored) -> None:
    (stored.folder / "ledger.csv").unlink()
    with pytest.raises(UserError, match=r"cannot read .*ledger\.csv"):
        PUBLISHED["accounting"].make(stored)
