"""Figures show what their data file says, are labelled, legible, and the same bytes each time."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from figure_world import STUDIES, WITHOUT_TORCH, columns_of, drawn, points, texts, words
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.figures import choose, sideways
from pruning_vs_scratch.figures.catalogue import FIGURES, LAW_BUDGETS, figures_of, needed_tables
from pruning_vs_scratch.figures.save import save
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.load import Tables
from pruning_vs_scratch.tables.power_law import PARAMETERS
from synthetic_tables import BUDGETS

LABELS = ("ShortGPT", "Minitron-width", "Wanda", "Wanda 2:4")
TALK = product(FIGURES, ["whole"], ["talk"])


@pytest.fixture(scope="module", params=[*product(FIGURES, STUDIES, ["column"]), *TALK], ids="-".join)
def case(request: pytest.FixtureRequest, figure_tables: dict[str, Tables]) -> tuple[Figure, str]:
    """Every figure of every study, with the study's key; of one study also for slides."""
    name, study, size = request.param
    return drawn(name, figure_tables[study], size), study


@pytest.mark.slow
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
            assert axes.get_xlabel() or axes.get_shared_x_axes().get_siblings(axes) != [axes]
            assert axes.get_ylabel() or axes.get_shared_y_axes().get_siblings(axes) != [axes]
    shown = words(figure)
    assert "Study demo: parent 524k tokens" in shown or study == "unmatched"
    if figure.legends and study != "unmatched":
        assert ("3 seeds" if study == "seeds" else "1 seed") in shown


@pytest.mark.parametrize("study", ["whole", "seeds", "one_budget"])
def test_token_budget_draws_its_data(figure_tables: dict[str, Tables], study: str) -> None:
    data = FIGURES["token_budget"].drawing.data(figure_tables[study])
    figure = drawn("token_budget", figure_tables[study])
    assert list(data["panel"].unique())[:2] == ["depth", "width"]
    assert len(figure.axes) == data["panel"].nunique() == (3 if study == "one_budget" else 4)
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    for axes, (panel, rows) in zip(figure.axes, data.groupby("panel", sort=False), strict=True):
        assert axes.get_title().startswith(str(panel))
        (parent,) = (line for line in axes.lines if line.get_label() == "parent")
        assert list(parent.get_ydata()) == [rows["loss_parent"].iloc[0]] * 2
        scratch = [list(line.get_ydata()) for line in axes.lines if line.get_label() == "from scratch"]
        by_method = [method for _, method in rows.groupby(["method", "pattern"], sort=False)]
        assert scratch == [list(method["loss_scratch"]) for method in by_method]
        pruned = [line for line in axes.lines if line.get_label() in LABELS]
        for line, method in zip(pruned, by_method, strict=True):
            assert list(line.get_xdata()) == list(method["x"])
            assert list(line.get_ydata()) == list(method["loss_retrained"])
        assert [text.get_text()[:4] for text in axes.texts] == [f"{gap:.2f}"[:4] for gap in rows["gap"]]


def test_a_family_of_one_budget_is_in_a_panel_with_its_granularity() -> None:
    columns = ["panel", "granularity", "ratio", "budget"]
    rows = [
        ("depth", "depth", 0.5, 1), ("sparse, unstructured", "sparse", 0.5, 1),
        ("sparse, unstructured", "sparse", 0.5, 2), ("sparse, 2:4", "sparse", 0.5, 2),
        ("sparse, 4:8", "sparse", 0.7, 2),
    ]  # fmt: skip
    found = choose.gathered(pd.DataFrame(rows, columns=columns))
    assert list(found["panel"]) == ["depth", "sparse", "sparse", "sparse", "sparse, 4:8"]


def test_a_baseline_that_methods_share_is_drawn_at_the_budgets_of_all(
    figure_tables: dict[str, Tables], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(figure_tables["whole"].folder, tmp_path / "tables"))
    gaps = pd.read_csv(folder / "gaps.csv")
    at_most = gaps[(gaps["method"] == "shortgpt") & (gaps["budget"] == gaps["budget"].max())]
    pd.concat([at_most.assign(method="minitron_depth"), gaps]).to_csv(folder / "gaps.csv", index=False)
    depth = drawn("token_budget", Tables(folder)).axes[0]
    (scratch,) = (line for line in depth.lines if line.get_label() == "from scratch")
    assert list(scratch.get_xdata()) == list(BUDGETS)


