"""Full-budget baselines: how many tokens they read, which pipelines share one, and what is never shared."""

import copy
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from finished_studies import finished, refused
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.full_budget import full_budget, least_budget, most_budget
from pruning_vs_scratch.study.names import token_labels
from pruning_vs_scratch.tables.ledger import ledger_table, verified_pairs
from studies import (
    BASE,
    GLOBAL_BATCH,
    LEARNING,
    LEARNING_BATCH,
    Values,
    batches,
    block,
    blocks,
    plan,
    scratch_of,
    with_matrix,
)

BATCH = 1024
"""Tokens of a batch of the smallest study; its calibration text has as many."""
R = 8 * BATCH
PARENT = 1000 * BATCH - R
"""So that parent and retraining read 1,000 batches, and a tolerance of 0.002 is two batches."""
SHARED = 1002 * BATCH
WIDTH, LEARNED = (f"P1.02M-{method}-0.5-R8.19k-seed0" for method in ("minitron_width", "sheared_llama"))


def large(values: Values, learned: int = 768, **baselines: Any) -> Values:
    """A study of a large parent; ``learned`` are the tokens on which Sheared-LLaMA learns its masks."""
    values["parent"]["tokens"] = PARENT
    values["pruning"]["sheared_llama"] = {"tokens": learned, "global_batch_size": 3, "micro_batch_size": 3}
    values["baselines"] = baselines
    return values


def full_of(study: Study) -> set[str]:
    return {pair.scratch for pair in study.pairs if pair.setting == "full"}


def tokens_of(study: Study) -> dict[str, int]:
    """By pruned and retrained run, what its full-budget baseline reads."""
    return {pair.retrained: plan(study, pair.scratch).tokens for pair in study.pairs if pair.setting == "full"}


# Tokens


@given(
    st.integers(1, 400), st.integers(0, 3000), st.sampled_from([1, 7, 64]), st.sampled_from([0, 0.002, 0.1, 0.35, 0.9])
)
def test_the_tokens_are_those_found_by_counting_batches(
    before: int, pruning: int, batch: int, tolerance: float
) -> None:
    spent, tokens = before + pruning, 0
    while tokens < spent:
        tokens += batch
    while tokens + batch <= before + before * Fraction(str(tolerance)):
        tokens += batch
    assert full_budget(before, pruning, batch, tolerance) == tokens
    least, most = least_budget(spent, batch), most_budget(spent, batch, tolerance)
    assert spent <= least <= tokens <= most
    assert most <= max(least, spent * (1 + Fraction(str(tolerance))))


def test_a_tolerance_of_whole_batches_is_used_in_full() -> None:
    """Binary fractions would lose the last batch: 100 * (1 + 0.15) is 114.99999999999999."""
    assert int(100 * (1 + 0.15)) == 114
    assert most_budget(100, 1, 0.15) == 115
    assert most_budget(PARENT + R, BATCH, 0.002) == SHARED


# What is shared


@pytest.mark.parametrize(
    ("learned", "tolerance", "expected"),
    [
        (768, 0.002, [1002, 1002]),
        (2304, 0.002, [1002, 1003]),  # a little beyond two batches
        (1536, 0.002, [1002, 1002]),
        (1536, 0.001, [1001, 1002]),
        (1536, 0, [1001, 1002]),
        (768, 0, [1001, 1001]),
        (30 * 768, 0.03, [1030, 1030]),
    ],
)
def test_methods_that_read_a_little_share_a_baseline(
    learned: int, tolerance: float, expected: list[int], smoke: Values
) -> None:
    values = large(smoke, learned, full_tolerance=tolerance)
    study = with_matrix(values, block(["minitron_width", "sheared_llama"], [R], full=[R]))
    assert tokens_of(study) == dict(zip((WIDTH, LEARNED), (batch * BATCH for batch in expected), strict=True))
    assert len(full_of(study)) == len(set(expected))


