"""Several studies in one figure: fits on known truths, what is chosen, what is drawn, and what is refused."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from figure_world import WITHOUT_TORCH, stored, texts, words
from pruning_vs_scratch.archive.listing import Listing
from pruning_vs_scratch.archive.pack import pack
from pruning_vs_scratch.archive.scales import opened
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.figures import scales as figure
from pruning_vs_scratch.figures import style
from pruning_vs_scratch.tables.reported import reported_table
from pruning_vs_scratch.tables.scale_fit import fit_scales
from pruning_vs_scratch.tables.scales import PAPER, Scale, scale_fits, scale_points

SHARES = (0.05, 0.25, 1.0)
SIZES = {"small": 30_000, "middle": 100_000, "large": 1_000_000}
OPTIONS = {"items": False, "methods": [("minitron_width", "dense"), ("shortgpt", "dense")]}
REPORTED = reported_table(REPOSITORY / "config/reported.csv")


def measured(
    truth: dict[str, float], sizes: dict[str, int] = SIZES, shares: tuple[float, ...] = SHARES
) -> pd.DataFrame:
    """Values of studies that follow a + b ln N + c ln(R/P)."""
    rows = [(study, params, share) for study, params in sizes.items() for share in shares]
    table = pd.DataFrame(rows, columns=["study", "params", "share_retrained"])
    value = truth["a"] + truth["b"] * np.log(table["params"]) + truth["c"] * np.log(table["share_retrained"])
    return table.assign(value=value)


def test_a_truth_of_the_fits_form_is_predicted_and_one_without_size_is_not() -> None:
    rows = measured({"a": 2.0, "b": -0.1, "c": -0.3})
    fit, judged = fit_scales(rows)
    assert (fit.left_out, fit.points, fit.reason) == ("large", 3, "")
    assert (fit.by_params, fit.by_share) == (pytest.approx(-0.1), pytest.approx(-0.3))
    assert fit.error == pytest.approx(0, abs=1e-9)
    assert judged["predicted"].to_numpy() == pytest.approx(judged["value"].to_numpy())
    # Without size, the mean of the two smaller studies is predicted, which is off by their distance to the largest.
    middle = np.sqrt(SIZES["small"] * SIZES["middle"])
    assert fit.error_without_size == pytest.approx(0.1 * np.log(SIZES["large"] / middle))


def test_the_largest_study_does_not_influence_its_prediction() -> None:
    rows = measured({"a": 2.0, "b": -0.1, "c": -0.3})
    other = rows.assign(value=rows["value"] + (rows["study"] == "large"))
    assert fit_scales(other)[1]["predicted"].tolist() == fit_scales(rows)[1]["predicted"].tolist()
    assert fit_scales(other)[0].error == pytest.approx(1)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (measured({"a": 1, "b": 0, "c": 0}, {"one": 1000, "two": 2000}), "a fit needs 3 studies"),
        (
            measured({"a": 1, "b": 0, "c": 0}, {"one": 1000, "two": 1000, "three": 2000}),
            "a fit needs three sizes of the parent",
        ),
        (measured({"a": 1, "b": 0, "c": 0}, shares=(0.25,)), "the smaller studies have too few budgets"),
        (measured({"a": 1, "b": 0, "c": 0}).assign(value=np.nan), "a fit needs 3 studies"),
    ],
)
def test_where_there_is_nothing_to_fit_it_says_why(rows: pd.DataFrame, reason: str) -> None:
    fit, judged = fit_scales(rows)
    assert fit.reason == reason
    assert judged.empty


def test_nothing_is_predicted_beyond_twice_the_shares_of_the_others() -> None:
    rows = measured({"a": 2.0, "b": -0.1, "c": -0.3})
    large = rows["study"] == "large"
    rows.loc[large, "share_retrained"] = [0.024, 0.026, 2.1]
    fit, judged = fit_scales(rows)
    assert judged["predicted"].notna().tolist() == [False, True, False]
    assert fit.points == 1
    rows.loc[large, "share_retrained"] = [1e-6, 2e-6, 3e-6]
    assert "beyond 2 times" in fit_scales(rows)[0].reason


def results(folder: Path, study: str, params: float = 8e9, **options: object) -> Path:
    """A result folder of a study with a parent of a size."""
    stored(folder / "tables", **OPTIONS | options)
    costs = pd.read_csv(folder / "efficiency.csv")
    costs["value"] *= params / costs["value"].max()
    costs.loc[costs["metric"] == "params_nonzero", "value"] *= (
        params / costs.loc[costs["metric"] == "params_nonzero", "value"].max()
    )
    costs.to_csv(folder / "efficiency.csv", index=False)
    (folder / "config.yaml").write_text(yaml.safe_dump({"study": study}))
    return folder


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Result folders of three studies, the gaps of which fall with the parent's size; not to be changed."""
    folder = tmp_path_factory.mktemp("results")
    return [
        results(folder / study, study, params, gap=lambda *key, size=params: 3 - 0.1 * np.log(size) - key[2])
        for study, params in SIZES.items()
    ]


