"""Tasks, training curves, importance, Pareto fronts and the paper's numbers: each draws its data."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color

from figure_world import columns_of, drawn, points, words
from pruning_vs_scratch.figures import reported, tasks
from pruning_vs_scratch.figures.catalogue import FIGURES
from pruning_vs_scratch.figures.pareto import COSTS, on_front
from pruning_vs_scratch.figures.save import save
from pruning_vs_scratch.tables.items import TASK_MEAN
from pruning_vs_scratch.tables.load import Tables
from synthetic_tables import BUDGETS, PARENT_TOKENS

NOTHING = {
    ("answer", "unmatched"): "This study compares nothing at equal or full budgets.",
    ("tasks", "no_full"): "This study compares no models on tasks.",
    ("tasks", "unmatched"): "This study compares no models on tasks.",
    ("training_curves", "unmatched"): "This study compares nothing at equal budgets.",
    ("importance", "sparse"): "No method of this study scores the parent's blocks.",
    ("shape_search", "no_full"): "This study searches no shapes.",
    ("pareto", "unmatched"): "This study compares nothing at equal or full budgets.",
    ("reported", "unmatched"): "not in this study",
}


@pytest.mark.parametrize(("name", "study"), NOTHING)
def test_a_figure_without_data_says_so(figure_tables: dict[str, Tables], name: str, study: str) -> None:
    assert NOTHING[name, study] in words(drawn(name, figure_tables[study]))


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_comparisons_without_a_value_are_left_out_and_counted(figure_tables: dict[str, Tables], name: str) -> None:
    tables = figure_tables["holes"]
    assert tables.gaps["gap"].isna().sum() == 2
    assert "2 comparisons without a value not drawn" in words(drawn(name, tables))
    data = FIGURES[name].drawing.data(tables)
    for column in {"gap", "difference", "loss", "loss_retrained"} & set(data):
        assert data[column].notna().all()


def test_tasks_draw_their_data_with_what_the_parent_and_guessing_score(figure_tables: dict[str, Tables]) -> None:
    tables = figure_tables["whole"]
    data = FIGURES["tasks"].drawing.data(tables)
    panels = drawn("tasks", tables).axes
    for axes, setting in zip(panels, ("equal", "full"), strict=True):
        rows = data[data["setting"] == setting]
        np.testing.assert_allclose(
            points(axes), columns_of(rows.assign(percent=100 * rows["difference"]), "percent", "y")
        )
    labels = [label.get_text() for label in panels[0].get_yticklabels()]
    parent = tables.runs.loc[tables.runs["role"] == "parent", "run"].item()
    scores = tables.items[(tables.items["run"] == parent) & (tables.items["task"] == "continuation")]["score"]
    assert labels[0] == f"continuation (acc)\nparent {scores.mean():.0%}, guessing 25%"
    assert labels[-1].startswith("mean of zero-shot tasks\n")


def test_tasks_that_guessing_explains_are_marked(figure_tables: dict[str, Tables], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(figure_tables["whole"].folder, tmp_path / "tables"))
    gaps = pd.read_csv(folder / "task_gaps.csv")
    gaps.assign(chance=np.where(gaps["dataset"] == "last_word", 0.5, 0.25)).to_csv(
        folder / "task_gaps.csv", index=False
    )
    data = FIGURES["tasks"].drawing.data(Tables(folder))
    figure = drawn("tasks", Tables(folder))
    for axes, setting in zip(figure.axes, ("equal", "full"), strict=True):
        hollow = [same_color(container.lines[0].get_markerfacecolor(), "white") for container in axes.containers]
        assert hollow == data.loc[data["setting"] == setting, "at_chance"].tolist()
    assert data["at_chance"].nunique() == 2
    assert "hollow: both at chance" in words(figure)


def test_accuracies_are_at_chance_within_what_a_guesser_scores() -> None:
    """Of 100 items with four choices a guesser has 25% with a standard deviation of 4.33; of two tasks' mean, 3.06."""
    scores = [("a", 0.33, 0.25), ("a", 0.25, 0.34), ("a", 0.165, 0.25), ("a", 0.16, 0.25)]
    rows = pd.DataFrame(scores, columns=["dataset", "accuracy_retrained", "accuracy_scratch"])
    group = {"setting": "equal", "granularity": "depth", "pattern": "dense", "ratio": 0.5, "budget": 1}
    rows = rows.assign(chance=0.25, clusters=100, method=["m", "n", "o", "p"], **group)
    assert list(tasks.at_chance(rows, {"a"}, 0.95)) == [True, False, False, False]
    two = pd.DataFrame({"dataset": ["a", "b", TASK_MEAN], "clusters": [100, 100, 200]})
    for accuracy, expected in ((0.3099, True), (0.3101, False)):
        mean = two.assign(chance=0.25, accuracy_retrained=accuracy, accuracy_scratch=0.25, method="m", **group)
        assert tasks.at_chance(mean, {"a", "b"}, 0.95).iloc[-1] == expected