def test_what_a_matrix_of_many_methods_needs_is_what_brute_force_finds(smoke: Values) -> None:
    """Parent, pruning and retraining are added up here one by one, and each baseline is a set's element."""
    budgets = [R, 50 * BATCH]
    depth, width = ["shortgpt", "minitron_depth"], ["minitron_width", "sheared_llama"]
    sparse, learned = ["wanda", "magnitude"], 5 * 768
    study = with_matrix(
        large(smoke, learned),
        block(depth, budgets, full=budgets),
        block(width, budgets, full=budgets),
        block(sparse, budgets, full=budgets),
    )
    expected = set()
    for method in depth + width + sparse:
        target = "depth" if method in depth else "width" if method in width else method
        read = {"sheared_llama": learned, "magnitude": 0}.get(method, BATCH)
        for budget in budgets:
            limit = max(n for n in range(2000) if n * BATCH <= (PARENT + budget) * 1.002)
            own = next(n for n in range(2000) if n * BATCH >= PARENT + budget + read)
            expected.add((f"{target}-0.5", max(limit, own) * BATCH))
    found = [(study.run(name).target.name, plan(study, name).tokens) for name in full_of(study)]
    assert sorted(found) == sorted(expected)
    assert len(found) == 2 * (1 + 2 + 2) < 2 * len(depth + width + sparse)


@pytest.mark.parametrize("name", ["smoke", "demo", "demo-seeds", "demo-shapes", "demo-wsd"])
def test_small_studies_are_the_same_with_and_without_the_tolerance(
    name: str, study_values: Callable[[str], Values]
) -> None:
    """A fifth of a percent is less than a batch there, and pruning reads more."""
    with_tolerance, without = (
        Study(study_values(name)),
        Study(study_values(name) | {"baselines": {"full_tolerance": 0}}),
    )
    assert with_tolerance.config.baselines.full_tolerance == 0.002
    assert list(with_tolerance.runs.items()) == list(without.runs.items())
    assert with_tolerance.pairs == without.pairs


def test_a_method_that_joins_later_changes_no_baseline_of_the_others(smoke: Values) -> None:
    """Nor does it if it reads more than all of them."""
    values = large(smoke, 1536)
    before = with_matrix(copy.deepcopy(values), block(["minitron_width"], [R], full=[R]))
    after = with_matrix(values, block(["sheared_llama", "minitron_width"], [R], full=[R]))
    assert {name: after.runs.get(name) for name in before.runs} == before.runs
    assert set(before.pairs) <= set(after.pairs)
    assert full_of(after) == full_of(before)


def test_in_the_papers_study_a_tolerance_serves_methods_that_join(study_values: Callable[[str], Values]) -> None:
    """docs/planning.md: nothing is shared as it is, since Sheared-LLaMA has a separate shape at ratio 0.5."""
    paper = study_values("paper")
    budget = paper["matrix"][2]["retrain"]
    joined = {"methods": ["sheared_llama"], "ratios": [0.625, 0.75, 0.813], "retrain": budget, "full": budget}
    counts = {}
    for tolerance in (0, 0.002):
        for matrix in (paper["matrix"], [*paper["matrix"], joined]):
            study = Study(paper | {"matrix": matrix, "baselines": {"full_tolerance": tolerance}})
            counts[tolerance, len(matrix)] = len(full_of(study))
    assert list(counts.values()) == [14, 17, 14, 14]


# The order of the matrix


@st.composite
def matrices(draw: st.DrawFn) -> tuple[Values, Values]:
    """A study's values, and the same in another order."""
    values: Values = BASE | {
        "parent": {**BASE["parent"], "tokens": batches(draw(st.integers(50, 2000)))},
        "pruning": {
            "calibration": BASE["pruning"]["calibration"] | {"sequences": draw(st.integers(1, 20))},
            "sheared_llama": LEARNING | {"tokens": draw(st.integers(1, 12)) * LEARNING_BATCH},
        },
        "baselines": {
            "full_tolerance": draw(st.sampled_from([0, 0.001, 0.002, 0.004, 0.05])),
            "mask": draw(st.sampled_from(["inherited", "random", "random_at_full"])),
        },
        "matrix": draw(st.lists(blocks(), min_size=1, max_size=3)),
    }
    shuffled = draw(st.permutations(values["matrix"]))
    keys = ("methods", "patterns", "chains", "retrain", "full", "rewind")
    other = [part | {key: draw(st.permutations(part[key])) for key in keys if key in part} for part in shuffled]
    return values, values | {"matrix": other}


@pytest.mark.slow
@given(matrices())
def test_the_order_of_the_matrix_changes_no_run(both: tuple[Values, Values]) -> None:
    found: list[Study | str] = []
    for values in both:
        try:
            found.append(Study(values))
        except UserError as error:
            found.append(str(error))
    one, other = found
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
        assert "baselines.full_tolerance" in str(one)
        return
    assert one.runs == other.runs
    assert set(one.pairs) == set(other.pairs)