def drawn(scales: list[Scale], points: pd.DataFrame) -> Figure:
    with style.settings():
        made = figure.draw(scales, points, scale_fits(points))
        FigureCanvasAgg(made).draw()
    made.set_label("column")
    return made


@pytest.mark.slow
def test_studies_of_known_gaps_are_fitted_and_the_largest_is_predicted(three: list[Path]) -> None:
    with opened(three[::-1]) as scales:
        assert [scale.study for scale in scales] == list(SIZES)
        points = scale_points(scales, (), REPORTED)
        made = drawn(scales, points)
    gaps = points[(points["measure"] == "gap") & (points["study"] != PAPER)]
    assert gaps["share_retrained"].to_numpy() == pytest.approx((gaps["budget"] / gaps["tokens_parent"]).to_numpy())
    assert set(gaps.loc[gaps["predicted"].notna(), "study"]) == {"large"}
    fits = scale_fits(points)
    fits = fits[fits["measure"] == "gap"]
    # The noise of 64 sequences, 0.05 a model, is 0.01 nats in a gap; predicted here at 1.9 times the distance of sizes.
    assert (fits["error"] < 0.06).all()
    assert fits["by_params"].to_numpy() == pytest.approx([-0.1] * 2, abs=0.02)
    assert (fits["error_without_size"] > 0.2).all()
    shown = words(made)
    assert "large, predicted from the smaller" in shown
    assert "small: 30k parameters, 524k tokens" in shown
    width, height = made.canvas.get_width_height()
    for text, box in texts(made):
        assert box.x0 >= -1 and box.x1 <= width + 1 and box.y0 >= -1 and box.y1 <= height + 1, text.get_text()
    assert "parameters, the mean gap falls from" in shown
    assert "Studies by the size of the parent: small, middle, large" in shown
    lines = [list(line.get_ydata()) for line in made.axes[0].lines]
    for study, rows in gaps[gaps["granularity"] == points["granularity"].iloc[0]].groupby("study"):
        assert list(rows["value"]) in lines, study


def test_the_method_and_ratio_of_most_studies_are_shown_and_others_if_asked_for(
    three: list[Path], tmp_path: Path
) -> None:
    other = results(tmp_path / "other", "other", methods=[("wanda", "unstructured")], ratios=[0.75])
    with opened([*three, other]) as scales:
        points = scale_points(scales, (), REPORTED)
        chosen = points.drop_duplicates(["granularity", "method", "ratio"])
        assert set(zip(chosen["method"], chosen["ratio"], strict=True)) == {
            ("shortgpt", 0.5), ("minitron_width", 0.5), ("wanda", 0.75),
        }  # fmt: skip
        # The paper's points are next to the same method at the same ratio.
        assert set(points.loc[points["study"] == PAPER, "method"]) == {"minitron_width"}
        assert set(scale_points(scales, ["wanda"], REPORTED)["method"]) == {"wanda"}
        with pytest.raises(UserError, match="'wonda', which no study compares; did you mean 'wanda'"):
            scale_points(scales, ["wonda"], REPORTED)