def test_reported_has_intervals_of_the_study(figure_tables: dict[str, Tables]) -> None:
    tables = figure_tables["whole"]
    data = FIGURES["reported"].drawing.data(tables)
    study, paper = data[data["source"] == "study"], data[data["source"] == "paper"]
    assert paper[["low", "high"]].isna().all(axis=None)
    sides = study[study["setting"].isin(["pruned", "scratch"])]
    assert (sides["low"] < sides["value"]).all()
    assert (sides["value"] < sides["high"]).all()
    pruned = sides[(sides["panel"] == reported.ACCURACY) & (sides["setting"] == "pruned")]
    row = pruned[pruned["method"] == "wanda"].iloc[0]
    full = tables.gaps[(tables.gaps["setting"] == "full") & (tables.gaps["method"] == "wanda")]
    run = full.loc[(full["ratio"] == row["ratio"]) & (full["pattern"] == row["pattern"]), "retrained"].item()
    scores = tables.items[tables.items["run"] == run].groupby("task")["score"]
    error = np.sqrt((scores.var() / scores.size()).sum()) / 2
    np.testing.assert_allclose(row["high"] - row["low"], 100 * 2 * 1.959964 * error, rtol=1e-6)


@pytest.mark.parametrize("study", ["whole", "seeds", "one_budget", "holes"])
def test_training_curves_draw_their_data(figure_tables: dict[str, Tables], study: str) -> None:
    data = FIGURES["training_curves"].drawing.data(figure_tables[study])
    panels = drawn("training_curves", figure_tables[study]).axes
    for axes, (_, rows) in zip(panels, data.groupby("panel", sort=False), strict=True):
        curves, parent = rows[rows["role"] != "parent"], rows[rows["role"] == "parent"]
        lines = [line for line in axes.lines if line.get_linestyle() != ":"]
        shown = [(float(x), float(y)) for line in lines for x, y in line.get_xydata()]
        assert sorted(shown) == sorted(columns_of(curves, "tokens", "loss"))
        (level,) = (line for line in axes.lines if line.get_linestyle() == ":")
        assert list(level.get_ydata()) == [parent["loss"].item()] * 2
        assert {"parent", "retrained", "scratch", "full"} == set(rows["role"])
        assert (rows.groupby("role")["runs"].nunique() == 1).all()
        assert len(axes.collections) == (3 if study == "seeds" else 0)
        assert axes.get_ylim() == panels[0].get_ylim()
    assert set(data["seeds"]) == {3 if study == "seeds" else 1}


def test_curves_of_several_seeds_are_their_mean_and_extremes(figure_tables: dict[str, Tables]) -> None:
    tables = figure_tables["seeds"]
    data = FIGURES["training_curves"].drawing.data(tables)
    runs = [f"P524k-shortgpt-0.5-R131k-seed{seed}" for seed in range(3)]
    rows = data[(data["runs"] == ";".join(runs)) & (data["kind"] == "training")]
    training = tables.curves[tables.curves["kind"] == "training"]
    losses = np.stack([training.loc[training["run"] == run, "loss"] for run in runs])
    np.testing.assert_allclose(rows["loss"], losses.mean(axis=0))
    np.testing.assert_array_equal(rows["low"], losses.min(axis=0))
    np.testing.assert_array_equal(rows["high"], losses.max(axis=0))
    assert "Means of 3 seeds; bands: from the lowest to the highest." in words(drawn("training_curves", tables))


