"""Gaps between two laws: on known laws, by brute force, as often inside their intervals as those say, and as advice."""

import argparse
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from figure_world import columns_of, drawn, points, stored, words
from program import code_of, pvs
from pruning_vs_scratch.cli import share, token_count
from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.figures.catalogue import FIGURES
from pruning_vs_scratch.tables import resampling
from pruning_vs_scratch.tables.crossover import (
    NOTHING_RULED_OUT,
    TOO_FEW,
    TOO_IMPRECISE,
    Crossover,
    GapFit,
    crossover,
    crossover_table,
    fit_gap,
    study_misfit,
)
from pruning_vs_scratch.tables.gaps import GapGroup, gap_groups, gap_table
from pruning_vs_scratch.tables.load import COLUMNS, Tables
from pruning_vs_scratch.tables.recommend import Answer, answers, recommendation
from pruning_vs_scratch.tables.resampling import FAR
from pruning_vs_scratch.tables.sides import Sides, all_sides
from pruning_vs_scratch.tables.statistics import estimate_mean
from synthetic_tables import BUDGETS, PARENT_TOKENS, write_tables

SETTINGS = ClaimsConfig(resamples=300)
LEVEL = SETTINGS.confidence
STUDIES = 200
LEAST_COVERED = LEVEL - 3 * np.sqrt(LEVEL * (1 - LEVEL) / STUDIES)
TOKENS = (25_000, 50_000, 100_000, 200_000)
FULL, SEQUENCES, FLOOR, UNIT = 300_000, 64, 2.0, 100_000
Law = Callable[[float], float]


def scratch_law(tokens: float) -> float:
    return FLOOR + 1.2 * (tokens / UNIT) ** -0.4


def retrained_law(meeting: float) -> Law:
    """Less steep than scratch's, which it meets at some budget, and worse from there on."""
    height = scratch_law(meeting) - FLOOR
    return lambda tokens: FLOOR + height * (tokens / meeting) ** -0.2


def groups_of(
    retrained: Law, rng: np.random.Generator, *, budgets: tuple[int, ...] = TOKENS, full: bool = True,
    run_noise: float = 0.0, noise: float = 0.02, method: str = "wanda", scratch: Law = scratch_law,
) -> tuple[list[GapGroup], pd.DataFrame]:  # fmt: skip
    """A method at ratio 0.5 on some budgets, with a full baseline at the largest; and its runs."""
    difficulty = rng.normal(0, 0.3, SEQUENCES)

    def losses(mean: float) -> np.ndarray:
        return (mean + rng.normal(0, run_noise) + difficulty + rng.normal(0, noise, SEQUENCES))[None]

    places = [("equal", budget, budget) for budget in budgets] + [("full", budgets[-1], FULL + budgets[-1])] * full
    baselines = {tokens: losses(scratch(tokens)) for _, _, tokens in places}
    pruned = {budget: losses(retrained(budget)) for budget in budgets}
    groups = [
        GapGroup(
            setting, method, "sparse", "unstructured", 0.5, budget, (0,), (f"{method}-R{budget}",),
            (f"{method}-S{tokens}",), pruned[budget], baselines[tokens], losses(2.0),
        )
        for setting, budget, tokens in places
    ]  # fmt: skip
    runs = pd.DataFrame({"run": [f"{method}-S{tokens}" for tokens in baselines], "tokens_train": list(baselines)})
    return groups, runs.assign(tokens_parent=FULL)


def made(retrained: Law, rng_seed: int = 0, **options: object) -> Sides:
    (sides,) = all_sides(*groups_of(retrained, np.random.default_rng(rng_seed), **options))  # type: ignore[arg-type]
    return sides


