"""The sentences above figures: true of the numbers that they are made from, whatever these are."""

import subprocess
import sys
from math import nan
from typing import Any

import pandas as pd
import pytest

from pruning_vs_scratch.figures import findings, words
from pruning_vs_scratch.figures.words import Interval
from pruning_vs_scratch.tables.items import TASK_MEAN

Row = dict[str, Any]


def compared(*rows: tuple[str, str, int, float], half: float = 0.01, **facts: Any) -> pd.DataFrame:
    """Comparisons by setting, method, budget and gap, with intervals of one half-width; NaN: without intervals."""
    columns = ["setting", "method", "budget", "gap"]
    table = pd.DataFrame(rows, columns=columns).assign(pattern="dense", ratio=0.5, granularity="depth")
    return table.assign(low=table["gap"] - half, high=table["gap"] + half, **facts)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (-0.0, "0"), (0.0004, "0"), (-0.0004, "0"), (0.0126, "0.013"), (0.632, "0.63"), (-0.25, "-0.25"),
        (1.196, "1.2"), (9.96, "10.0"), (12.4, "12"), (123.4, "123"),
    ],
)  # fmt: skip
def test_numbers_have_two_digits_that_count(value: float, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("interval", "sign"),
    [
        ((0.1, 0.05, 0.2), 1), ((-0.1, -0.2, -0.05), -1), ((0.1, -0.05, 0.2), 0), ((0.1, 0.0, 0.2), 0),
        ((0.1, nan, nan), 1), ((-0.1, nan, nan), -1), ((0.0, nan, nan), 0),
    ],
)  # fmt: skip
def test_a_side_leads_where_the_whole_interval_is_on_its_side_of_zero(
    interval: tuple[float, float, float], sign: int
) -> None:
    assert Interval(*interval).sign == sign


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (Interval(1.2, 1.1, 1.3), Interval(0.4, 0.3, 0.5), "falls from 1.2 to 0.40"),
        (Interval(0.4, 0.3, 0.5), Interval(1.2, 1.1, 1.3), "rises from 0.40 to 1.2"),
        (Interval(0.4, 0.3, 0.5), Interval(-0.1, -0.2, 0.0), "falls from 0.40 to -0.10"),
        (Interval(1.2, 0.9, 1.5), Interval(1.0, 0.8, 1.2), "stays near 1.1"),
        (Interval(1.2, nan, nan), Interval(1.0, nan, nan), "falls from 1.2 to 1.0"),
        (Interval(1.21, 1.209, 1.211), Interval(1.22, 1.219, 1.221), "stays near 1.2"),
    ],
)
def test_a_change_is_told_where_intervals_do_not_overlap(first: Interval, last: Interval, text: str) -> None:
    assert words.change(first, last) == text


@pytest.mark.parametrize(
    ("gaps", "text"),
    [
        ([1.0], "pruned leads"),
        ([-1.0], "scratch leads"),
        ([0.0], "neither side leads"),
        ([1.0, 2.0], "pruned leads in all 2 comparisons"),
        ([-1.0, -2.0], "scratch leads in all 2 comparisons"),
        ([0.0, 0.0], "neither side leads in any of 2 comparisons"),
        ([1.0, 0.0, -1.0], "pruned leads in 1 of 3 comparisons, scratch in 1"),
        ([1.0, 0.0], "pruned leads in 1 of 2 comparisons, scratch in none"),
        ([-1.0, 0.0], "pruned leads in none of 2 comparisons, scratch in 1"),
    ],
)
def test_a_tally_counts_both_sides(gaps: list[float], text: str) -> None:
    assert words.tally([Interval(gap, gap - 0.5, gap + 0.5) for gap in gaps]) == text