def test_importance_of_several_seeds_is_their_mean_and_hollow_where_they_disagree(
    figure_tables: dict[str, Tables],
) -> None:
    tables = figure_tables["seeds"]
    data = FIGURES["importance"].drawing.data(tables)
    rows = data[(data["measure"] == "block_influence") & (data["ratio"] == 0.5)]
    stored = tables.importance[(tables.importance["method"] == "shortgpt") & (tables.importance["ratio"] == 0.5)]
    by_block = stored.groupby("block")
    np.testing.assert_allclose(rows["value"], by_block["value"].mean())
    assert rows["lowest"].tolist() == by_block["value"].min().tolist()
    assert rows["highest"].tolist() == by_block["value"].max().tolist()
    assert rows["removed"].tolist() == by_block["removed"].sum().tolist()
    figure = drawn("importance", tables)
    markers = [line for line in figure.axes[0].lines if same_color(line.get_color(), "#0072B2")]
    full, hollow = (
        [line for line in markers if same_color(line.get_markerfacecolor(), c)] for c in ("#0072B2", "white")
    )
    assert [x for line in full for x in line.get_xdata()] == rows.loc[rows["removed"] == 3, "block"].tolist()
    assert [x for line in hollow for x in line.get_xdata()] == rows.loc[rows["removed"].between(1, 2), "block"].tolist()
    assert len(hollow[0].get_xdata()) > 0
    assert "Hollow: not in every seed. " in words(figure)
    assert "Means of 3 seeds; bands: from the lowest to the highest." in words(figure)


def test_importance_draws_scores_and_the_blocks_that_go(figure_tables: dict[str, Tables]) -> None:
    tables = figure_tables["whole"]
    data = FIGURES["importance"].drawing.data(tables)
    influence, *channels = drawn("importance", tables).axes
    blocks = data[(data["measure"] == "block_influence") & (data["ratio"] == 0.5)]
    assert points(influence) == columns_of(blocks, "block", "value")
    removed = [sorted(line.get_xdata()) for line in influence.lines if not same_color(line.get_color(), "black")]
    assert [len(row) for row in removed] == [4, 6]
    assert removed[0] == list(blocks.loc[blocks["removed"] == 1, "block"])
    for axes, measure in zip(channels, ("neuron_importance", "attention_importance"), strict=True):
        rows = data[(data["measure"] == measure) & (data["ratio"] == 0.5)]
        assert points(axes) == columns_of(rows, "block", "value")


def test_scores_of_several_ratios_differ_without_colour(figure_tables: dict[str, Tables], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(figure_tables["whole"].folder, tmp_path / "tables"))
    table = pd.read_parquet(folder / "importance.parquet")
    scores = ["value", "low", "high"]
    table.assign(**{name: table[name] * table["ratio"] for name in scores}).to_parquet(folder / "importance.parquet")
    influence = drawn("importance", Tables(folder)).axes[0]
    assert [container.lines[0].get_marker() for container in influence.containers] == ["o", "s"]


def test_ranges_of_channels_far_above_most_scores_are_on_a_logarithmic_axis(
    figure_tables: dict[str, Tables], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(figure_tables["whole"].folder, tmp_path / "tables"))
    table = pd.read_parquet(folder / "importance.parquet")
    last = (table["measure"] == "neuron_importance") & (table["block"] == table["block"].max())
    table.assign(high=table["high"].where(~last, 100 * table["value"].max())).to_parquet(folder / "importance.parquet")
    scales = [axes.get_yscale() for axes in drawn("importance", Tables(folder)).axes]
    assert scales == ["linear", "log", "linear"]
    assert {axes.get_yscale() for axes in drawn("importance", figure_tables["whole"]).axes} == {"linear"}


@pytest.mark.parametrize("study", ["whole", "seeds"])
def test_shape_search_draws_every_candidate_and_marks_the_chosen(figure_tables: dict[str, Tables], study: str) -> None:
    tables = figure_tables[study]
    data = FIGURES["shape_search"].drawing.data(tables)
    figure = drawn("shape_search", tables)
    for axes, (_, rows) in zip(figure.axes, data.groupby("ratio"), strict=True):
        *candidates, chosen = axes.lines
        shown = [(float(x), float(y)) for line in candidates for x, y in line.get_xydata()]
        assert sorted(shown) == sorted(columns_of(rows, "hidden_size", "validation_loss"))
        best = rows.loc[rows["validation_loss"].idxmin()]
        assert chosen.get_xydata().tolist() == [[best["hidden_size"], best["validation_loss"]]]
        assert {text.get_text() for text in axes.texts} == set(rows["ffn_size"].astype(str))
    assert ("1 candidate diverged" in words(figure)) == (study == "whole")