def test_of_methods_that_as_many_studies_have_the_papers_is_shown(three: list[Path], tmp_path: Path) -> None:
    other = shutil.copytree(three[0], tmp_path / "other")
    for name in ("gaps", "transfer"):
        table = pd.read_csv(other / f"tables/{name}.csv")
        width = table[table["granularity"] == "width"].assign(method="flap")
        pd.concat([width, table]).to_csv(other / f"tables/{name}.csv", index=False)
    with opened([other]) as scales:
        shown = scale_points(scales, (), REPORTED)
        assert set(shown.loc[shown["granularity"] == "width", "method"]) == {"minitron_width"}
        assert set(scale_points(scales, ("flap",), REPORTED)["method"]) == {"flap"}


@pytest.mark.slow
def test_a_study_whose_parents_tokens_are_unknown_is_named_but_not_placed(three: list[Path], tmp_path: Path) -> None:
    unknown = results(tmp_path / "unknown", "unknown")
    runs = pd.read_csv(unknown / "tables/runs.csv")
    runs.assign(tokens_parent=np.nan).to_csv(unknown / "tables/runs.csv", index=False)
    for sources, fitted in (([*three, unknown], True), ([unknown], False)):
        with opened(sources) as scales:
            points = scale_points(scales, (), REPORTED)
            shown = words(drawn(scales, points))
        assert "unknown" not in set(points["study"])
        assert "Without a place, since their parents' tokens are not known: unknown." in shown
        assert ("No study compares anything" in shown) is not fitted


def test_corpora_that_differ_are_named(three: list[Path], tmp_path: Path) -> None:
    other = shutil.copytree(three[0], tmp_path / "other")
    (other / "config.yaml").write_text("study: other\n")
    for name in ("gaps", "transfer"):
        table = pd.read_csv(other / f"tables/{name}.csv")
        table.assign(dataset="folio").to_csv(other / f"tables/{name}.csv", index=False)
    with opened([three[1], other]) as scales:
        shown = words(drawn(scales, scale_points(scales, (), REPORTED)))
    assert "Losses of different corpora" in shown
    assert "corpus folio" in shown
    assert "a fit needs 3 studies" in shown


def test_what_cannot_be_compared_is_refused(three: list[Path], tmp_path: Path) -> None:
    def refused(*sources: Path) -> str:
        with pytest.raises(UserError) as error, opened(sources):
            pass
        return str(error.value)

    assert "archive not found: " in refused(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "holds no tables" in refused(tmp_path / "empty")
    again = shutil.copytree(three[0], tmp_path / "again")
    assert "both hold a study small: give one of them" in refused(three[0], again)
    (tmp_path / "file").write_text("no archive")
    assert "truncated, damaged, or no tar.zst file" in refused(three[0], tmp_path / "file")
    (again / "tables/transfer.csv").unlink()
    with opened([again]) as scales, pytest.raises(UserError, match=r"transfer\.csv is missing"):
        scale_points(scales, (), REPORTED)


def test_an_archive_gives_the_same_as_its_folder(
    three: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(three[0], "results/small")
    files = sorted(file for file in Path("results").rglob("*") if file.is_file())
    pack(Path("small.tar.zst"), Listing.of("small", files), "{}")
    with opened([Path("small.tar.zst")]) as scales:
        packed = scale_points(scales, (), REPORTED)
    with opened([three[0]]) as scales:
        pd.testing.assert_frame_equal(packed, scale_points(scales, (), REPORTED))


@pytest.mark.slow
def test_the_command_writes_the_same_bytes_without_torch(three: list[Path], tmp_path: Path) -> None:
    program = REPOSITORY / "workflow/scripts/pruning_vs_scratch/__main__.py"
    for out in ("one", "two"):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, program, "compare", *three, "--out", tmp_path / out],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert "large predicted from the smaller studies, off by" in done.stdout
    files = {f"scales.{kind}" for kind in ("csv", "pdf", "png")} | {"scales_fit.csv"}
    assert {file.name for file in (tmp_path / "one").iterdir()} == files
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