def test_lists_and_runs_of_numbers_read_naturally() -> None:
    assert [words.listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert words.named(["a", "b"], "many") == "a and b"
    assert words.named(["a", "b", "c", "d"], "many") == words.named(["a", "a"], "many") == "many"
    assert words.runs_of([9, 3, 4, 5]) == "3-5, 9"
    assert words.span([2.0, 0.5, 1.0]) == "0.50 to 2.0"
    assert words.span([0.501, 0.502]) == "0.50"


ONE, TWO = 32768, 65536


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([("equal", "a", ONE, 1.2), ("equal", "a", TWO, 0.4)],
         "At equal tokens, pruned leads at every budget; the gap falls from 1.2 to 0.40 nats"),
        ([("equal", "a", ONE, 1.0), ("equal", "b", ONE, 1.4), ("equal", "a", TWO, 0.3), ("equal", "b", TWO, 0.5),
          ("equal", "late", TWO, 9.0)],
         "At equal tokens, pruned leads at every budget; the mean gap falls from 1.2 to 0.40 nats"),
        ([("equal", "a", ONE, -1.2), ("equal", "a", TWO, -1.2)],
         "At equal tokens, scratch leads at every budget; the gap stays near -1.2 nats"),
        ([("equal", "a", ONE, 0.5), ("equal", "a", TWO, -0.5)],
         "At equal tokens, pruned leads in 1 of 2 comparisons, scratch in 1; the gap falls from 0.50 to -0.50 nats"),
        ([("equal", "a", ONE, 0.005), ("equal", "b", TWO, 0.001)],
         "At equal tokens, neither side leads at any budget; the gaps are 0.001 to 0.005 nats"),
        ([("equal", "a", ONE, 0.5)], "At equal tokens, pruned leads at 32.8k tokens; the gap is 0.50 nats"),
        ([("equal", "a", ONE, 0.5), ("full", "a", ONE, -0.5)],
         "At equal tokens, pruned leads at 32.8k tokens; the gap is 0.50 nats. "
         "On the whole pipeline's tokens, scratch leads"),
        ([("full", "a", ONE, 0.0)], "On the whole pipeline's tokens, neither side leads"),
        ([], ""),
    ],
)  # fmt: skip
def test_the_answer(rows: list[tuple[str, str, int, float]], text: str) -> None:
    assert findings.answer(compared(*rows)) == text


def test_without_intervals_the_sign_of_the_gap_counts() -> None:
    rows = compared(("equal", "a", ONE, 0.005), ("equal", "a", TWO, 0.003), half=nan)
    assert findings.answer(rows).startswith("At equal tokens, pruned leads at every budget; the gap falls")


@pytest.mark.parametrize(
    ("losses", "text"),
    [
        ([(3.2, 4.0)],
         "After 65.5k tokens, pruned models are 0.20 nats above the parent, scratch is 1.0 nats above it"),
        ([(2.8, 3.0)], "After 65.5k tokens, pruned models are 0.20 nats below the parent, scratch is level with it"),
        ([(3.2, 4.0), (3.4, 5.0)],
         "After 65.5k tokens, pruned models are on average 0.30 nats above the parent, scratch is 1.5 nats above it"),
    ],
)  # fmt: skip
def test_how_near_both_sides_come_to_the_parent(losses: list[tuple[float, float]], text: str) -> None:
    rows = pd.DataFrame(losses, columns=["loss_retrained", "loss_scratch"]).assign(loss_parent=3.0, budget=TWO)
    earlier = rows.assign(budget=ONE, loss_retrained=9.0)
    assert findings.token_budget(pd.concat([earlier, rows])) == text


@pytest.mark.parametrize(
    ("losses", "text"),
    [
        ([(3.2, 3.1)], "scratch is 0.10 nats above the parent; the pruned model is 0.20 nats above it"),
        ([(3.2, 2.9), (2.8, 2.7)], "scratch is on average 0.20 nats below the parent; pruned models are level with it"),
    ],
)
def test_how_close_scratch_on_the_whole_pipelines_tokens_comes(losses: list[tuple[float, float]], text: str) -> None:
    rows = pd.DataFrame(losses, columns=["loss_retrained", "loss_scratch"]).assign(loss_parent=3.0)
    assert findings.full_budget(rows) == f"On the whole pipeline's tokens, {text}"
    assert findings.full_budget(rows.iloc[:0]) == ""


