"""The figures of arms: what is drawn equals their data, and their titles are true of it."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from figure_world import STUDIES, drawn, points, stored, words
from pruning_vs_scratch.figures import findings, lottery, moments, objectives, schedules
from pruning_vs_scratch.tables.load import Tables
from synthetic_arms import SHARES, all_hold
from synthetic_tables import BUDGETS, METHODS, PARENT_PARAMS, PARENT_TOKENS

COMPARISONS = 7
"""Methods and patterns at each of their ratios; 2:4 has one."""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return stored(tmp_path_factory.mktemp("arms") / "tables", **STUDIES["arms"])


def lines(axes: Any) -> list[list[tuple[float, float]]]:
    return [[(float(x), float(y)) for x, y in line.get_xydata()] for line in axes.lines]


def test_objectives_draw_both_starts_over_the_objectives(tables: Tables) -> None:
    data, figure = objectives.data(tables), drawn("objectives", tables)
    assert len(data) == 3 * COMPARISONS
    assert len(figure.axes) == COMPARISONS
    for axes, (name, rows) in zip(figure.axes, data.groupby("panel", sort=False), strict=True):
        assert axes.get_title() == name
        assert rows["match"].tolist() == ["usual", "tokens", "flops"]
        found = lines(axes)
        assert found == [
            [(float(place), loss) for place, loss in enumerate(rows[side])] for side in ("loss_scratch", "loss_pruned")
        ]
        gaps = [text.get_text().split("\n")[0].replace("\N{MINUS SIGN}", "-") for text in axes.texts]
        assert gaps == [f"{gap:+.3f}" for gap in rows["gap"]]
    usual = data[data["match"] == "usual"]
    assert (usual["tokens"] == BUDGETS[0]).all()
    assert (data.loc[data["match"] == "flops", "tokens"] == BUDGETS[0] // 2).all()
    assert usual["gap"].tolist() == pytest.approx((usual["loss_scratch"] - usual["loss_pruned"]).tolist())


def test_schedules_draw_an_interval_per_method_and_arm(tables: Tables) -> None:
    data, figure = schedules.data(tables), drawn("schedules", tables)
    assert data.groupby("arm").size().to_dict() == {"gradual": COMPARISONS, "joint": COMPARISONS}
    for axes, (_, rows) in zip(figure.axes, data.groupby("panel", sort=False), strict=True):
        assert points(axes) == [(gap, float(row)) for gap, row in zip(rows["gap"], rows["row"], strict=True)]
    assert "0.25 then 0.5" in words(figure)
    assert data["gap"].tolist() == pytest.approx([all_hold("joint", "tokens", 1.0)] * len(data), abs=0.03)


def test_moments_draw_the_loss_against_share_and_average_parameters(tables: Tables) -> None:
    data, figure = moments.data(tables), drawn("moments", tables)
    assert data.groupby("share").size().to_dict() == dict.fromkeys((0.0, *SHARES, 1.0), COMPARISONS)
    assert (data.loc[data["share"] > 0, "tokens"] == PARENT_TOKENS + BUDGETS[0]).all()
    halves = data[(data["share"] == 0.5) & (data["ratio"] == 0.5)]
    assert halves["params_mean"].tolist() == pytest.approx([0.75 * PARENT_PARAMS] * len(halves))
    by_share, by_params = (sorted(point for line in lines(axes) for point in line) for axes in figure.axes)
    assert by_share == sorted(zip(data["share"], data["loss"], strict=True))
    assert by_params == sorted(zip(data["params_mean"] / 1e6, data["loss"], strict=True))


def test_moments_without_a_full_budget_begin_with_the_first_pruning(tmp_path: Path) -> None:
    tables = stored(tmp_path / "tables", **STUDIES["arms"] | {"full": False})
    assert moments.data(tables)["share"].min() == min(SHARES)
    assert "Scratch" not in words(drawn("moments", tables))


def test_lottery_draws_three_starts_of_each_structure(tables: Tables) -> None:
    data, figure = lottery.data(tables), drawn("lottery", tables)
    assert data.groupby("start").size().to_dict() == dict.fromkeys(("pruned", "rewound", "scratch"), COMPARISONS)
    (axes,) = figure.axes
    assert sorted(point for line in lines(axes) for point in line) == sorted(
        (loss, float(row)) for loss, row in zip(data["loss"], data["row"], strict=True)
    )


def test_lottery_shows_random_masks_of_the_same_ratio_pattern_and_budget(tmp_path: Path) -> None:
    """Random masks are not rewound; one at another ratio has nothing beside it."""
    tables = stored(tmp_path / "tables", rewind=True, budgets=BUDGETS[:1], methods=[("wanda", "unstructured")])
    equal = tables.gaps[tables.gaps["setting"] == "equal"]
    others = pd.concat([equal.assign(method="random"), equal.assign(method="random", ratio=0.9)])
    file = tables.folder / "gaps.csv"
    pd.concat([tables.gaps, others]).to_csv(file, index=False)
    data = lottery.data(Tables(tables.folder))
    random = data[data["method"] == "random"]
    assert sorted(random["ratio"].unique()) == [0.5, 0.75]
    assert set(random["start"]) == {"pruned", "scratch"}
    assert "random mask" in words(drawn("lottery", Tables(tables.folder)))


@pytest.mark.parametrize("name", ["objectives", "schedules", "moments", "lottery"])
def test_titles_hold_for_the_data(tables: Tables, name: str) -> None:
    titles = {
        "objectives": "With both sides distilled, pruned leads in all 14 comparisons; the mean gap falls from 0.58 to",
        "schedules": "Pruning in several steps is better in all 7 comparisons; one schedule for all is better in all 7",
        "moments": "Models pruned at 100% of the parent's tokens end 0.15 nats lower on average than those at 25%",
        "lottery": "Beyond random weights in the same structure, trained weights are worth 0.58 nats",
    }
    figure: Figure = drawn(name, tables)
    assert titles[name] in words(figure)
    assert len(METHODS) == 4


def rows(arm: str, *gaps: float) -> pd.DataFrame:
    table = pd.DataFrame({"gap": gaps}).assign(arm=arm)
    return table.assign(low=table["gap"] - 0.01, high=table["gap"] + 0.01)


@pytest.mark.parametrize(
    ("gaps", "found"),
    [
        ((0.1, 0.2), "Pruning in several steps is better in all 2 comparisons"),
        ((0.1, -0.2, 0.0), "Pruning in several steps is better in 1 of 3 comparisons, worse in 1"),
        ((-0.1,), "Pruning in several steps is worse"),
        ((0.0, 0.005), "Pruning in several steps is neither better nor worse in any of 2 comparisons"),
    ],
)
def test_a_schedule_is_better_only_where_its_interval_is_above_zero(gaps: tuple[float, ...], found: str) -> None:
    assert findings.schedules(rows("gradual", *gaps)) == found


def test_later_pruning_may_be_worse_or_alike() -> None:
    losses = pd.DataFrame({"share": [0.25, 1.0], "loss": [3.0, 3.25], "low": 0.0, "high": 0.0})
    assert "end 0.25 nats higher" in findings.moments(losses)
    assert findings.moments(losses.assign(loss=3.0)).endswith("end alike on average")
    assert findings.moments(losses[:0]) == ""