def test_pareto_draws_every_model_and_the_fronts(figure_tables: dict[str, Tables]) -> None:
    tables = figure_tables["seeds"]
    data = FIGURES["pareto"].drawing.data(tables)
    assert len(data) == tables.runs.assign(name=tables.runs["run"].str.rpartition("-")[0])["name"].nunique()
    assert set(data["seeds"]) == {3}
    for axes, cost in zip(drawn("pareto", tables).axes, COSTS, strict=True):
        front, *models = axes.lines
        shown = [(float(x), float(y)) for line in models for x, y in line.get_xydata()]
        assert sorted(shown) == sorted(columns_of(data, cost, "loss"))
        on_it = data[data[f"front_{cost}"]].sort_values(cost)
        assert list(front.get_ydata()) == list(on_it["loss"])
        assert on_it["loss"].is_monotonic_decreasing


def test_models_on_no_front_are_faint(figure_tables: dict[str, Tables]) -> None:
    data = FIGURES["pareto"].drawing.data(figure_tables["whole"])
    for axes, cost in zip(drawn("pareto", figure_tables["whole"]).axes, COSTS, strict=True):
        strong = [tuple(line.get_xydata()[0]) for line in axes.lines[1:] if line.get_alpha() is None]
        assert sorted(strong) == sorted(columns_of(data[data[f"front_{cost}"]], cost, "loss"))


def test_pareto_tells_ratios_and_budgets_apart(figure_tables: dict[str, Tables]) -> None:
    figure = drawn("pareto", figure_tables["whole"])
    _, *models = figure.axes[0].lines
    shortgpt = [line for line in models if same_color(line.get_color(), "#0072B2")]
    looks = {(line.get_markersize(), line.get_fillstyle()) for line in shortgpt}
    assert len(shortgpt) == len(looks) == len(BUDGETS) * 2
    assert {fill for _, fill in looks} == {"full", "none"}
    for name in ("ratio 0.5", "ratio 0.75", "32.8k tokens", "65.5k tokens", "131k tokens"):
        assert name in words(figure)


def test_a_model_is_on_the_front_unless_another_is_better() -> None:
    cost, loss = pd.Series([1, 1, 2, 3, 3, 4]), pd.Series([5.0, 6.0, 4.0, 4.0, 3.0, 3.5])
    assert list(on_front(cost, loss)) == [True, False, True, False, True, False]


@pytest.mark.parametrize("study", ["whole", "no_full", "unmatched"])
def test_reported_draws_its_data_under_titles_that_say_whose_it_is(
    figure_tables: dict[str, Tables], study: str
) -> None:
    data = FIGURES["reported"].drawing.data(figure_tables[study])
    figure = drawn("reported", figure_tables[study])
    panels = [(panel, source) for panel in reported.PANELS for source in reported.SOURCES]
    for axes, (panel, source) in zip(figure.axes, panels, strict=True):
        assert axes.get_title().startswith(f"{'paper: Llama-3.1-8B' if source == 'paper' else 'study demo'}")
        rows = data[(data["panel"] == panel) & (data["source"] == source) & data["setting"].isin(["pruned", "scratch"])]
        markers = sides_drawn(axes)
        assert len(markers) == len(rows)
        values = "budget" if panel != reported.ACCURACY else "value"
        assert sorted(line.get_xdata()[0] for line in markers) == sorted(rows[values])


def sides_drawn(axes: Any) -> list[Any]:
    """The markers of pruned models and of those from scratch: the parent's has another colour."""
    found = [line for line in axes.lines if len(line.get_xdata()) == 1]
    return [line for line in found if not same_color(line.get_color(), reported.COLOURS["parent"])]


def test_numbers_that_were_read_off_look_different_and_are_named(figure_tables: dict[str, Tables]) -> None:
    figure = drawn("reported", figure_tables["whole"])
    paper = {line.get_ydata()[0]: line for line in sides_drawn(figure.axes[0])}
    printed, read_off = paper[2.54], paper[2.70]
    assert (printed.get_marker(), read_off.get_marker()) == ("o", "D")
    assert same_color(read_off.get_markerfacecolor(), "white")
    assert "read off the paper's plot" in words(figure)
    assert {line.get_marker() for line in sides_drawn(figure.axes[1])} == {"o", "s"}
    (parent,) = (line for line in figure.axes[0].lines if len(line.get_xdata()) == 1 and line.get_ydata()[0] == 2.40)
    assert (parent.get_marker(), parent.get_color()) == ("D", reported.COLOURS["parent"])