@pytest.mark.parametrize(
    ("gaps", "text"),
    [
        ((0.1, -0.1, -0.1, 0.1, 0.0), "pruned leads in depth, scratch in width, methods disagree in sparse"),
        ((-0.1, 0.0, 0.0, 0.1, 0.1), "pruned leads in sparse, scratch in depth, neither side in width"),
        ((-0.1, -0.1, -0.1, -0.1, -0.1), "scratch leads in depth, width and sparse"),
        ((0.0, 0.1, 0.1, 0.0, 0.0), "pruned leads in width, neither side in depth and sparse"),
        ((0.0, 0.1, 0.0, 0.1, 0.0), "neither side leads in depth, methods disagree in width and sparse"),
    ],
)
def test_the_answer_tells_at_which_granularities_a_side_leads(gaps: tuple[float, ...], text: str) -> None:
    rows = compared(*[("full", name, ONE, gap) for name, gap in zip("abcde", gaps, strict=True)])
    rows["granularity"] = ["depth", "width", "width", "sparse", "sparse"]
    assert findings.answer(rows) == f"On the whole pipeline's tokens, {text}"


def test_where_all_methods_disagree_there_is_no_comma_before() -> None:
    rows = compared(*[("full", name, ONE, gap) for name, gap in zip("abcd", (0.1, 0.0, 0.1, -0.1), strict=True)])
    rows["granularity"] = ["depth", "depth", "width", "width"]
    assert findings.answer(rows) == "On the whole pipeline's tokens, methods disagree in depth and width"


def test_the_gap_against_the_ratio() -> None:
    rows = compared(("equal", "a", ONE, 0.6), ("equal", "a", ONE, 0.2), ("equal", "b", ONE, 9.0))
    rows["ratio"] = [0.5, 0.75, 0.5]
    assert findings.ratio(rows) == "The gap falls from 0.60 to 0.20 nats as the ratio goes from 0.5 to 0.75"
    assert findings.ratio(rows.iloc[[0, 2]]) == "At ratio 0.5, the gaps are 0.60 to 9.0 nats"
    assert findings.ratio(rows.iloc[[1, 2]]) == "At ratios 0.5 to 0.75, the gaps are 0.20 to 9.0 nats"
    assert findings.ratio(rows.iloc[:0]) == ""


def test_what_a_pruned_start_is_worth() -> None:
    rows = pd.DataFrame(
        {"source": ["study", "study", "study", "paper"], "budget": [ONE, TWO, TWO, 9 * TWO],
         "value": [9.0, 0.25, -0.1, 5.0], "tokens_parent": 10**6}
    )  # fmt: skip
    start = "With 65.5k tokens of retraining, a pruned start is worth"
    assert findings.transfer(rows) == f"{start} -0.10 to 0.25 times the parent's tokens"
    unknown = rows.assign(tokens_parent=nan, value=[nan, 20000.0, -3000.0, nan])
    assert findings.transfer(unknown) == f"{start} -3k to 20k tokens from scratch"
    assert "cannot be stated" in findings.transfer(rows.assign(value=nan))
    partly = rows.assign(value=[9.0, 0.25, nan, nan])
    assert findings.transfer(partly) == (f"{start} 0.25 times the parent's tokens (stated for 1 of 2 methods)")
    assert findings.transfer(rows.iloc[:0]) == ""


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ([("not determined", nan)], "These budgets do not say when scratch overtakes"),
        ([("not within reach", nan), ("not determined", nan)],
         "Scratch overtakes none of 1 fitted method within reach of these budgets"),
        ([("within the data", 4e6), ("beyond the data", 6e6), ("not within reach", nan)],
         "Scratch overtakes 2 of 3 fitted methods, at 4M to 6M tokens"),
        ([("before the data", nan)], "Scratch overtakes 1 of 1 fitted method"),
        ([], ""),
    ],
)  # fmt: skip
def test_when_scratch_overtakes(found: list[tuple[str, float]], text: str) -> None:
    rows = pd.DataFrame(found, columns=["status", "crossover_tokens"])
    rows = rows.assign(method=[f"m{i}" for i in range(len(rows))], pattern="dense", ratio=0.5)
    assert findings.crossover(pd.concat([rows, rows], ignore_index=True)) == text


