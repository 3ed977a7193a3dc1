"""Power laws and what a pruned start is worth in tokens: on known laws, by brute force, and on the paper's numbers."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from figure_world import columns_of, drawn, stored, words
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.figures.catalogue import FIGURES
from pruning_vs_scratch.tables import resampling
from pruning_vs_scratch.tables.gaps import GapGroup, gap_groups
from pruning_vs_scratch.tables.load import COLUMNS, Tables
from pruning_vs_scratch.tables.power_law import fit_power_laws
from pruning_vs_scratch.tables.published.catalogue import PUBLISHED
from pruning_vs_scratch.tables.published.stored import Stored
from pruning_vs_scratch.tables.reported import reported_table
from pruning_vs_scratch.tables.resampling import FAR, Misfit, pooled_misfit
from pruning_vs_scratch.tables.sides import Series, Sides, all_sides
from pruning_vs_scratch.tables.transfer import ONE_BUDGET, Worth, reported_transfer, transfer_table, worths
from synthetic_tables import BUDGETS, PARENT_TOKENS, write_tables

SETTINGS = ClaimsConfig()
LEVEL = SETTINGS.confidence
STUDIES = 200
LEAST_COVERED = LEVEL - 3 * np.sqrt(LEVEL * (1 - LEVEL) / STUDIES)
"""Share of intervals that hold the truth, which the stated level undercuts with a probability of 0.1 %."""
FLOOR, SCALE, EXPONENT, UNIT = 2.0, 1.5, 0.35, 100_000
TOKENS = (25_000, 50_000, 100_000, 200_000, 400_000)
RETRAINED_ON = 50_000
SEQUENCES = 64
Law = Callable[[np.ndarray], np.ndarray]


def law(tokens: np.ndarray) -> np.ndarray:
    """The true loss from scratch."""
    return FLOOR + SCALE * (tokens / UNIT) ** -EXPONENT


def wavy(tokens: np.ndarray) -> np.ndarray:
    """No power law."""
    return law(tokens) + 0.04 * np.sin(3 * np.log2(tokens / TOKENS[0]))


def sides(
    true: float, rng: np.random.Generator, *, tokens: tuple[int, ...] = TOKENS, run_noise: float = 0.0,
    noise: float = 0.05, law: Law = law, loss: float | None = None,
) -> Sides:  # fmt: skip
    """A method retrained on one budget, whose loss scratch reaches after ``true`` tokens, or which is given."""

    def series(budgets: tuple[int, ...], means: np.ndarray, name: str) -> Series:
        lucky = means + rng.normal(0, run_noise, len(means))
        losses = lucky[:, None] + difficulty + rng.normal(0, noise, (len(means), SEQUENCES))
        return Series(budgets, losses, tuple(f"{name}{rng.integers(2**60)}" for _ in budgets))

    difficulty = rng.normal(0, 0.3, SEQUENCES)
    scratch = series(tokens, law(np.array(tokens, dtype=float)), "S")
    reached = law(np.array([float(true)])) if loss is None else np.array([loss])
    retrained = series((RETRAINED_ON,), reached, "R")
    return Sides("wanda", "sparse", "unstructured", 0.5, retrained, scratch, (), (), 1, None)


def worth(made: Sides, misfit: Misfit | None = None) -> Worth:
    (found,) = worths(made, misfit, LEVEL)
    return found


@pytest.mark.parametrize("budgets", [TOKENS[:3], TOKENS])
def test_laws_are_those_of_least_squares(budgets: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    units = np.array(budgets) / UNIT
    losses = law(np.array(budgets, dtype=float)) + rng.normal(0, 0.01, (20, len(budgets)))
    found = fit_power_laws(budgets, losses)
    for i, values in enumerate(losses):
        best = min(
            (
                optimize.least_squares(
                    lambda p, values=values: p[0] + p[1] * units ** -p[2] - values, (1.0, 1.0, start),
                    bounds=([0, 0, 0.01], [np.inf, np.inf, 4]), xtol=1e-12, ftol=1e-12, gtol=1e-12,
                )
                for start in (0.1, 0.4, 1.0)
            ),
            key=lambda fit: fit.cost,
        )  # fmt: skip
        assert found.squares[i] <= 2 * best.cost + 1e-6
        for tokens in (budgets[0], 70_000, budgets[-1]):
            expected = best.x[0] + best.x[1] * (tokens / UNIT) ** -best.x[2]
            assert found.loss(tokens)[i] == pytest.approx(expected, abs=1e-3)


def test_a_law_and_its_inverse_agree_and_a_floor_is_never_reached() -> None:
    found = fit_power_laws(TOKENS, law(np.array(TOKENS, dtype=float)))
    assert found.floor[0] == pytest.approx(FLOOR, abs=0.02)
    assert found.tokens(found.loss(70_000))[0] == pytest.approx(70_000)
    assert found.tokens(found.floor - 0.001)[0] == np.inf
    with pytest.raises(ValueError, match="needs 3 different budgets, not 2"):
        fit_power_laws((1, 2, 2), [[3.0, 2.0, 2.0]])


@pytest.fixture(autouse=True, scope="module")
def few_resamples() -> Iterator[None]:
    """Many studies in seconds. Quantiles are rougher: the level that intervals hold on average falls by below 0.005."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, "RESAMPLES", 300)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The stored tables of a study; not to be changed."""
    return stored(tmp_path_factory.mktemp("study") / "tables")