@pytest.mark.parametrize("study", ["whole", "seeds", "holes"])
def test_full_budget_draws_its_data(figure_tables: dict[str, Tables], study: str) -> None:
    data = FIGURES["full_budget"].drawing.data(figure_tables[study])
    figure = drawn("full_budget", figure_tables[study])
    (axes,) = figure.axes
    assert [x for x, _ in points(axes)] == data[["loss_retrained", "loss_scratch"]].to_numpy().ravel().tolist()
    parents = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [list(line.get_xdata()) for line in parents] == [[data["loss_parent"].mean()] * 2]
    assert axes.get_xlim()[0] > 0.9 * data["loss_parent"].min()
    written = {text.get_position()[1]: text.get_text().replace("\N{MINUS SIGN}", "-") for text in axes.texts}
    for _, row in data.iterrows():
        assert written[row["row"]] == f"{row['gap']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"


def test_full_budget_groups_methods_by_granularity(figure_tables: dict[str, Tables]) -> None:
    figure = drawn("full_budget", figure_tables["one_ratio"])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "depth", "ShortGPT", "width", "Minitron-width", "sparse", "Wanda", "Wanda 2:4",
    ]  # fmt: skip
    labels = [label.get_text() for label in drawn("full_budget", figure_tables["whole"]).axes[0].get_yticklabels()]
    assert labels[-1] == "Wanda 2:4 0.5"


def test_ratio_draws_its_data(figure_tables: dict[str, Tables]) -> None:
    data = FIGURES["ratio"].drawing.data(figure_tables["whole"])
    panels = drawn("ratio", figure_tables["whole"]).axes
    assert set(data["budget"]) == {max(BUDGETS)}
    assert [axes.get_title() for axes in panels] == list(data["panel"].unique()) == ["depth", "width", "sparse"]
    for axes, (_, rows) in zip(panels, data.groupby("panel", sort=False), strict=True):
        assert points(axes) == columns_of(rows, "x", "gap")
        assert list(axes.get_xticks()) == [0.5, 0.75]
        assert axes.get_ylim() == panels[0].get_ylim()


def test_a_figure_without_data_says_so(figure_tables: dict[str, Tables]) -> None:
    assert FIGURES["full_budget"].drawing.data(figure_tables["no_full"]).empty
    shown = [text.get_text() for text, _ in texts(drawn("full_budget", figure_tables["no_full"]))]
    assert "This study has no baselines at the full budget." in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "study"), [("token_budget", "no_full"), ("full_budget", "one_ratio"), ("ratio", "no_full")]
)
def test_files_are_complete_and_the_same_each_time(
    figure_tables: dict[str, Tables], tmp_path: Path, name: str, study: str
) -> None:
    for folder in ("one", "two"):
        save(FIGURES[name], figure_tables[study], "demo", tmp_path / folder)
    for suffix in ("pdf", "png", "csv"):
        one, two = (tmp_path / folder / f"{name}.{suffix}" for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    read = pd.read_csv(tmp_path / "one" / f"{name}.csv")
    pd.testing.assert_frame_equal(read, FIGURES[name].drawing.data(figure_tables[study]), check_dtype=False)


@pytest.mark.slow
def test_the_entry_point_redraws_without_torch(figure_tables: dict[str, Tables], tmp_path: Path) -> None:
    script = REPOSITORY / "workflow/scripts/draw_figures.py"
    tables = str(figure_tables["whole"].folder)
    subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(script), "--tables", tables, "--study", "demo",
         "--out", str(tmp_path), "--size", "talk"],
        check=True,
    )  # fmt: skip
    files = {f"{name}.{kind}" for name in FIGURES for kind in ("csv", "pdf", "png")}
    assert {path.name for path in tmp_path.iterdir()} == files


def test_the_report_explains_every_figure() -> None:
    captions = [REPOSITORY / "workflow" / figure.caption for figure in FIGURES.values()]
    assert all(caption.read_text(encoding="utf-8").strip() for caption in captions)
    assert sorted((REPOSITORY / "workflow/report/figures").iterdir()) == sorted(captions)