def test_tasks_are_described_by_their_mean_or_else_singly() -> None:
    rows = compared(("equal", "a", ONE, 0.1), ("equal", "b", ONE, 0.0), ("full", "a", ONE, -0.1))
    rows = rows.rename(columns={"gap": "difference"}).assign(dataset=TASK_MEAN)
    parts = (
        "at equal tokens, pruned leads in 1 of 2 comparisons, scratch in none; "
        "on the whole pipeline's tokens, scratch leads"
    )
    single = rows.assign(dataset="arc", difference=9.0)
    assert findings.tasks(pd.concat([rows, single])) == f"Zero-shot mean: {parts}"
    assert findings.tasks(rows.assign(dataset="arc")) == f"Single tasks: {parts}"
    assert findings.tasks(rows.iloc[:0]) == ""


def test_curves_are_described_by_their_ends() -> None:
    points = [
        ("retrained", "a", 1, 4.0),
        ("retrained", "a", 9, 3.0),
        ("scratch", "b", 1, 6.0),
        ("scratch", "b", 9, 5.0),
    ]
    rows = pd.DataFrame(points, columns=["role", "runs", "tokens", "loss"]).assign(panel="depth", kind="training")
    told = "Pruned models begin at 4.0 and end at 3.0 nats; scratch on the same tokens ends at 5.0"
    assert findings.training_curves(rows) == told
    assert findings.training_curves(rows[rows["role"] == "scratch"]) == ""


def test_importance_names_the_blocks_that_all_depth_methods_remove() -> None:
    blocks = [("a", 0.5, b, b in (1, 2)) for b in range(4)] + [("b", 0.5, b, b in (2, 3)) for b in range(4)]
    rows = pd.DataFrame(blocks, columns=["method", "ratio", "block", "removed"]).astype({"removed": int})
    rows = rows.assign(measure="influence", value=rows["block"] / 10, seeds=1)
    labels = {"a": "A", "b": "B"}
    assert findings.importance(rows, labels) == "At ratio 0.5, A and B both remove block 2"
    assert findings.importance(rows[rows["method"] == "a"], labels) == "At ratio 0.5, A removes blocks 1-2"
    apart = rows[(rows["method"] == "b") | (rows["block"] < 2)]
    assert findings.importance(apart, labels) == "At ratio 0.5, no block is removed by A and B alike"
    disputed = rows.assign(seeds=1 + (rows["method"] == "a"))
    assert findings.importance(disputed, labels) == "At ratio 0.5, B removes blocks 2-3"
    assert findings.importance(rows.assign(removed=0), labels) == "Block 3 scores highest in 2 of 2 rankings"
    assert findings.importance(rows.iloc[:0], labels) == ""


def test_a_search_names_the_best_shape_of_each_ratio() -> None:
    rows = pd.DataFrame({"ratio": [0.5, 0.5, 0.75], "hidden_size": [64, 72, 48], "validation_loss": [4.0, 4.25, 5.0]})
    assert findings.shape_search(rows) == (
        "The best hidden size is 64 at ratio 0.5 and 48 at ratio 0.75; shapes differ by up to 0.25 nats"
    )


def test_fronts_are_counted_by_cost() -> None:
    rows = pd.DataFrame({"role": ["retrained", "scratch", "parent"], "size": [True, True, False], "time": False})
    assert findings.pareto(rows, {"size": "parameters", "time": "time"}) == (
        "Pruned models on the front: 1 of 2 by parameters"
    )
    assert findings.pareto(rows.iloc[:0], {"size": "parameters"}) == ""


