"""Verdicts are right where the truth is known."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import state_claims as state_claims_script
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import read_json
from pruning_vs_scratch.tables.claims import state_claims
from pruning_vs_scratch.tables.claims_text import claims_markdown, steps_text
from pruning_vs_scratch.tables.gaps import gap_groups, gap_table, series_label
from pruning_vs_scratch.tables.items import mean_accuracy
from pruning_vs_scratch.tables.load import Tables
from pruning_vs_scratch.tables.reported import reported_table
from pruning_vs_scratch.tables.reported_claims import with_reported
from pruning_vs_scratch.tables.summary import WIDTH, duration, summary
from synthetic_tables import BUDGETS, METHODS, Gap, paper_gap, write_tables

SETTINGS = ClaimsConfig(resamples=200)
REPORTED = reported_table(REPOSITORY / "config/reported.csv")
NOTHING_SPARSE = [key for key, granularity in METHODS.items() if granularity != "sparse"]


def judged(tables: Tables) -> dict[str, dict[str, Any]]:
    value = state_claims("demo", gap_groups(tables, "test"), SETTINGS)
    return {claim["id"]: claim for claim in json.loads(json.dumps(value, allow_nan=False))["claims"]}


def verdicts(tables: Tables) -> dict[str, str]:
    return {name: claim["verdict"] for name, claim in judged(tables).items()}


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_all_claims_are_supported_where_all_are_true(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    claims = judged(write_tables(tmp_path, seeds=seeds, noise=0.0005))
    assert {claim["verdict"] for claim in claims.values()} == {"supported"}
    assert list(claims) == ["C1", "C2", "C3", "C3-vanishing", "C4"]
    assert claims["C4"]["falsification"]["met"] == "no"
    assert all(claim["seeds"] == len(seeds) for claim in claims.values())


def scratch_wins(setting: str, granularity: str, ratio: float, budget: int) -> float:
    return -0.1 if granularity == "sparse" else paper_gap(setting, granularity, ratio, budget)


def gap_grows_with_budget(setting: str, granularity: str, ratio: float, budget: int) -> float:
    return 0.1 + budget / max(BUDGETS) if setting == "equal" else paper_gap(setting, granularity, ratio, budget)


def gap_grows_with_ratio(setting: str, granularity: str, ratio: float, budget: int) -> float:
    return ratio if setting == "equal" else paper_gap(setting, granularity, ratio, budget)


def sparse_is_surpassed(setting: str, granularity: str, ratio: float, budget: int) -> float:
    return -0.1 if setting == "full" else paper_gap(setting, granularity, ratio, budget)


def depth_keeps_advantage(setting: str, granularity: str, ratio: float, budget: int) -> float:
    return 0.1 if setting == "full" else paper_gap(setting, granularity, ratio, budget)


def advantage_falls_with_fineness(setting: str, granularity: str, ratio: float, budget: int) -> float:
    """Depth is matched and sparsity keeps an advantage, but width keeps a far larger one."""
    kept = {"depth": -0.05, "width": 2.0, "sparse": 0.05}
    return kept[granularity] if setting == "full" else paper_gap(setting, granularity, ratio, budget)


def width_keeps_advantage(setting: str, granularity: str, ratio: float, budget: int) -> float:
    return 0.1 if (setting, granularity) == ("full", "width") else paper_gap(setting, granularity, ratio, budget)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gap", "contradicted"),
    [
        (scratch_wins, {"C1", "C3-vanishing", "C4"}),
        (gap_grows_with_budget, {"C2", "C3-vanishing"}),
        (gap_grows_with_ratio, {"C3", "C3-vanishing"}),
        (sparse_is_surpassed, {"C4"}),
        (depth_keeps_advantage, {"C4"}),
        (advantage_falls_with_fineness, {"C4"}),
        (width_keeps_advantage, set()),
    ],
)
def test_each_false_claim_is_contradicted(tmp_path: Path, gap: Gap, contradicted: set[str]) -> None:
    found = verdicts(write_tables(tmp_path, gap))
    assert {name for name, verdict in found.items() if verdict == "contradicted"} == contradicted


def test_granularities_between_the_finest_and_the_coarsest_are_shown_but_not_judged(tmp_path: Path) -> None:
    claim = judged(write_tables(tmp_path, width_keeps_advantage))["C4"]
    rows = {row["label"]: row for row in claim["comparisons"]}
    shown = {label for label, row in rows.items() if row["decision"] == "not judged"}
    assert shown == {f"{name}, 131k tokens" for name in ("Minitron-width 0.5", "Minitron-width 0.75", "Wanda 2:4 0.5")}
    assert all(rows[label]["p_holm"] is None for label in shown)
    assert rows["Minitron-width 0.5, 131k tokens"]["effect"] == pytest.approx(0.1, abs=0.01)
    assert rows["ShortGPT 0.5, 131k tokens"]["expected"] == "< 0.02"
    assert rows["Wanda 0.5, 131k tokens"]["expected"] == "> 0"


def test_the_rise_with_fineness_is_the_slope_on_the_rank(tmp_path: Path) -> None:
    tables = write_tables(tmp_path, noise=0.1)
    rows = {row["label"]: row for row in judged(tables)["C4"]["comparisons"]}
    gaps = gap_table(gap_groups(tables, "test"), SETTINGS)
    full = gaps[(gaps["setting"] == "full") & (gaps["ratio"] == 0.5)].set_index(["method", "pattern"])["gap"]
    ranks = {
        ("shortgpt", "dense"): 0,
        ("minitron_width", "dense"): 1,
        ("wanda", "2:4"): 2,
        ("wanda", "unstructured"): 3,
    }
    slope, _ = np.polyfit(list(ranks.values()), [full[key] for key in ranks], 1)
    assert rows["ratio 0.5, 131k tokens, 4 methods"]["effect"] == pytest.approx(slope)
    assert rows["ratio 0.75, 131k tokens, 3 methods"]["expected"] == "> 0"


def test_the_range_of_effects_is_that_of_gaps_even_if_none_is_judged(tmp_path: Path) -> None:
    tables = write_tables(tmp_path, methods=[("minitron_width", "dense"), ("wanda", "2:4")])
    text = claims_markdown(with_reported(state_claims("demo", gap_groups(tables, "test"), SETTINGS), REPORTED))
    (found,) = (line for line in text.split("## C4")[1].splitlines() if "The gaps run from" in line)
    assert "methods)" not in found


def test_each_doubling_is_listed_with_the_slope(tmp_path: Path) -> None:
    """A trend that ends is seen: the second step is flat."""
    gaps = dict(zip(BUDGETS, (0.5, 0.3, 0.3), strict=True))
    tables = write_tables(tmp_path, lambda setting, granularity, ratio, budget: gaps[budget], noise=0.0005)
    value = state_claims("demo", gap_groups(tables, "test"), SETTINGS)
    row = next(claim for claim in value["claims"] if claim["id"] == "C2")["comparisons"][0]
    assert [step["change"] for step in row["steps"]] == pytest.approx([-0.2, 0.0], abs=0.001)
    assert row["effect"] == pytest.approx(-0.1, abs=0.001)
    text = claims_markdown(with_reported(value, REPORTED))
    assert f"| {steps_text(row['steps'])} |" in text
    assert steps_text(row["steps"]).startswith("32.8k to 65.5k -0.2")


def test_falsification_is_met_only_if_scratch_matches_every_pruned_model(tmp_path: Path) -> None:
    beaten = judged(write_tables(tmp_path / "all", sparse_is_surpassed))["C4"]
    assert beaten["falsification"]["met"] == "yes"
    assert "condition for falsifying the claim is met" in beaten["reason"]
    some = judged(write_tables(tmp_path / "some", depth_keeps_advantage))["C4"]
    assert some["falsification"]["met"] == "no"


def test_a_lead_that_was_never_there_cannot_shrink(tmp_path: Path) -> None:
    """Scratch leads, and by more with each budget: the slope is as claimed, but no advantage shrinks."""
    tables = write_tables(tmp_path, lambda setting, granularity, ratio, budget: -budget / 1e6)
    claim = judged(tables)["C2"]
    assert claim["verdict"] == "inconclusive"
    assert "no advantage to begin with" in claim["reason"]


@pytest.mark.slow
def test_noise_rarely_decides_anything(tmp_path: Path) -> None:
    decided = 0
    for i in range(8):
        tables = write_tables(tmp_path / str(i), lambda *_: 0.0, noise=0.3, sequences=40, rng_seed=i)
        found = verdicts(tables)
        assert "supported" not in found.values()
        decided += sum(verdict == "contradicted" for verdict in found.values())
    assert decided <= 2  # of 40, at a family-wise level of 5 % each


@pytest.mark.parametrize(
    ("options", "claim", "reason"),
    [
        ({"budgets": BUDGETS[:1]}, "C2", "at least two budgets"),
        ({"ratios": [0.5]}, "C3", "at least two ratios"),
        ({"ratios": [0.5]}, "C3-vanishing", "at least two ratios"),
        ({"methods": NOTHING_SPARSE}, "C4", "no unstructured sparse model"),
        ({"methods": [("shortgpt", "dense"), ("wanda", "2:4")]}, "C4", "no unstructured sparse model"),
        ({"methods": [("wanda", "unstructured"), ("minitron_width", "dense")]}, "C4", "no depth model"),
        ({"full": False}, "C4", "no scratch baselines at the full pipeline budget"),
    ],
)
def test_a_study_without_what_a_claim_needs_is_inconclusive(
    tmp_path: Path, options: dict[str, Any], claim: str, reason: str
) -> None:
    found = judged(write_tables(tmp_path, **options))[claim]
    assert found["verdict"] == "inconclusive"
    assert reason in found["reason"]


def test_a_study_without_pairs_is_inconclusive_throughout(tmp_path: Path) -> None:
    tables = write_tables(tmp_path)
    pairs = tables.pairs.iloc[:0]
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    value = state_claims("demo", gap_groups(Tables(tmp_path), "test"), SETTINGS)
    assert {claim["verdict"] for claim in value["claims"]} == {"inconclusive"}
    assert "## C1: inconclusive" in claims_markdown(with_reported(value, REPORTED))


def test_different_seeds_along_a_trend_are_an_error(tmp_path: Path) -> None:
    tables = write_tables(tmp_path, seeds=(0, 1))
    lost = (tables.pairs["seed"] == 1) & (tables.pairs["budget"] == BUDGETS[0])
    tables.pairs[~lost].to_csv(tmp_path / "pairs.csv", index=False)
    with pytest.raises(UserError, match="different seeds"):
        judged(Tables(tmp_path))


def test_gap_table_averages_seeds_and_names_its_runs(tmp_path: Path) -> None:
    tables = write_tables(tmp_path, seeds=(0, 1))
    table = gap_table(gap_groups(tables, "test"), SETTINGS)
    row = table[(table["method"] == "wanda") & (table["pattern"] == "2:4") & (table["budget"] == BUDGETS[0])].iloc[0]
    losses = tables.losses.groupby("run")["loss"].mean()
    scratch, retrained = row["scratch"].split(";"), row["retrained"].split(";")
    assert (len(scratch), row["seeds"]) == (2, 2)
    assert row["gap"] == pytest.approx(losses[scratch].mean() - losses[retrained].mean())
    assert row["gap"] == pytest.approx(row["loss_scratch"] - row["loss_retrained"])
    assert row["low"] < row["gap"] < row["high"]


def with_pairs(tables: Tables, pairs: pd.DataFrame, folder: Path) -> Tables:
    """The same losses with other pairs."""
    folder.mkdir()
    tables.losses.to_parquet(folder / "losses.parquet")
    pairs.to_csv(folder / "pairs.csv", index=False)
    return Tables(folder)


def chain_fails(setting: str, granularity: str, ratio: float, budget: int) -> float:
    return -1.0 if granularity == "width" else paper_gap(setting, granularity, ratio, budget)


def test_chains_are_shown_but_not_judged(tmp_path: Path) -> None:
    """Width pruning in these tables stands in for a chain, which would contradict the claims if it counted."""
    tables = write_tables(tmp_path / "all", chain_fails)
    assert judged(tables)["C1"]["verdict"] == "contradicted"
    pairs = tables.pairs.copy()
    chain = pairs["granularity"] == "width"
    pairs.loc[chain, ["granularity", "method"]] = ["hybrid", "minitron_depth+minitron_width"]
    chained = with_pairs(tables, pairs, tmp_path / "chained")
    without = with_pairs(tables, pairs[~chain], tmp_path / "without")
    assert judged(chained) == judged(without)
    assert judged(chained)["C1"]["verdict"] == "supported"
    table = gap_table(gap_groups(chained, "test"), SETTINGS)
    shown = table[table["method"] == "minitron_depth+minitron_width"]
    assert (len(shown), set(shown["granularity"])) == (int(chain.sum()), {"hybrid"})
    assert (shown["gap"] < -0.9).all()


def test_chains_come_last_in_the_gap_table_of_a_setting(tmp_path: Path) -> None:
    tables = write_tables(tmp_path / "all")
    pairs = tables.pairs.copy()
    pairs.loc[pairs["granularity"] == "depth", ["granularity", "method"]] = ["hybrid", "a+b"]
    groups = gap_groups(with_pairs(tables, pairs, tmp_path / "chained"), "test")
    for setting in ("equal", "full"):
        shown = [group.granularity for group in groups if group.setting == setting]
        assert list(dict.fromkeys(shown)) == ["width", "sparse", "hybrid"]


def test_rewound_baselines_are_shown_but_not_judged(tmp_path: Path) -> None:
    tables = write_tables(tmp_path / "all")
    equal = tables.pairs[tables.pairs["setting"] == "equal"]
    swapped = equal.rename(columns={"retrained": "scratch", "scratch": "retrained"}).assign(setting="rewind")
    rewound = with_pairs(tables, pd.concat([tables.pairs, swapped]), tmp_path / "rewound")
    assert judged(rewound) == judged(tables)
    table = gap_table(gap_groups(rewound, "test"), SETTINGS).set_index("setting")
    gaps = table["gap"]
    assert gaps["rewind"].to_numpy() == pytest.approx(-gaps["equal"].to_numpy())


@pytest.mark.parametrize(
    ("method", "pattern", "label"),
    [
        ("shortgpt", "dense", "ShortGPT"),
        ("sheared_llama", "dense", "Sheared-LLaMA"),
        ("minitron_depth+wanda", "unstructured", "Minitron-depth + Wanda"),
        ("shortgpt+minitron_width+sparsegpt", "2:4", "ShortGPT + Minitron-width + SparseGPT 2:4"),
        ("own+wanda", "4:8", "own + Wanda 4:8"),
    ],
)
def test_a_series_is_called_by_all_its_methods(method: str, pattern: str, label: str) -> None:
    assert series_label(method, pattern) == label


def spoil(tables: Tables, how: str) -> str:
    losses, run = tables.losses.copy(), tables.pairs["retrained"].iloc[0]
    mine = losses["run"] == run
    if how == "missing":
        losses = losses[~mine]
    elif how == "short":
        losses = losses[~(mine & (losses["sequence"] == 3))]
    else:
        losses.loc[mine & (losses["sequence"] == 3), "loss"] = np.nan
    losses.to_parquet(tables.folder / "losses.parquet")
    return run


@pytest.mark.parametrize(
    ("how", "message"), [("missing", "has no losses"), ("short", "where other runs have"), ("nan", "not finite")]
)
def test_incomplete_evaluations_name_the_run(tmp_path: Path, how: str, message: str) -> None:
    run = spoil(write_tables(tmp_path), how)
    with pytest.raises(UserError, match=message) as error:
        gap_groups(Tables(tmp_path), "test")
    assert run in str(error.value)


def test_missing_table_and_column_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pairs\.csv is missing"):
        _ = Tables(tmp_path).pairs
    pd.DataFrame({"setting": ["equal"]}).to_csv(tmp_path / "pairs.csv", index=False)
    with pytest.raises(UserError, match="lacks the columns method"):
        _ = Tables(tmp_path).pairs


def test_text_gives_every_verdict_and_says_what_the_intervals_cover(tmp_path: Path) -> None:
    value = state_claims("demo", gap_groups(write_tables(tmp_path), "test"), SETTINGS)
    text = claims_markdown(with_reported(value, REPORTED))
    for claim in value["claims"]:
        assert f"## {claim['id']}: {claim['verdict']}" in text
        for comparison in claim["comparisons"]:
            assert f"{comparison['effect']:+.3f}" in text
    assert "evaluation sequences only" in text


def run_script(script: Any, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
    script.main()


@pytest.mark.slow
def test_entry_points_write_claims_and_print_a_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tables(tmp_path / "tables", items=True)
    shutil.copy(REPOSITORY / "config/reported.csv", tmp_path / "tables/reported.csv")
    settings = SETTINGS.model_dump_json()
    (tmp_path / "times.csv").write_text("phase,seconds\ntext,0.2\nprune,9.6\nretrain,61.2\n")
    run_script(state_claims_script, monkeypatch, "--results", tmp_path, "--study", "demo", "--settings", settings)
    printed = summary(
        Tables(tmp_path / "tables"), read_json(tmp_path / "claims.json"), pd.read_csv(tmp_path / "times.csv"),
        Path("figures/demo"), Path("results/demo/report.html"), 95,
    )  # fmt: skip
    assert max(map(len, printed.splitlines())) <= WIDTH
    for expected in (
        "C4 ",
        "Wanda 2:4",
        "Jobs     retrain 1 min 1 s, prune 10 s\n",
        "Mean accuracy, 0-shot, over 2 tasks",
        "figures/demo",
        "1 min 35 s",
    ):
        assert expected in printed


def test_wrong_settings_are_a_readable_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--settings"):
        run_script(
            state_claims_script, monkeypatch, "--results", tmp_path, "--study", "demo", "--settings", '{"level": 1}'
        )


def test_mean_accuracy_takes_each_tasks_headline_metric_zero_shot() -> None:
    rows = [
        ("a", "piqa", "acc", 0, 0.0),
        ("a", "piqa", "acc_norm", 0, 1.0),
        ("a", "sciq", "acc", 0, 0.5),
        ("a", "sciq", "acc", 5, 0.0),
    ]
    items = pd.DataFrame(rows, columns=["run", "task", "metric", "shots", "score"])
    assert mean_accuracy(items)["a"] == 0.75


@pytest.mark.parametrize(("seconds", "text"), [(45.2, "45 s"), (571, "9 min 31 s"), (7500, "2 h 5 min")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