def test_the_guide_to_results_lists_the_figures_in_their_order() -> None:
    guide = (REPOSITORY / "docs/results.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `figures/demo/(\w+)\.\*`", guide, re.MULTILINE) == list(FIGURES)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_reads_the_tables_that_its_entry_names(
    figure_tables: dict[str, Tables], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    read = Tables._read

    def watched(tables: Tables, file: str, folder: Path | None = None) -> pd.DataFrame:
        seen.add(str((Path("tables") if folder is None else Path()) / file))
        return read(tables, file, folder)

    monkeypatch.setattr(Tables, "_read", watched)
    for study in ("whole", "seeds", "arms"):
        drawn(name, Tables(figure_tables[study].folder))
    assert seen == set(FIGURES[name].tables)
    assert set(FIGURES[name].tables) <= set(needed_tables(FIGURES.values()))


OF_ARMS = {"objectives", "schedules", "moments", "lottery"}
BLOCK = {"methods": ["wanda"], "ratios": [0.5], "retrain": [4096]}


@pytest.mark.parametrize(
    ("changes", "lacking"),
    [
        ({"matrix": [BLOCK]}, {"full_budget", "transfer", "crossover", "importance", "shape_search"}),
        ({"matrix": [BLOCK | {"full": [4096]}]}, {"crossover", "importance", "shape_search"}),
        ({"matrix": [BLOCK | {"retrain": [4096, 8192]}]}, {"full_budget", "crossover", "importance", "shape_search"}),
        ({"matrix": [BLOCK | {"retrain": [4096, 8192, 16384]}]}, {"full_budget", "importance", "shape_search"}),
        ({"matrix": [BLOCK, BLOCK | {"methods": ["sparsegpt"], "retrain": [8192]}, BLOCK | {"methods": ["shortgpt"]}]},
         {"full_budget", "transfer", "crossover", "shape_search"}),
    ],
)  # fmt: skip
def test_a_study_has_the_figures_for_which_its_configuration_gives_data(
    smoke: dict[str, Any], changes: dict[str, Any], lacking: set[str]
) -> None:
    assert set(figures_of(Study(smoke | changes))) == set(FIGURES) - lacking - OF_ARMS


@pytest.mark.parametrize(
    ("arm", "figure"),
    [
        ({"distilled": {"flops": [8192]}}, "objectives"),
        ({"gradual": [{"ratios": [0.25, 0.5], "retrain": [8192]}]}, "schedules"),
        ({"joint": [8192]}, "schedules"),
        ({"early": [{"shares": [0.5], "retrain": [8192]}]}, "moments"),
        ({"rewind": [8192]}, "lottery"),
    ],
)
def test_an_arm_gives_its_figure(smoke: dict[str, Any], arm: dict[str, Any], figure: str) -> None:
    block = BLOCK | {"retrain": [8192]}
    without, with_arm = (set(figures_of(Study(smoke | {"matrix": [b]}))) for b in (block, block | arm))
    assert with_arm - without == {figure}


def test_a_study_without_tasks_has_no_figure_of_them(smoke: dict[str, Any]) -> None:
    assert "tasks" in figures_of(Study(smoke))
    smoke["evaluation"]["tasks"] = {}
    assert "tasks" not in figures_of(Study(smoke))


def test_a_search_of_shapes_gives_its_figure(study_values: Callable[[str], dict[str, Any]]) -> None:
    assert "shape_search" in figures_of(Study(study_values("demo-shapes")))


def test_a_law_needs_as_many_budgets_as_the_catalogue_says() -> None:
    assert LAW_BUDGETS == PARAMETERS


def test_the_answer_draws_its_data(figure_tables: dict[str, Tables]) -> None:
    data = FIGURES["answer"].drawing.data(figure_tables["whole"])
    equal, full = drawn("answer", figure_tables["whole"]).axes
    for axes, setting in ((equal, "equal"), (full, "full")):
        assert sorted(points(axes)) == sorted(columns_of(data[data["setting"] == setting], "x", "gap"))
    assert list(equal.get_xticks()) == list(BUDGETS)
    (alone,) = drawn("answer", figure_tables["no_full"]).axes
    assert alone.get_title() == "scratch on as many tokens as retraining"


def test_a_setting_that_one_axis_would_squeeze_has_its_own(figure_tables: dict[str, Tables], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(figure_tables["one_budget"].folder, tmp_path / "tables"))
    gaps = pd.read_csv(folder / "gaps.csv")
    full = gaps["setting"] == "full"
    for factor, apart in ((5.0, False), (1.0, True)):
        changed = {name: gaps[name].where(~full, factor * gaps[name]) for name in ("gap", "low", "high")}
        gaps.assign(**changed).to_csv(folder / "gaps.csv", index=False)
        figure = drawn("answer", Tables(folder))
        assert (figure.axes[0].get_ylim() != figure.axes[1].get_ylim()) == apart
        assert ("Each panel has its own axis of gaps." in words(figure)) == apart
        assert bool(figure.axes[1].get_ylabel()) == apart


def test_methods_at_a_single_budget_stand_side_by_side_over_their_granularities(
    figure_tables: dict[str, Tables],
) -> None:
    equal, full = drawn("answer", figure_tables["one_budget"]).axes
    for axes in (equal, full):
        assert [label.get_text() for label in axes.get_xticklabels()] == ["depth", "width", "sparse"]
        assert axes.get_xlabel() == "methods, retrained on 32.8k tokens"
        places = [x for x, _ in points(axes)]
        assert len(set(places)) == len(LABELS)
        low, high = axes.get_xlim()
        assert np.log(max(places) / min(places)) > 0.7 * np.log(high / low)


@pytest.mark.parametrize("name", ["answer", "ratio"])
def test_granularities_and_patterns_differ_without_colour(figure_tables: dict[str, Tables], name: str) -> None:
    figure = drawn(name, figure_tables["whole"])
    handles = {handle.get_label(): handle for handle in figure.legends[0].legend_handles}
    looks = [(handles[label].get_linestyle(), handles[label].get_markerfacecolor() == "white") for label in LABELS]
    assert looks == [("-", False), ("--", False), (":", False), (":", True)]
    assert len({handles[label].get_marker() for label in LABELS}) == len(LABELS)
    drawn_lines = {(line.get_linestyle(), line.get_marker()) for axes in figure.axes for line in axes.lines}
    assert {(handles[label].get_linestyle(), handles[label].get_marker()) for label in LABELS} <= drawn_lines
    assert "Lines: depth solid, width dashed, sparse dotted. Open markers: 2:4." in words(figure)
    alone = words(drawn(name, figure_tables["width"]))
    assert "Lines: width dashed." in alone
    assert "Open markers" not in alone


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ([1, 10, 100], [0.1 * np.log(100)] * 3),
        ([100, 110, 10000], [0.8 * np.log(1.1) / 3] * 3),
        ([50], [0.1 * np.log(4)]),
    ],
)
def test_series_are_side_by_side_and_do_not_mix(values: list[int], steps: list[float]) -> None:
    rows = [(method, value) for value in values for method in "abc"]
    table = pd.DataFrame(rows, columns=["method", "value"]).assign(pattern="dense", panel="p")
    moved = sideways.moved(table, table["value"], "panel", 0.1)
    for value, step in zip(values, steps, strict=True):
        logs = np.log(moved[table["value"] == value] / value)
        np.testing.assert_allclose(logs, [-step, 0, step], atol=1e-12)