def test_numbers_that_others_quote_are_open_signed_and_named(figure_tables: dict[str, Tables]) -> None:
    figure = drawn("reported", figure_tables["whole"])
    paper, study = figure.axes[-2:]
    assert [label.get_text() for label in paper.get_yticklabels()] == [
        "Minitron-depth", "Sheared-LLaMA", "SparseGPT 2:4", "SparseGPT", "Wanda", "FLAP",
    ]  # fmt: skip
    written = {text.get_text() for text in paper.texts}
    assert {"68.1†", "67.2†", "66.5†", "65.1†"} < written
    assert {"64.4", "66.2"} < written
    for line in paper.lines:
        (value,) = line.get_xdata()
        quoted = f"{value:.1f}†" in written
        assert same_color(line.get_markerfacecolor(), "white") == quoted
        assert line.get_marker() == ("o" if same_color(line.get_color(), reported.COLOURS["pruned"]) else "s")
    assert "quoted from the paper by others (†)" in words(figure)
    assert "from a script of the authors" not in words(figure)
    assert "†" not in "".join(text.get_text() for text in study.texts)


def test_of_two_numbers_for_one_model_the_better_graded_is_drawn(
    figure_tables: dict[str, Tables], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(figure_tables["whole"].folder, tmp_path / "tables"))
    numbers = pd.read_csv(folder / "reported.csv")
    flap = numbers[(numbers["method"] == "flap") & (numbers["setting"] == "pruned")]
    others = [
        flap.assign(figure="table1", value=66.6, precision="labelled"),
        flap.assign(figure="a script", value=66.7, precision="preliminary"),
        flap.assign(figure="table1", value=50.0, budget_b=10, precision="labelled"),  # has no baseline
        flap.assign(figure="table1", method="shortgpt", precision="labelled"),  # has none either
    ]
    pd.concat([*others, numbers]).to_csv(folder / "reported.csv", index=False)
    data = FIGURES["reported"].drawing.data(Tables(folder))
    accuracies = data[(data["source"] == "paper") & (data["panel"] == reported.ACCURACY)]
    of_flap = accuracies[accuracies["method"] == "flap"]
    assert of_flap[["setting", "value", "precision"]].to_numpy().tolist() == [
        ["pruned", 66.6, "labelled"], ["scratch", 65.1, "secondary"],
    ]  # fmt: skip
    assert "shortgpt" not in set(accuracies["method"])


def test_a_grade_has_its_look_and_sign_in_every_panel(figure_tables: dict[str, Tables], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(figure_tables["whole"].folder, tmp_path / "tables"))
    numbers = pd.read_csv(folder / "reported.csv")
    numbers.assign(precision="preliminary").to_csv(folder / "reported.csv", index=False)
    figure = drawn("reported", Tables(folder))
    for axes in figure.axes[::2]:
        assert {line.get_marker() for line in sides_drawn(axes)} == {"x"}
        assert all(text.get_text().endswith("‡") for text in axes.texts)
    assert "from a script of the authors, before the paper (‡)" in words(figure)
    assert "read off" not in words(figure)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["answer", "tasks", "training_curves", "importance", "shape_search", "pareto", "reported"]
)
def test_files_are_complete_and_the_same_each_time(figure_tables: dict[str, Tables], tmp_path: Path, name: str) -> None:
    for folder in ("one", "two"):
        save(FIGURES[name], figure_tables["whole"], "demo", tmp_path / folder)
    for suffix in ("pdf", "png", "csv"):
        one, two = (tmp_path / folder / f"{name}.{suffix}" for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    assert len(pd.read_csv(tmp_path / "one" / f"{name}.csv")) == len(FIGURES[name].drawing.data(figure_tables["whole"]))


def test_slides_have_larger_figures_and_type(figure_tables: dict[str, Tables], tmp_path: Path) -> None:
    column, talk = (drawn("ratio", figure_tables["whole"], size) for size in ("column", "talk"))
    assert talk.get_figwidth() == pytest.approx(1.75 * column.get_figwidth())
    smallest = [min(text.get_fontsize() for text in figure.legends[0].get_texts()) for figure in (column, talk)]
    assert smallest == [7.0, 12.25]
    save(FIGURES["ratio"], figure_tables["whole"], "demo", tmp_path, "talk")
    assert b"/FontFile2" in (tmp_path / "ratio.pdf").read_bytes()


def test_curves_of_pretraining_are_as_long_as_the_parents_tokens(figure_tables: dict[str, Tables]) -> None:
    data = FIGURES["training_curves"].drawing.data(figure_tables["whole"])
    longest = data.groupby("role")["tokens"].max().to_dict()
    assert longest == {
        "parent": PARENT_TOKENS, "retrained": max(BUDGETS), "scratch": max(BUDGETS),
        "full": PARENT_TOKENS + max(BUDGETS),
    }  # fmt: skip