@pytest.mark.slow
def test_the_interval_covers_the_true_tokens_at_the_stated_rate() -> None:
    """Runs and sequences are noisy; the misfit is pooled over the four targets of a study."""
    truth, hits = 150_000, 0
    for repetition in range(STUDIES):
        rng = np.random.default_rng(repetition)
        study = [sides(truth, rng, run_noise=0.01) for _ in range(4)]
        found = worth(study[0], pooled_misfit([made.scratch for made in study]))
        hits += (found.low or 0) <= truth <= (found.high or np.inf)
    assert hits / STUDIES >= LEAST_COVERED


def test_evaluation_noise_alone_is_covered_too() -> None:
    truth, hits = 150_000, 0
    for repetition in range(STUDIES):
        found = worth(sides(truth, np.random.default_rng(repetition), tokens=TOKENS[1:4]))
        hits += (found.low or 0) <= truth <= (found.high or np.inf)
    assert hits / STUDIES >= LEAST_COVERED


def test_a_law_that_does_not_hold_makes_intervals_wide() -> None:
    widths = {}
    for name, true_law in {"holds": law, "waves": wavy}.items():
        made = sides(150_000, np.random.default_rng(1), law=true_law, loss=float(law(np.array([150_000.0]))[0]))
        found = worth(made, pooled_misfit([made.scratch]))
        widths[name] = np.log((found.high or FAR * TOKENS[-1]) / (found.low or TOKENS[0] / FAR))
    assert widths["waves"] > 3 * widths["holds"]


def test_laws_that_share_runs_count_once() -> None:
    made = sides(150_000, np.random.default_rng(2), run_noise=0.01).scratch
    other = sides(150_000, np.random.default_rng(3), run_noise=0.01).scratch
    one, two = pooled_misfit([made, made]), pooled_misfit([made, other])
    assert one == pooled_misfit([made])
    assert (one.degrees, two.degrees) == (2, 4)  # type: ignore[union-attr]
    assert pooled_misfit([Series(TOKENS[:3], made.losses[:3], made.runs[:3])]) is None


@pytest.mark.parametrize(
    ("true", "status", "has_point"),
    [
        (150_000, "within the data", True),
        (600_000, "beyond the data", True),
        (3_000_000, "far beyond the data", False),
        (18_000, "below the data", True),
        (5_000, "far below the data", False),
    ],
)
def test_beyond_twice_the_largest_budget_nothing_is_stated_but_a_bound(true: int, status: str, has_point: bool) -> None:
    found = worth(sides(true, np.random.default_rng(4), noise=0.002))
    assert found.status == status
    assert (found.tokens is not None) == has_point
    least, most = TOKENS[0] / FAR, TOKENS[-1] * FAR
    if has_point:
        assert found.tokens == pytest.approx(true, rel=0.1)
    elif true > most:
        assert (found.low, found.high) == (most, None)
    else:
        assert (found.low, found.high) == (None, least)


def test_a_loss_below_the_floor_is_never_reached() -> None:
    found = worth(sides(0, np.random.default_rng(5), loss=FLOOR - 0.5))
    assert found == Worth("far beyond the data", None, FAR * TOKENS[-1], None)


@pytest.mark.parametrize(
    ("true", "status", "low", "high"),
    [
        (100_000, "between two budgets", 50_000, 200_000),
        (800_000, "beyond the data", 200_000, None),
        (10_000, "below the data", None, 50_000),
    ],
)
def test_two_budgets_only_say_on_which_side(true: int, status: str, low: float | None, high: float | None) -> None:
    found = worth(sides(true, np.random.default_rng(6), tokens=(50_000, 200_000)))
    assert (found.status, found.low, found.high) == (status, low, high)
    assert (found.tokens is not None) == (status == "between two budgets")
    assert found.tokens is None or low <= found.tokens <= high  # type: ignore[operator]