def test_a_single_series_stays_in_place_and_others_fill_their_panel() -> None:
    rows = [("a", "p", 50), ("b", "q", 50), ("c", "q", 50)]
    table = pd.DataFrame(rows, columns=["method", "panel", "value"]).assign(pattern="dense")
    moved = sideways.moved(table, table["value"], "panel", 0.1, alone=1.0)
    np.testing.assert_allclose(moved, [50, 50 / np.sqrt(2), 50 * np.sqrt(2)])


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("answer", ", retraining 32.8k–131k"), ("ratio", ", retraining 131k"), ("training_curves", ", retraining 131k"),
        ("pareto", ", retraining 32.8k–131k"), ("crossover", ", retraining 32.8k–131k"), ("importance", ""),
        ("reported", ", retraining 32.8k–131k"),
    ],
)  # fmt: skip
def test_the_budgets_below_the_title_are_those_that_are_drawn(
    figure_tables: dict[str, Tables], name: str, scale: str
) -> None:
    (about,) = (
        text.get_text() for text in drawn(name, figure_tables["whole"]).texts if "Study demo" in text.get_text()
    )
    assert about == f"Study demo: parent 524k tokens{scale}"


def test_text_is_read_as_often_as_by_the_runs_that_are_drawn(figure_tables: dict[str, Tables], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(figure_tables["whole"].folder, tmp_path / "tables"))
    runs = pd.read_csv(folder / "runs.csv")
    least = (runs["role"] == "retrained") & (runs["tokens_train"] == min(BUDGETS))
    runs["tokens_distinct"] = runs["tokens_train"].where(~least, runs["tokens_train"] / 4)
    runs.to_csv(folder / "runs.csv", index=False)
    assert "text read up to 4.0 times" in words(drawn("answer", Tables(folder)))
    assert "text read" not in words(drawn("ratio", Tables(folder)))


def test_the_lists_of_figures_and_printed_tables_are_read_without_matplotlib_or_pandas() -> None:
    lists = ("figures.catalogue", "tables.published.catalogue")
    imports = "; ".join(f"import pruning_vs_scratch.{module}" for module in lists)
    check = f"import sys; {imports}; assert not {{'matplotlib', 'pandas', 'torch'}} & {{*sys.modules}}"
    subprocess.run([sys.executable, "-c", check], check=True)
