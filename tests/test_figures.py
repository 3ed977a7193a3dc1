"""Figures show what their data file says, are labelled, legible, and the same bytes each time."""

import subprocess
import sys
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.figures import FIGURES, style
from pruning_vs_scratch.figures.save import save
from pruning_vs_scratch.tables.gaps import gap_groups, gap_table
from pruning_vs_scratch.tables.load import Tables
from synthetic_tables import BUDGETS, write_tables

SETTINGS = ClaimsConfig(resamples=200)
STUDIES: dict[str, dict[str, Any]] = {
    "whole": {},
    "seeds": {"seeds": (0, 1, 2)},
    "one_budget": {"budgets": BUDGETS[:1]},
    "one_ratio": {"ratios": [0.5]},
    "five_budgets": {"budgets": [10 * 10**9, 30 * 10**9, 50 * 10**9, 250 * 10**9, 500 * 10**9]},
    "no_full": {"full": False, "methods": [("shortgpt", "dense")]},
}


WITHOUT_TORCH = """
import runpy, sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers"):
            raise ImportError(f"{name} is not needed here")

sys.meta_path.insert(0, NoTorch())
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tables]:
    return {name: stored(tmp_path_factory.mktemp(name), **options) for name, options in STUDIES.items()}


def stored(folder: Path, **options: Any) -> Tables:
    tables = write_tables(folder, noise=0.05, **options)
    gap_table(gap_groups(tables, "test"), SETTINGS).to_csv(folder / "gaps.csv", index=False)
    return tables


def drawn(name: str, tables: Tables) -> Figure:
    with style.settings():
        figure = FIGURES[name].draw(tables, "demo")
        FigureCanvasAgg(figure).draw()
    return figure


def texts(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Every text that is seen, with its box in pixels."""
    found = list(figure.texts)
    for legend in figure.legends:
        found += [*legend.get_texts(), legend.get_title()]
    for axes in figure.axes:
        found += axes.texts
        if axes.axison:
            found += [axes.title, axes.xaxis.label, axes.yaxis.label]
            found += tick_labels(axes)
    return [(text, text.get_window_extent()) for text in found if text.get_text() and text.get_visible()]


def tick_labels(axes: Any) -> list[Text]:
    labels = []
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        labels += [
            tick.label1
            for tick in axis.get_major_ticks()
            if low <= tick.get_loc() <= high and tick.label1.get_visible()
        ]
    return labels


@pytest.fixture(scope="module", params=product(FIGURES, STUDIES), ids="-".join)
def case(request: pytest.FixtureRequest, studies: dict[str, Tables]) -> tuple[Figure, str]:
    """Every figure of every study, with the study's key."""
    name, study = request.param
    return drawn(name, studies[study]), study


def test_no_text_is_clipped_hidden_or_too_small(case: tuple[Figure, str]) -> None:
    figure, _ = case
    boxes = texts(figure)
    width, height = figure.canvas.get_width_height()
    for text, box in boxes:
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"clipped: {text.get_text()!r}"
        assert text.get_fontsize() >= 7
    for (one, first), (other, second) in combinations(boxes, 2):
        assert not first.overlaps(second), f"{one.get_text()!r} overlaps {other.get_text()!r}"


def test_axes_are_labelled_and_the_study_is_named(case: tuple[Figure, str]) -> None:
    figure, study = case
    for axes in figure.axes:
        if axes.axison:
            assert axes.get_xlabel()
            assert axes.get_ylabel() or axes.get_shared_y_axes().get_siblings(axes) != [axes]
    shown = " ".join(text.get_text() for text, _ in texts(figure)).replace("\n", " ")
    assert "Study demo: parent 524k tokens" in shown
    if figure.legends:
        assert ("3 seeds" if study == "seeds" else "1 seed;") in shown


@pytest.mark.parametrize("study", ["whole", "seeds", "one_budget"])
def test_token_budget_draws_its_data(studies: dict[str, Tables], study: str) -> None:
    data = FIGURES["token_budget"].data(studies[study])
    figure = drawn("token_budget", studies[study])
    assert len(figure.axes) == data["panel"].nunique() == 4
    for axes, (panel, rows) in zip(figure.axes, data.groupby("panel", sort=False), strict=True):
        assert axes.get_title().startswith(str(panel))
        lines = {line.get_label(): line for line in axes.lines}
        assert list(lines["parent"].get_ydata()) == [rows["loss_parent"].iloc[0]] * 2
        assert list(lines["from scratch"].get_ydata()) == list(rows["loss_scratch"])
        (pruned,) = (
            line for label, line in lines.items() if label in ("ShortGPT", "Minitron-width", "Wanda", "Wanda 2:4")
        )
        assert list(pruned.get_xdata()) == list(rows["budget"])
        assert list(pruned.get_ydata()) == list(rows["loss_retrained"])
        assert [text.get_text()[:4] for text in axes.texts] == [f"{gap:.2f}"[:4] for gap in rows["gap"]]


def test_full_budget_draws_its_data(studies: dict[str, Tables]) -> None:
    data = FIGURES["full_budget"].data(studies["whole"])
    losses, gaps = drawn("full_budget", studies["whole"]).axes
    bars = [bar.get_width() for bar in losses.patches]
    assert bars == [*data["loss_retrained"], *data["loss_scratch"]]
    points = [container.lines[0].get_xdata()[0] for container in gaps.containers]
    assert points == list(data["gap"])
    assert [label.get_text() for label in losses.get_yticklabels()][-1] == "Wanda 2:4 0.5"


def test_ratio_draws_its_data(studies: dict[str, Tables]) -> None:
    data = FIGURES["ratio"].data(studies["whole"])
    (axes,) = drawn("ratio", studies["whole"]).axes
    assert set(data["budget"]) == {max(BUDGETS)}
    points = [(x, y) for container in axes.containers for x, y in container.lines[0].get_xydata()]
    assert points == [*zip(data["x"], data["gap"], strict=True)]
    assert list(axes.get_xticks()) == [0.5, 0.75]


def test_a_figure_without_data_says_so(studies: dict[str, Tables]) -> None:
    assert FIGURES["full_budget"].data(studies["no_full"]).empty
    shown = [text.get_text() for text, _ in texts(drawn("full_budget", studies["no_full"]))]
    assert "This study has no baselines at the full budget." in shown


@pytest.mark.parametrize(
    ("name", "study"), [("token_budget", "no_full"), ("full_budget", "one_ratio"), ("ratio", "no_full")]
)
def test_files_are_complete_and_the_same_each_time(
    studies: dict[str, Tables], tmp_path: Path, name: str, study: str
) -> None:
    for folder in ("one", "two"):
        save(FIGURES[name], name, studies[study], "demo", tmp_path / folder)
    for suffix in ("pdf", "png", "csv"):
        one, two = (tmp_path / folder / f"{name}.{suffix}" for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    read = pd.read_csv(tmp_path / "one" / f"{name}.csv")
    pd.testing.assert_frame_equal(read, FIGURES[name].data(studies[study]), check_dtype=False)


def test_the_entry_point_redraws_without_torch(studies: dict[str, Tables], tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "workflow/scripts/draw_figures.py"
    tables = str(studies["no_full"].folder)
    subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(script), "--tables", tables, "--study", "demo",
         "--out", str(tmp_path), "--figure", "ratio"],
        check=True,
    )  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ratio.csv", "ratio.pdf", "ratio.png"]