def test_one_budget_determines_nothing() -> None:
    found = worth(sides(100_000, np.random.default_rng(7), tokens=(50_000,)))
    assert found == Worth("one budget of scratch", None, None, None)


def lawful_groups(rng: np.random.Generator) -> tuple[list[GapGroup], pd.DataFrame]:
    """A method that is always worth 100,000 tokens, at three equal budgets and a full one; and its runs."""
    runs = {f"S{tokens}": tokens for tokens in (*TOKENS[:3], UNIT + TOKENS[2])}

    def losses(tokens: float) -> np.ndarray:
        return law(np.array([tokens]))[:, None] + rng.normal(0, 0.002, (1, SEQUENCES))

    scratch = {name: losses(tokens) for name, tokens in runs.items()}
    retrained = {budget: losses(UNIT + budget) for budget in TOKENS[:3]}
    places = [*(("equal", budget, f"S{budget}") for budget in TOKENS[:3]), ("full", TOKENS[2], f"S{UNIT + TOKENS[2]}")]
    groups = [
        GapGroup(
            setting, "wanda", "sparse", "unstructured", 0.5, budget, (0,), (f"R{budget}",), (run,),
            retrained[budget], scratch[run], losses(TOKENS[-1]),
        )
        for setting, budget, run in places
    ]  # fmt: skip
    return groups, pd.DataFrame({"run": list(runs), "tokens_train": list(runs.values()), "tokens_parent": float("nan")})


def test_the_table_has_tokens_and_shares_of_what_the_parent_read() -> None:
    groups, runs = lawful_groups(np.random.default_rng(8))
    unknown = transfer_table(groups, runs, SETTINGS)
    assert tuple(unknown.columns) == COLUMNS["transfer.csv"]
    assert unknown["budget"].tolist() == list(TOKENS[:3])
    assert unknown["transferred"].to_numpy(dtype=float) == pytest.approx(UNIT, rel=0.1)
    assert unknown[["tokens_parent", "share", "share_low"]].isna().all(axis=None)
    known = transfer_table(groups, runs.assign(tokens_parent=2 * UNIT), SETTINGS)
    for end in ("", "_low", "_high"):
        expected = (known[f"scratch_tokens{end}"] - known["budget"]) / (2 * UNIT)
        assert known[f"share{end}"].to_numpy(dtype=float) == pytest.approx(expected.to_numpy(dtype=float))
    assert (known["share_low"] < known["share"]).all()
    assert known["most_tokens"].unique() == [UNIT + TOKENS[2]]


def test_full_baselines_are_points_of_the_law(tmp_path: Path) -> None:
    tables = write_tables(tmp_path)
    made = all_sides(gap_groups(tables, "test"), tables.runs)
    assert {side.scratch.tokens for side in made} == {(*BUDGETS, PARENT_TOKENS + BUDGETS[-1])}
    assert {side.retrained.tokens for side in made} == {BUDGETS}
    assert {side.extra for side in made} == {PARENT_TOKENS}


def test_the_papers_losses_give_the_shares_worked_out_by_hand() -> None:
    table = reported_transfer(reported_table(REPOSITORY / "config/reported.csv"))
    shares = {
        "minitron_depth": [0.17, 0.31, 0.49, 1.15, None],
        "minitron_width": [0.34, 1.26, 1.16, 3.18, None],
    }
    for method, expected in shares.items():
        rows = table[table["method"] == method]
        assert rows["budget"].tolist() == [budget * 10**9 for budget in (10, 30, 50, 250, 500)]
        found = [None if pd.isna(share) else round(share, 2) for share in rows["share"]]
        assert found == expected
        assert rows["status"].iloc[-1] == "far beyond the data"
    assert set(table["grade"]) == {"read_off"}


def test_the_printed_table_has_the_study_and_the_paper(study: Tables) -> None:
    published = PUBLISHED["transfer"].make(Stored(study.folder.parent))
    assert published.numbers["source"].value_counts().to_dict() == {"study": len(study.transfer), "paper": 10}
    row = published.printed[published.printed["source"] == "paper"].iloc[2]
    assert row["share of the parent's"] == "0.49"
    assert row["grade"] == "read_off"


