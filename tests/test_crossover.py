"""Where scratch overtakes: on known lines, by brute force, and as often inside its interval as that says."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from figure_world import drawn, stored
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.figures import FIGURES
from pruning_vs_scratch.tables.crossover import GapLine, crossover, crossover_table, gap_lines
from pruning_vs_scratch.tables.gaps import gap_groups, gap_table
from pruning_vs_scratch.tables.load import COLUMNS
from pruning_vs_scratch.tables.recommend import answers, recommendation
from synthetic_tables import BUDGETS, PARENT_TOKENS, Gap, write_tables

SETTINGS = ClaimsConfig(resamples=300)


def line(gaps: np.ndarray, budgets: tuple[int, ...] = BUDGETS) -> GapLine:
    """A line through given gaps, shape (budgets, seeds, sequences)."""
    return GapLine("wanda", "sparse", "unstructured", 0.5, budgets, gaps)


def falling(start: float, slope: float, noise: float = 0.05, *, seeds: int = 1, rng_seed: int = 0) -> GapLine:
    """Gaps that change by ``slope`` per doubling from ``start`` at the smallest budget."""
    rng = np.random.default_rng(rng_seed)
    means = [start + slope * math.log2(budget / BUDGETS[0]) for budget in BUDGETS]
    return line(np.array(means)[:, None, None] + rng.normal(0, noise, (len(BUDGETS), seeds, 64)))


def test_the_line_is_that_of_least_squares() -> None:
    made = falling(0.4, -0.1)
    slope, height = np.polyfit(np.log2(BUDGETS), made.gaps.mean(axis=(1, 2)), 1)
    assert made.slope == pytest.approx(slope)
    assert made.height(200_000) == pytest.approx(slope * math.log2(200_000) + height)
    assert made.residuals == pytest.approx(made.gaps.mean(axis=(1, 2)) - (slope * np.log2(BUDGETS) + height))
    assert crossover(made, 0.95).tokens == pytest.approx(2 ** (-height / slope))


def test_the_interval_is_fiellers() -> None:
    """In closed form, for one seed: the roots of a quadratic in log2 tokens."""
    made = falling(0.4, -0.1, noise=0.3)
    x = np.log2(BUDGETS)
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    b = np.tensordot(weights, made.gaps[:, 0], axes=1)
    a = made.gaps[:, 0].mean(axis=0) - b * x.mean()
    (vaa, vab), (_, vbb) = np.cov(a, b) / len(a)
    t = stats.t.ppf(0.975, len(a) - 1)
    roots = np.roots([b.mean() ** 2 - t**2 * vbb, 2 * (a.mean() * b.mean() - t**2 * vab), a.mean() ** 2 - t**2 * vaa])
    found = crossover(made, 0.95)
    assert [found.low, found.high] == pytest.approx(sorted(2.0**roots), rel=1e-6)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_holds_the_true_crossover_as_often_as_it_says(seeds: int) -> None:
    truth = BUDGETS[0] * 2.0**4
    hits = 0
    for repetition in range(200):
        found = crossover(falling(0.4, -0.1, noise=0.2, seeds=seeds, rng_seed=repetition), 0.95)
        hits += (found.low or 0) <= truth <= (found.high or math.inf)
    assert 0.90 <= hits / 200 <= (0.99 if seeds == 1 else 1.0)


CASES: dict[str, tuple[float, float, str]] = {
    "beyond": (0.4, -0.1, "beyond the data"),
    "within": (0.1, -0.1, "within the data"),
    "before": (-0.1, -0.1, "before the data"),
    "growing": (0.1, 0.1, "none on this trend"),
    "growing from below": (-0.5, 0.1, "before the data"),
}


@pytest.mark.parametrize("case", CASES)
def test_where_the_crossover_lies_is_said(case: str) -> None:
    start, slope, status = CASES[case]
    assert crossover(falling(start, slope, noise=0.01), 0.95).status == status


def test_a_trend_that_may_be_flat_has_no_upper_end() -> None:
    found = crossover(falling(0.4, -0.02, noise=0.5), 0.95)
    assert found.high is None


def paperlike(setting: str, _: str, ratio: float, budget: int) -> float:
    return -0.1 if setting == "full" else 0.3 - 0.1 * math.log2(budget / BUDGETS[0]) - (ratio > 0.6) * 0.05


def made_groups(folder: Path, gap: Gap = paperlike, **options: object) -> list:
    return gap_groups(write_tables(folder, gap=gap, **options), "test")  # type: ignore[arg-type]


def test_the_table_has_a_row_a_budget_and_one_crossover_a_line(tmp_path: Path) -> None:
    groups = made_groups(tmp_path)
    table = crossover_table(groups, SETTINGS)
    assert list(table.columns) == list(COLUMNS["crossover.csv"])
    lines = gap_lines(groups)
    assert len(table) == len(lines) * len(BUDGETS)
    per_line = table.groupby(["method", "pattern", "ratio"])
    assert (per_line["crossover_tokens"].nunique() == 1).all()
    assert table["gap"].tolist() == pytest.approx((table["fitted"] + table["residual"]).tolist())
    near = per_line["crossover_tokens"].first()
    assert near.xs(0.5, level="ratio").between(8 * BUDGETS[0] * 0.8, 8 * BUDGETS[0] * 1.25).all()


def test_one_budget_makes_no_line(tmp_path: Path) -> None:
    assert crossover_table(made_groups(tmp_path, budgets=[BUDGETS[0]]), SETTINGS).empty


def test_advice_follows_the_trend_where_a_parent_is_there(tmp_path: Path) -> None:
    groups = made_groups(tmp_path, noise=0.01)
    early, late = (answers(groups, tokens, 0.5, SETTINGS) for tokens in (BUDGETS[0], 16 * BUDGETS[-1]))
    assert {answer.advice for answer in early} == {"prune"}
    assert {answer.advice for answer in late} == {"from scratch"}
    assert {answer.beyond for answer in early} == {1.0}
    assert {answer.beyond for answer in late} == {16.0}
    near = answers(groups, 8 * BUDGETS[0], 0.5, ClaimsConfig(equivalence_margin=0.2))
    assert {answer.advice for answer in near} == {"either"}


def test_a_parent_still_to_be_trained_asks_the_full_budget(tmp_path: Path) -> None:
    found = answers(made_groups(tmp_path), BUDGETS[-1], 0.5, SETTINGS, parent_is_there=False)
    assert {answer.advice for answer in found} == {"from scratch"}
    assert all(answer.gap == pytest.approx(-0.1, abs=0.01) for answer in found)


def test_a_study_that_cannot_answer_says_what_is_missing(tmp_path: Path) -> None:
    groups = made_groups(tmp_path, budgets=[BUDGETS[0]], full=False)
    with pytest.raises(UserError, match="two budgets of one method"):
        answers(groups, 1000, 0.5, SETTINGS)
    with pytest.raises(UserError, match="full pipeline budget"):
        answers(groups, 1000, 0.5, SETTINGS, parent_is_there=False)


def test_the_text_says_how_far_it_reaches(tmp_path: Path) -> None:
    found = answers(made_groups(tmp_path), 4 * BUDGETS[-1], 0.6, SETTINGS)
    text = recommendation(
        found, 4 * BUDGETS[-1], 0.6, study="demo", studied_parent=PARENT_TOKENS, parent=2 * PARENT_TOKENS, is_there=True
    )
    assert "outside of those that were run by a factor of up to 4. That is far" in text
    assert "Ratio 0.6 was not run for every method; the nearest were 0.5" in text
    assert "The study's parent was trained on 0.5 times the tokens of yours." in text
    assert len([row for row in text.splitlines() if "from scratch" in row or "prune " in row]) >= len(found)


def test_the_command_answers_from_stored_tables_without_torch(tmp_path: Path) -> None:
    folder = tmp_path / "results/mine/tables"
    groups = made_groups(folder)
    gap_table(groups, SETTINGS).to_csv(folder / "gaps.csv", index=False)
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not needed here')")
    result = subprocess.run(
        [
            sys.executable, str(REPOSITORY / "workflow/scripts/recommend.py"), "--study", "mine", "--tokens", "65536",
            "--ratio", "0.5",
        ],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "Wanda 2:4 0.5" in result.stdout


def test_the_figure_draws_measured_and_fitted_gaps_and_residuals(tmp_path: Path) -> None:
    tables = stored(tmp_path, gap=paperlike)
    data = FIGURES["crossover"].data(tables)
    assert set(data["ratio"]) == {0.5}
    gaps, residuals = drawn("crossover", tables).axes
    for _, rows in data.groupby(["method", "pattern"], sort=False):
        assert list(rows["gap"]) in [list(line.get_ydata()) for line in gaps.lines]
        assert list(rows["fitted"]) in [list(line.get_ydata()) for line in gaps.lines]
        assert list(rows["residual"]) in [list(line.get_ydata()) for line in residuals.lines]
        beyond = [line for line in gaps.lines if line.get_linestyle() == "--"]
        ends = [(line.get_xdata()[-1], line.get_ydata()[-1]) for line in beyond]
        assert (rows["crossover_tokens"].iloc[0], pytest.approx(0, abs=1e-6)) in ends