def test_baselines_whose_labels_are_alike_have_the_same_names_in_any_order(smoke: Values) -> None:
    """Beyond the tolerance, and still within the three digits of a label."""
    methods = ["minitron_width", "sheared_llama"]
    for order in (methods, methods[::-1]):
        study = with_matrix(large(smoke, 2304, full_tolerance=0), block(order, [R], full=[R]))
        assert [scratch_of(study, run, "full") for run in (WIDTH, LEARNED)] == [
            "S1.03M-width-0.5-full-seed0",
            "S1.027M-width-0.5-full-seed0",
        ]


@pytest.mark.slow
@given(matrices())
def test_a_shared_baseline_reads_no_less_than_each_pipeline_and_little_more(both: tuple[Values, Values]) -> None:
    try:
        study = Study(both[0])
    except UserError:
        assume(False)
    tolerance = Fraction(str(study.config.baselines.full_tolerance))
    for pair in study.pairs:
        if pair.setting == "full":
            retrained = study.run(pair.retrained)
            spent = study.config.parent.tokens + pair.budget + retrained.tokens_prune  # type: ignore[operator]
            more = plan(study, pair.scratch).tokens - spent
            assert 0 <= more <= max(GLOBAL_BATCH - 1, tolerance * spent)


@given(st.sets(st.integers(1, 10**12), min_size=1))
def test_labels_tell_token_counts_apart_and_small_ones_are_short(counts: set[int]) -> None:
    labels = token_labels(counts)
    assert set(labels) == counts
    assert len(set(labels.values())) == len(counts)
    assert token_labels(sorted(counts, reverse=True)) == labels
    assert labels[min(counts)] == token_labels([min(counts)])[min(counts)]


# What is never shared


def test_seeds_share_no_baseline(smoke: Values) -> None:
    smoke["seeds"] = [0, 1]
    study = with_matrix(large(smoke), block(["minitron_width", "sheared_llama"], [R], full=[R]))
    assert [study.run(name).seed for name in sorted(full_of(study))] == [0, 1]


def test_shapes_share_no_baseline(smoke: Values) -> None:
    smoke["targets"]["width"].append(
        {"ratio": 0.5, "hidden_size": 24, "ffn_size": 48, "heads": 2, "methods": ["sheared_llama"]}
    )
    study = with_matrix(large(smoke), block(["minitron_width", "sheared_llama"], [R], full=[R]))
    assert {study.run(name).target.name for name in full_of(study)} == {"width-0.5", "sheared_llama-0.5"}


@pytest.mark.parametrize("redraw", ["all", "linear"])
def test_masks_share_no_baseline_and_keep_their_own_part_of_the_parent(redraw: str, smoke: Values) -> None:
    study = with_matrix(large(smoke, redraw=redraw), block(["wanda", "magnitude"], [R], full=[R]))
    pruned = {f"P1.02M-{method}-0.5-seed0" for method in ("wanda", "magnitude")}
    full = [study.run(name) for name in full_of(study)]
    assert {run.mask for run in full} == pruned
    assert {run.redrawn for run in full} == (pruned if redraw == "linear" else {None})


def test_retraining_budgets_share_no_baseline_whatever_their_learning_rates(smoke: Values) -> None:
    smoke["training"]["learning_rates"] = [{"runs": ["scratch"], "budgets": [R], "peak": 0.5}]
    study = with_matrix(large(smoke), block(["minitron_width", "sheared_llama"], [R, 2 * R], full=[R, 2 * R]))
    rates = {plan(study, name).peak_learning_rate for name in full_of(study)}
    assert (len(full_of(study)), rates) == (2, {0.003, 0.5})


@pytest.mark.parametrize(
    ("methods", "baselines", "run"),
    [
        (["minitron_width", "sheared_llama"], {}, "S8.19k-width-0.5-seed0"),
        (["wanda", "magnitude"], {"mask": "random_at_full"}, "S1.03M-random-0.5-full-seed0"),
    ],
)
def test_methods_of_different_learning_rates_cannot_share_a_baseline(
    methods: list[str], baselines: Values, run: str, smoke: Values
) -> None:
    smoke["training"]["learning_rates"] = [{"runs": ["scratch"], "methods": methods[:1], "peak": 0.5}]
    with pytest.raises(
        UserError, match=f"{run} is in several comparisons, whose rules give it the peak learning rates"
    ):
        with_matrix(large(smoke, **baselines), block(methods, [R], full=[R]))


