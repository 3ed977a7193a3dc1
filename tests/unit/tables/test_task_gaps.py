"""Differences in accuracy are paired by item, over clusters, over seeds, and quoted by the paper's metrics."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.tables.gaps import GapGroup, gap_groups
from pruning_vs_scratch.tables.items import HEADLINE, TASK_MEAN, chance_rows, task_mean_rows, task_rows
from pruning_vs_scratch.tables.load import COLUMNS
from pruning_vs_scratch.tables.task_gaps import task_gap_table
from synthetic_tables import item_table, write_tables

SETTINGS = ClaimsConfig(resamples=300)
TASKS = {"piqa": ("acc_norm", 80), "sciq": ("acc", 40)}


def group(folder: Path, seeds: tuple[int, ...] = (0,)) -> GapGroup:
    """One comparison at equal budgets."""
    tables = write_tables(folder, seeds=seeds, methods=[("wanda", "unstructured")], ratios=[0.5], budgets=[32768])
    [found] = [group for group in gap_groups(tables, "test") if group.setting == "equal"]
    return found


def answers(group: GapGroup, gain: float = 0.3, shots: int = 0) -> pd.DataFrame:
    """Items of two tasks, of which a pruned model answers a share that its baseline does not."""
    rng = np.random.default_rng(0)
    parts = []
    for task, (metric, count) in TASKS.items():
        for pruned, scratch in zip(group.retrained, group.scratch, strict=True):
            plain = rng.random(count) < 0.4
            better = plain | (rng.random(count) < gain)
            for run, right in ((pruned, better), (scratch, plain)):
                parts.append(item_table(run, task, right, metric=metric, shots=shots))
                parts.append(item_table(run, task, ~right, metric="acc" if metric == "acc_norm" else "acc_norm"))
    return pd.concat(parts, ignore_index=True)


def test_differences_are_paired_and_quote_the_papers_metric(tmp_path: Path) -> None:
    compared = group(tmp_path)
    items = answers(compared)
    table = task_gap_table([compared], items, SETTINGS).set_index("dataset")
    assert list(table.columns) == [column for column in COLUMNS["task_gaps.csv"] if column != "dataset"]
    for task, (metric, count) in TASKS.items():
        quoted = items[(items["task"] == task) & (items["metric"] == metric)]
        wide = quoted.pivot(index="item", columns="run", values="score")
        differences = wide[compared.retrained[0]] - wide[compared.scratch[0]]
        row = table.loc[task]
        assert (row["metric"], row["items"], row["clusters"], row["seeds"]) == (metric, count, count, 1)
        assert row["difference"] == pytest.approx(differences.mean())
        assert row["accuracy_retrained"] == pytest.approx(wide[compared.retrained[0]].mean())
        assert row["p_value"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
        assert row["low"] < row["difference"] < row["high"]
    mean = table.loc[TASK_MEAN]
    assert (mean["metric"], mean["items"], mean["chance"]) == (HEADLINE, 120, 0.25)
    assert mean["difference"] == pytest.approx(table.loc[list(TASKS), "difference"].mean())
    assert 0 < mean["low"] < mean["high"]


def test_few_shot_scores_have_rows_of_their_own_and_no_part_in_the_mean(tmp_path: Path) -> None:
    compared = group(tmp_path)
    zero, few = answers(compared), answers(compared, gain=0.9, shots=5)
    both = pd.concat([zero, few[few["shots"] == 5]], ignore_index=True)
    table, alone = (task_gap_table([compared], items, SETTINGS).set_index("dataset") for items in (both, zero))
    assert set(table.index) == {"piqa", "sciq", "piqa@5shot", "sciq@5shot", TASK_MEAN}
    pd.testing.assert_frame_equal(table.loc[alone.index], alone)
    assert table.loc["piqa@5shot", "difference"] > table.loc["piqa", "difference"]


def test_in_domain_scores_are_marked_and_count_in_the_mean(tmp_path: Path) -> None:
    compared = group(tmp_path)
    items = answers(compared)
    plain = task_gap_table([compared], items, SETTINGS).set_index("dataset")
    named = task_gap_table([compared], items.assign(in_domain=items["task"] == "sciq"), SETTINGS).set_index("dataset")
    assert set(named.index) == {"piqa", "sciq@in-domain", TASK_MEAN}
    pd.testing.assert_frame_equal(named.rename(index={"sciq@in-domain": "sciq"}).loc[plain.index], plain)


def test_items_of_one_passage_count_as_one(tmp_path: Path) -> None:
    compared = group(tmp_path)
    items = answers(compared)
    doubled = pd.concat([items, items.assign(item=items["item"] + 1000)], ignore_index=True)
    once, twice = (task_gap_table([compared], table, SETTINGS).set_index("dataset") for table in (items, doubled))
    for column in ("difference", "low", "high", "p_value", "clusters"):
        assert twice.loc["piqa", column] == pytest.approx(once.loc["piqa", column])
    assert twice.loc["piqa", "items"] == 160
    rows = [task_rows(table).set_index(["run", "dataset", "metric"])["stderr"] for table in (items, doubled)]
    pd.testing.assert_series_equal(*rows)


def test_several_seeds_widen_the_interval_to_other_seeds(tmp_path: Path) -> None:
    compared = group(tmp_path, seeds=(0, 1, 2))
    items = answers(compared)
    row = task_gap_table([compared], items, SETTINGS).set_index("dataset").loc["piqa"]
    assert (row["seeds"], row["items"]) == (3, 80)
    assert row["low"] < row["difference"] < row["high"]


def test_a_run_that_lacks_items_is_named(tmp_path: Path) -> None:
    compared = group(tmp_path)
    items = answers(compared)
    last = (items["run"] == compared.scratch[0]) & (items["item"] == 3) & (items["task"] == "sciq")
    with pytest.raises(UserError, match=rf"run {compared.scratch[0]} was not scored on all items of sciq"):
        task_gap_table([compared], items[~last], SETTINGS)


def test_a_study_without_tasks_has_an_empty_table(tmp_path: Path) -> None:
    empty = pd.DataFrame(columns=list(COLUMNS["items.parquet"]))
    assert task_gap_table([group(tmp_path)], empty, SETTINGS).empty


def test_means_and_guesses_are_over_zero_shot_tasks_alone(tmp_path: Path) -> None:
    compared = group(tmp_path)
    items = answers(compared)
    items.loc[items["task"] == "piqa", "chance"] = 0.5
    few = items[items["task"] == "sciq"].assign(shots=5, score=1.0)
    both = pd.concat([items, few], ignore_index=True)
    pd.testing.assert_frame_equal(task_mean_rows(both), task_mean_rows(items))
    guesses = chance_rows(both).set_index(["dataset", "metric"])["value"]
    assert guesses["piqa", "acc_norm"] == 0.5
    assert guesses["sciq@5shot", "acc"] == 0.25
    assert guesses[TASK_MEAN, HEADLINE] == 0.375