def figure_tables(study: Tables, folder: Path, **changes: object) -> Tables:
    """The study with pruned starts that are worth the same at every budget."""
    shutil.copytree(study.folder, folder, dirs_exist_ok=True)
    groups, runs = lawful_groups(np.random.default_rng(9))
    table = transfer_table(groups, runs.assign(tokens_parent=2 * UNIT), SETTINGS)
    depth = table.assign(method="shortgpt", granularity="depth", pattern="dense")
    pd.concat([depth, table]).assign(**changes).to_csv(folder / "transfer.csv", index=False)
    return Tables(folder)


def test_the_figure_draws_shares_intervals_and_the_papers(study: Tables, tmp_path: Path) -> None:
    tables = figure_tables(study, tmp_path)
    data = FIGURES["transfer"].drawing.data(tables)
    assert data.groupby("source")["panel"].unique().map(list).to_dict() == {
        "paper": ["depth"], "study": ["depth", "sparse, unstructured"],
    }  # fmt: skip
    figure = drawn("transfer", tables)
    for axes, (_, rows) in zip(figure.axes, data.groupby("panel", sort=False), strict=True):
        shown = [list(line.get_ydata()) for line in axes.lines]
        for _, series in rows.groupby("source"):
            assert list(series["value"]) in [
                pytest.approx(values, nan_ok=True) for values in shown if len(values) == len(series)
            ]
        ends = [tuple(path[:, 1]) for collection in axes.collections for path in collection.get_segments()]
        study = rows[rows["source"] == "study"]
        assert ends == [tuple(pair) for pair in study[["low", "high"]].to_numpy(dtype=float)]
    assert "worth the parent's tokens" in words(figure)
    assert "read off the paper's plot" in words(figure)


def test_open_ends_are_drawn_to_what_is_stated_and_counted(study: Tables, tmp_path: Path) -> None:
    nothing = dict.fromkeys(("share", "share_high", "scratch_tokens", "scratch_tokens_high"), np.nan)
    tables = figure_tables(study, tmp_path, status="far beyond the data", **nothing)
    data = FIGURES["transfer"].drawing.data(tables)
    study = data[data["source"] == "study"]
    assert study["open_high"].all()
    farthest = (FAR * (UNIT + TOKENS[2]) - study["budget"]) / (2 * UNIT)
    assert study["high"].to_numpy(dtype=float) == pytest.approx(farthest.to_numpy(dtype=float))
    figure = drawn("transfer", tables)
    shown = words(figure)
    assert "Without a point: far beyond the data (6)." in shown
    assert "open end of an interval" in shown
    arrows = [line for axes in figure.axes for line in axes.lines if line.get_marker() == r"$\uparrow$"]
    ends = [(float(x), float(y)) for line in arrows for x, y in line.get_xydata()]
    assert sorted(ends) == sorted(columns_of(study, "x", "high"))


def test_a_panel_of_which_nothing_is_stated_says_why(study: Tables, tmp_path: Path) -> None:
    tables = figure_tables(study, tmp_path)
    table = tables.transfer
    single = table["granularity"] == "sparse"  # the paper's losses are of depth and width
    table.loc[single, "status"] = ONE_BUDGET
    table.loc[single, [name for name in table if name.startswith(("scratch_", "transferred", "share"))]] = np.nan
    table.to_csv(tables.folder / "transfer.csv", index=False)
    figure = drawn("transfer", Tables(tables.folder))
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [
        [], [f"nothing is stated:\n{ONE_BUDGET}"],
    ]  # fmt: skip
    _, empty = figure.axes
    assert not empty.lines
    assert not [tick.get_text() for tick in empty.get_yticklabels() if tick.get_visible() and tick.get_text()]
    assert "Without a point: one budget of scratch (3)." in words(figure)
    assert "Wanda" not in words(figure)


@pytest.mark.parametrize(("misfit", "covered"), [(0.01, "and the laws' misfit"), (np.nan, "only")])
def test_intervals_of_laws_do_not_claim_to_cover_seeds(
    study: Tables, tmp_path: Path, misfit: float, covered: str
) -> None:
    shown = words(drawn("transfer", figure_tables(study, tmp_path, seeds=3, misfit=misfit)))
    assert f"intervals over sequences and seeds. Those of power laws: over sequences {covered}." in shown


def test_tokens_are_drawn_if_the_parents_are_unknown(study: Tables, tmp_path: Path) -> None:
    tables = figure_tables(study, tmp_path, tokens_parent=np.nan)
    data = FIGURES["transfer"].drawing.data(tables)
    assert set(data["source"]) == {"study"}
    assert data["value"].tolist() == tables.transfer["transferred"].tolist()
    shown = words(drawn("transfer", tables))
    assert "share of the parent" not in shown
    assert "worth the parent's tokens" not in shown