def test_baselines_of_equal_budgets_and_of_the_full_one_are_never_shared(smoke: Values) -> None:
    """Even where one retrains on as much as the other's pipeline reads, they begin with other text."""
    budgets = [R, SHARED]
    study = with_matrix(large(smoke), block(["minitron_width"], budgets, full=[R]))
    full, equal = plan(study, "S1.03M-width-0.5-full-seed0"), plan(study, "S1.03M-width-0.5-seed0")
    assert full.tokens == equal.tokens
    assert (full.window_start, equal.window_start) == (0, PARENT // 128)


# One mask for all sparse methods


def test_random_masks_at_the_full_budget_leave_the_equal_ones_inherited(smoke: Values) -> None:
    methods = ["wanda", "sparsegpt", "magnitude"]
    sparse = block(methods, [R], full=[R], patterns=["unstructured", "2:4"])
    inherited = with_matrix(large(copy.deepcopy(smoke)), sparse)
    study = with_matrix(large(smoke, mask="random_at_full"), sparse)
    equal = {pair.scratch for pair in study.pairs if pair.setting == "equal"}
    assert equal == {pair.scratch for pair in inherited.pairs if pair.setting == "equal"}
    assert (len(equal), len(full_of(inherited))) == (6, 6)
    masks = {name: study.run(name).mask for name in full_of(study)}
    assert masks == {
        "S1.03M-random-0.5-full-seed0": "P1.02M-random-0.5-seed0",
        "S1.03M-random-0.5-2of4-full-seed0": "P1.02M-random-0.5-2of4-seed0",
    }


def test_random_masks_at_the_full_budget_add_no_run_where_there_is_none(smoke: Values) -> None:
    smoke["matrix"] = [block(["wanda"], [R]), block(["shortgpt"], [R], full=[R])]
    assert Study(smoke | {"baselines": {"mask": "random_at_full"}}).runs == Study(smoke).runs


def test_a_sweep_by_method_needs_a_rate_for_random_masks(smoke: Values) -> None:
    smoke["matrix"] = [block(["wanda"], [R], full=[R], patterns=["2:4"])]
    sweep = {"peak_learning_rates": [0.001, 0.004], "tokens": 2048, "use": "method", "on": ["wanda@2:4"]}
    values = large(smoke, mask="random_at_full") | {"sweep": sweep}
    with pytest.raises(
        UserError, match=r"needs rates that no trial finds: scratch:random; add such models to sweep.on"
    ):
        Study(values)
    study = Study(values | {"sweep": sweep | {"on": ["wanda@2:4", "random@2:4"]}})
    (full,) = full_of(study)
    assert study.rate_from_sweep(full) == "scratch:random"


def test_the_papers_study_has_two_baselines_less_with_random_masks(study_values: Callable[[str], Values]) -> None:
    paper = study_values("paper")
    study = Study(paper | {"baselines": paper["baselines"] | {"mask": "random_at_full"}})
    assert (len(full_of(Study(paper))), len(full_of(study))) == (14, 12)


# The ledger


@pytest.fixture
def pairs(smoke: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A finished study in which two methods share a full-budget baseline."""
    monkeypatch.chdir(tmp_path)
    values = large(smoke)
    values["matrix"] = [block(["minitron_width", "sheared_llama"], [R], full=[R])]
    return finished(values)


FULL = "S1.03M-width-0.5-full-seed0"


def counted(batch: int) -> Values:
    tokens = batch * BATCH
    return {"tokens_seen": tokens, "tokens_planned": tokens, "window_end": tokens // 128, "steps": batch}


def test_a_shared_baseline_matches_each_of_its_pipelines(pairs: Study) -> None:
    table = verified_pairs(pairs, ledger_table(pairs))
    assert list(table.loc[table["setting"] == "full", "scratch"]) == [FULL, FULL]
    for batch in (1001, 1002):
        ledger = ledger_table(pairs)
        for column, value in counted(batch).items():
            ledger.loc[ledger["run"] == FULL, column] = value
        assert len(verified_pairs(pairs, ledger)) == 4


@pytest.mark.parametrize("batch", [1000, 1004])
def test_a_baseline_beyond_the_tolerance_is_refused(batch: int, pairs: Study) -> None:
    """The pipelines read 1,001 and 1,000.75 batches; a fifth of a percent more are 1,003.002 and 1,002.75."""
    message = refused(pairs, FULL, **counted(batch))
    for retrained, most in {WIDTH: 1003, LEARNED: 1002}.items():
        pipeline, nearest = f"for the full pipeline of {retrained}", 1001 if batch == 1000 else most
        assert f"tokens_seen: {batch * BATCH} for {FULL}, {1001 * BATCH} to {most * BATCH} {pipeline}" in message
        assert f"window_end: {batch * 8} for {FULL}, {nearest * 8} {pipeline}" in message


def test_without_a_tolerance_a_shared_baseline_is_refused(smoke: Values, pairs: Study) -> None:
    exact = finished(smoke | {"baselines": {"full_tolerance": 0}})
    message = refused(exact, FULL, **counted(1002))
    assert f"tokens_seen: {1002 * BATCH} for {FULL}, {1001 * BATCH} for the full pipeline of {WIDTH}" in message


def test_what_a_method_really_read_counts(pairs: Study) -> None:
    """Beyond the tolerance, a pipeline has no part in the baseline."""
    message = refused(pairs, LEARNED.replace("-R8.19k", ""), tokens_seen=3 * BATCH, tokens_planned=3 * BATCH)
    assert f"{1003 * BATCH} to {1005 * BATCH} for the full pipeline of {LEARNED}" in message
    assert WIDTH not in message


# Bad input


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-0.1, "must be at least 0, not -0.1"),
        (1, "less than 1"),
        (1.5, "less than 1"),
        (float("nan"), "finite number"),
        ("much", "must be a number, not 'much'"),
    ],
)
def test_a_tolerance_is_a_share(value: object, words: str, smoke: Values) -> None:
    with pytest.raises(UserError, match=r"baselines\.full_tolerance") as error:
        Study(smoke | {"baselines": {"full_tolerance": value}})
    assert words in str(error.value)


def test_an_unknown_mask_is_named_with_the_existing_ones(smoke: Values) -> None:
    with pytest.raises(UserError, match=r"baselines\.mask: 'shared' is not valid; known: inherited, random, random_at"):
        Study(smoke | {"baselines": {"mask": "shared"}})


def test_a_tolerance_that_reaches_the_next_budget_names_both_runs(smoke: Values) -> None:
    budgets = [R, 2 * R]
    smoke["matrix"] = [block(["shortgpt"], budgets, full=budgets), block(["wanda"], [R], full=[R])]
    with pytest.raises(UserError) as error:
        Study(smoke | {"baselines": {"full_tolerance": 0.5}})
    assert str(error.value) == (
        "baselines.full_tolerance: 0.5 reaches from S36.9k-depth-0.5-full-seed0 to S49.2k-depth-0.5-full-seed0, whose "
        "parent and retraining read 24576 and 32768 tokens; choose less than 8192/24576, which is about 0.33"
    )
    for tolerance, refuses in ((0.34, True), (0.33, False)):
        try:
            Study(smoke | {"baselines": {"full_tolerance": tolerance}})
            assert not refuses
        except UserError:
            assert refuses


@given(st.integers(1, 60), st.sets(st.integers(1, 60), min_size=2, max_size=4), st.floats(0, 0.99))
def test_budgets_that_are_not_refused_have_baselines_of_their_own(
    parent: int, found: set[int], tolerance: float
) -> None:
    budgets = [batches(count) for count in sorted(found)]
    values = BASE | {
        "parent": {**BASE["parent"], "tokens": batches(parent)},
        "matrix": [block(["random", "wanda"], budgets, full=budgets)],
        "baselines": {"full_tolerance": tolerance, "mask": "random"},
    }
    reached = any(
        batches(parent) + more <= (batches(parent) + less) * (1 + Fraction(str(tolerance)))
        for less, more in pairwise(budgets)
    )
    try:
        study = Study(values)
    except UserError as error:
        assert reached, error
        return
    assert not reached
    by_budget = [{p.scratch for p in study.pairs if (p.setting, p.budget) == ("full", budget)} for budget in budgets]
    least = [min(plan(study, name).tokens for name in names) for names in by_budget]
    assert len(set(least)) == len(budgets)