def test_the_papers_gap_is_stated_next_to_the_studys() -> None:
    rows = pd.DataFrame(
        [("paper", "depth", 1, 0.4), ("paper", "depth", 9, 0.04), ("paper", "width", 1, 0.5),
         ("paper", "width", 9, 0.1), ("study", "width", 2, 1.2)],
        columns=["source", "panel", "budget", "value"],
    ).assign(setting="gap")  # fmt: skip
    assert findings.reported(rows) == (
        "In the paper the width gap falls from 0.50 to 0.10 nats; in this study the width gap is 1.2 nats"
    )
    paper = rows[rows["source"] == "paper"]
    assert findings.reported(paper) == "In the paper the depth gap falls from 0.40 to 0.040 nats"
    assert findings.reported(rows.iloc[:0]) == ""


def of_scales(*rows: tuple[str, str, float, float]) -> pd.DataFrame:
    """Points by study, measure, share of tokens and value, with intervals of one half-width."""
    points = pd.DataFrame(rows, columns=["study", "measure", "share_retrained", "value"])
    points = points.assign(granularity="depth", pattern="dense", method="m", ratio=0.5, dataset="test")
    return points.assign(low=points["value"] - 0.05, high=points["value"] + 0.05)


SIZES = {"small": 1000, "middle": 2000, "large": 9000}
GAPS = [
    ("small", "gap", 0.05, 1.2), ("small", "gap", 0.25, 0.6), ("large", "gap", 0.0501, 1.0),
    ("large", "gap", 0.25, 0.4), ("large", "gap", 1.0, -9.0), ("middle", "gap", 0.05, 9.0),
    ("the paper", "gap", 0.05, 99.0),
]  # fmt: skip


def test_scales_are_compared_where_the_smallest_and_the_largest_have_points_in_common() -> None:
    falls = "From 1k to 9k parameters, the mean gap falls from 0.90 to 0.70 nats"
    assert findings.scales(of_scales(*GAPS), SIZES) == falls
    worth = [("small", "share", 0.05, 0.5), ("large", "share", 0.05, 0.9)]
    both = of_scales(*GAPS, *worth)
    told = findings.scales(both, SIZES)
    assert told.endswith("nats and the mean worth of a pruned start rises from 0.50 to 0.90 times the parent's tokens")
    corpora = both.assign(dataset=both["study"])
    assert findings.scales(corpora, SIZES) == (
        "From 1k to 9k parameters, the mean worth of a pruned start rises from 0.50 to 0.90 times the parent's tokens"
    )
    opened = both.assign(high=both["high"].where(both["measure"] == "gap"))
    assert findings.scales(opened, SIZES).endswith("stays near 0.70 times the parent's tokens")


def test_scales_without_points_in_common_are_passed_over() -> None:
    points = of_scales(*GAPS)
    apart = points.assign(method=points["study"].map({"large": "other"}).fillna("m"))
    told = findings.scales(apart, SIZES)
    assert told == "From 1k to 2k parameters, the mean gap rises from 1.2 to 9.0 nats"
    alone = of_scales(*GAPS[:2])
    assert findings.scales(alone, {"small": 1000}) == "1 study: too little in common to say what size does"
    assert findings.scales(alone.iloc[:0], SIZES) == "3 studies: too little in common to say what size does"


def test_a_plan_names_its_dearest_stage_and_its_longest_chain() -> None:
    stages = pd.DataFrame(
        {"stage": ["text", "retrain", "scratch"], "gpu_hours": [0.0, 30.0, 90.0], "core_hours": [5.0, 0.0, 0.0],
         "chain_hours": [1.0, 3.0, 0.0]}
    )  # fmt: skip
    assert findings.plan(stages, "gpu_hours", "GPU-hours", "h100") == (
        "Stage scratch takes 75% of 120 GPU-hours on h100; the longest chain of jobs lasts 4 hours"
    )
    assert "Stage text takes 100% of 5 core-hours on cpu" in findings.plan(stages, "core_hours", "core-hours", "cpu")


def test_sentences_need_no_matplotlib() -> None:
    check = (
        "import sys; import pruning_vs_scratch.figures.findings; assert not {'matplotlib', 'torch'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