def fitted(sides: Sides) -> GapFit:
    fit = fit_gap(sides, study_misfit([sides]))
    assert fit is not None
    return fit


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many studies in seconds. Quantiles are rougher: the level that intervals hold on average falls by below 0.005."""
    monkeypatch.setattr(resampling, "RESAMPLES", 300)


def test_the_gap_is_that_of_two_laws_and_the_crossover_its_zero() -> None:
    fit = fitted(made(retrained_law(150_000), noise=0.001))
    for tokens in (TOKENS[0], 120_000, 300_000):
        expected = scratch_law(tokens) - retrained_law(150_000)(tokens)
        assert fit.gap(tokens) == pytest.approx(expected, abs=0.01)
    zero = optimize.brentq(fit.gap, TOKENS[0], TOKENS[-1] * FAR)
    found = crossover(fit, LEVEL)
    assert found.tokens == pytest.approx(zero, rel=2e-3)  # the curve is straight between two of its points
    assert found.status == "within the data"
    assert found.low < zero < found.high  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("run_noise", [0.0, 0.01])
def test_intervals_cover_the_true_gap_and_crossover_at_the_stated_rate(run_noise: float) -> None:
    truth = 150_000
    gap = scratch_law(60_000) - retrained_law(truth)(60_000)
    crossings, gaps, stated = 0, 0, 0
    for repetition in range(STUDIES):
        rng = np.random.default_rng(repetition)
        study = [
            sides
            for name in ("wanda", "sparsegpt", "magnitude")
            for sides in all_sides(*groups_of(retrained_law(truth), rng, run_noise=run_noise, method=name))
        ]
        fit = fit_gap(study[0], study_misfit(study))
        assert fit is not None
        low, high = fit.interval(60_000, LEVEL)
        gaps += low <= gap <= high
        found = crossover(fit, LEVEL)
        if found.status != "not determined":
            stated += 1
            crossings += (found.low or 0) <= truth <= (found.high or math.inf)
    assert stated > STUDIES / 2
    assert gaps / STUDIES >= LEAST_COVERED
    assert crossings / stated >= LEVEL - 3 * np.sqrt(LEVEL * (1 - LEVEL) / stated)


@pytest.mark.parametrize(
    ("meeting", "status"),
    [
        (100_000, "within the data"),
        (300_000, "beyond the data"),
        (1_000_000, "not within reach"),
        (18_000, "before the data"),
        (3_000, "before the data"),
    ],
)
def test_the_place_of_the_crossover_is_stated(meeting: int, status: str) -> None:
    found = crossover(fitted(made(retrained_law(meeting), noise=0.001)), LEVEL)
    assert found.status == status
    reached = TOKENS[0] / FAR <= meeting <= TOKENS[-1] * FAR
    assert (found.tokens is not None) == reached
    assert not reached or found.tokens == pytest.approx(meeting, rel=0.05)
    if status == "not within reach":
        assert (found.low, found.high) == (TOKENS[-1] * FAR, None)
        assert str(found) == "scratch is not ahead before 400k"
    if meeting == 3_000:
        assert str(found) == "scratch is ahead from 12.5k at the latest"


def test_what_is_not_determined_says_why() -> None:
    two = made(retrained_law(100_000), budgets=TOKENS[:2])
    assert fit_gap(two, None) is None
    assert crossover(None, LEVEL) == Crossover("not determined", reason=TOO_FEW)

    def bumpy(tokens: float) -> float:
        return scratch_law(tokens) + 0.15 * math.sin(3 * math.log2(tokens / TOKENS[0]))

    poor = fitted(made(retrained_law(100_000), scratch=bumpy))
    assert not poor.is_precise(LEVEL)
    assert crossover(poor, LEVEL).reason == TOO_IMPRECISE
    nothing = fitted(made(scratch_law, noise=0.02))
    assert nothing.is_precise(LEVEL)
    assert crossover(nothing, LEVEL).reason == NOTHING_RULED_OUT


def test_the_table_has_a_row_a_budget_and_a_curve_a_method() -> None:
    groups, runs = groups_of(retrained_law(150_000), np.random.default_rng(1))
    table = crossover_table(groups, runs, SETTINGS)
    assert tuple(table.columns) == COLUMNS["crossover.csv"]
    measured, curve = (table[table["kind"] == kind] for kind in ("measured", "curve"))
    equal = [group for group in groups if group.setting == "equal"]
    assert measured["budget"].tolist() == list(TOKENS)
    assert measured["measured"].tolist() == pytest.approx([group.differences.mean() for group in equal])
    assert (measured["fitted"] + measured["residual"]).tolist() == pytest.approx(measured["measured"].tolist())
    assert curve[["measured", "low", "high"]].isna().all(axis=None)
    assert (curve["budget"].min(), curve["budget"].max()) == (TOKENS[0] / FAR, pytest.approx(TOKENS[-1] * FAR))
    assert table["crossover_tokens"].nunique() == 1


def test_one_budget_has_its_measured_gap_and_no_curve() -> None:
    table = crossover_table(*groups_of(scratch_law, np.random.default_rng(2), budgets=TOKENS[:1]), SETTINGS)
    assert table[["kind", "status", "reason"]].to_numpy().tolist() == [["measured", "not determined", TOO_FEW]]
    assert table["measured"].notna().all()
    assert table["fitted"].isna().all()


def asked(tables: Tables, tokens: int, ratio: float, **options: object) -> list[Answer]:
    groups = gap_groups(tables, "test")
    gap_table(groups, SETTINGS).to_csv(tables.folder / "gaps.csv", index=False)
    return answers(groups, tables, tokens, ratio, SETTINGS, **options)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"budgets": BUDGETS[:1]}], ids=["three budgets", "one budget"])
def test_every_measured_cell_is_answered_with_its_measured_gap(tmp_path: Path, options: dict) -> None:
    tables = write_tables(tmp_path, **options)
    groups = gap_groups(tables, "test")
    assert {group.setting for group in groups} == {"equal", "full"}
    for group in groups:
        found = asked(tables, group.budget, group.ratio, parent_is_there=group.setting == "equal")
        (mine,) = (answer for answer in found if answer.label == f"{group.series} {group.ratio:g}")
        gap = estimate_mean(group.differences, SETTINGS)
        assert (mine.gap, mine.low, mine.high) == (gap.mean, gap.low, gap.high)
        assert (mine.remark, mine.beyond, mine.ratio) == ("measured", 1.0, group.ratio)
        margin = SETTINGS.equivalence_margin
        expected = "either" if -margin < gap.low and gap.high < margin else "prune" if gap.low > 0 else "from scratch"
        assert mine.advice == expected


def test_a_budget_in_three_digits_is_the_one_that_was_run(tmp_path: Path) -> None:
    tables = write_tables(tmp_path)
    assert asked(tables, 131_000, 0.5) == asked(tables, BUDGETS[-1], 0.5)


def advice(meeting: int, tokens: int, settings: ClaimsConfig = SETTINGS, *, equal: bool = True) -> Answer:
    groups, runs = groups_of(retrained_law(meeting), np.random.default_rng(3), noise=0.005)
    with tempfile.TemporaryDirectory() as folder:
        tables = Tables(Path(folder))
        runs.assign(**dict.fromkeys(set(COLUMNS["runs.csv"]) - set(runs))).to_csv(tables.folder / "runs.csv")
        gap_table(groups, settings).to_csv(tables.folder / "gaps.csv", index=False)
        (found,) = answers(groups, tables, tokens, 0.5, settings, parent_is_there=equal)
    return found


def test_between_budgets_and_up_to_twice_the_largest_the_laws_answer() -> None:
    early, late = advice(100_000, 35_000), advice(100_000, 390_000)
    assert (early.advice, early.beyond) == ("prune", 1.0)
    assert early.remark.startswith("fitted; scratch is ahead from ")
    assert early.gap == pytest.approx(scratch_law(35_000) - retrained_law(100_000)(35_000), abs=0.02)
    assert (late.advice, late.beyond) == ("from scratch", 1.95)
    assert late.remark.startswith("fitted, 1.95 times outside of what was run; ")
    near = advice(100_000, 110_000, ClaimsConfig(equivalence_margin=0.2))
    assert near.advice == "either"


def test_without_a_parent_the_laws_answer_with_its_tokens_for_scratch() -> None:
    found = advice(100_000, 150_000, equal=False)
    expected = scratch_law(FULL + 150_000) - retrained_law(100_000)(150_000)
    assert found.gap == pytest.approx(expected, abs=0.02)
    assert (found.advice, found.remark) == ("from scratch", "fitted")


@pytest.mark.parametrize("tokens", [10**12, 500_000, 12_000])
def test_farther_nothing_is_said(tokens: int) -> None:
    found = advice(100_000, tokens)
    assert (found.advice, found.gap) == ("not determined", None)
    factor = max(tokens / TOKENS[-1], TOKENS[0] / tokens)
    assert found.beyond == factor
    assert found.remark == f"{factor:.3g} times outside of what was run (25k, 50k, 100k, 200k)"


def test_one_budget_answers_no_other(tmp_path: Path) -> None:
    found = asked(write_tables(tmp_path, budgets=[BUDGETS[0]]), 2 * BUDGETS[0], 0.5)
    assert {answer.advice for answer in found} == {"not determined"}
    assert {answer.remark for answer in found} == {f"{TOO_FEW}; run: 32.8k"}


def test_a_ratio_between_two_has_the_answers_of_both_and_beyond_them_none(tmp_path: Path) -> None:
    tables = write_tables(tmp_path)
    between = {answer.label: answer for answer in asked(tables, BUDGETS[0], 0.6)}
    assert {"Wanda 0.5", "Wanda 0.75", "Wanda 2:4 0.5"} < set(between)
    assert between["Wanda 0.5"].remark == "measured"
    assert between["Wanda 2:4 0.5"].advice == "not determined"
    assert between["Wanda 2:4 0.5"].remark == "ratios that were run: 0.5"
    assert {answer.advice for answer in asked(tables, BUDGETS[0], 0.9)} == {"not determined"}


def test_a_study_that_cannot_answer_says_what_is_missing(tmp_path: Path) -> None:
    tables = write_tables(tmp_path, full=False)
    with pytest.raises(UserError, match="comparison at the full pipeline budget"):
        asked(tables, 1000, 0.5, parent_is_there=False)


def test_the_text_says_how_far_it_reaches(tmp_path: Path) -> None:
    found = asked(write_tables(tmp_path), 4 * BUDGETS[-1], 0.6)
    text = recommendation(
        found, 4 * BUDGETS[-1], 0.6, study="demo", studied_parent=PARENT_TOKENS, parent=2 * PARENT_TOKENS, is_there=True
    )
    assert "up to 4 times outside the range that was run. Beyond 2 times there is no advice." in text
    assert "Ratio 0.6 was not run for every method; the nearest were 0.5, 0.75" in text
    assert "The study's parent was trained on 0.5 times the tokens of yours." in text
    assert len([row for row in text.splitlines() if " not determined " in row]) == len(found)
    alike = recommendation(
        found, 4 * BUDGETS[-1], 0.6, study="demo", studied_parent=PARENT_TOKENS, parent=PARENT_TOKENS + 1, is_there=True
    )
    assert "The study's parent" not in alike


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("131072", 131_072), ("131,072", 131_072), ("1e9", 10**9), ("50B", 50 * 10**9), ("1.5k", 1500),
        ("2e1 M", 20 * 10**6), ("1t", 10**12), ("1,000,000", 10**6),
    ],
)  # fmt: skip
def test_token_counts_are_written_as_people_write_them(text: str, tokens: int) -> None:
    assert token_count(text) == tokens


@pytest.mark.parametrize(
    "text", ["", "0", "-5", "1.5", "13,10", "1,0000", "50G", "10^12", "1e-3", "nan", "1e400", "5 0"]
)
def test_other_token_counts_are_refused_with_the_forms(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write it as 131072, 131,072, 1e9 or 50B"):
        token_count(text)


@pytest.mark.parametrize("text", ["0", "1", "1.5", "-0.5", "nan", "half"])
def test_ratios_lie_between_zero_and_one(text: str) -> None:
    assert share("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError, match="not a number between 0 and 1"):
        share(text)


def test_the_command_answers_from_stored_tables_without_torch(tmp_path: Path) -> None:
    folder = tmp_path / "results/mine/tables"
    groups = gap_groups(write_tables(folder), "test")
    gap_table(groups, SETTINGS).to_csv(folder / "gaps.csv", index=False)
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not needed here')")
    path = os.pathsep.join([str(tmp_path), code_of(tmp_path)["PYTHONPATH"]])
    result = pvs(tmp_path, "recommend", "mine", "--tokens", "65.5k", "--ratio", "0.5", PYTHONPATH=path)
    assert result.returncode == 0, result.stderr
    (row,) = (line for line in result.stdout.splitlines() if line.startswith("Wanda 2:4 0.5"))
    assert row.endswith("measured")


def lawful(folder: Path, *meetings: int) -> Tables:
    """Stored tables whose crossovers are those of a method for each meeting."""
    stored(folder)
    found = [groups_of(retrained_law(meeting), np.random.default_rng(4), noise=0.004) for meeting in meetings]
    parts = [crossover_table(groups, runs, SETTINGS) for groups, runs in found]
    names = ("wanda", "shortgpt", "minitron_width")
    families = [("sparse", "unstructured"), ("depth", "dense"), ("width", "dense")]
    named = [
        part.assign(method=name, granularity=family, pattern=pattern)
        for part, name, (family, pattern) in zip(parts, names, families, strict=False)
    ]
    pd.concat(named).to_csv(folder / "crossover.csv", index=False)
    return Tables(folder)


def test_the_figure_draws_gaps_curves_and_crossovers(tmp_path: Path) -> None:
    tables = lawful(tmp_path, 150_000, 1_000_000)
    data = FIGURES["crossover"].drawing.data(tables)
    figure = drawn("crossover", tables)
    for axes, (_, rows) in zip(figure.axes, data.groupby("panel", sort=False), strict=True):
        measured, curve = (rows[rows["kind"] == kind] for kind in ("measured", "curve"))
        shown = [list(line.get_ydata()) for line in axes.lines]
        assert list(measured["measured"]) in shown
        assert points(axes) == columns_of(measured, "x", "measured")
        assert list(rows[rows["budget"] >= TOKENS[0]].sort_values("budget")["fitted"]) in shown
        on_axis = [list(line.get_xdata()) for line in axes.lines if list(line.get_ydata()) in ([0, 0], [0])]
        row = rows.iloc[0]
        if row["status"] == "within the data":
            assert [row["crossover_low"], row["crossover_high"]] in on_axis
            assert [row["crossover_tokens"]] in on_axis
        else:
            assert [curve["budget"].max()] in on_axis
    text = words(figure)
    assert "Wanda: scratch is ahead from 1" in text
    assert "ShortGPT: scratch is not ahead before" in text
