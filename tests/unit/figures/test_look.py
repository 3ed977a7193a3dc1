"""Style files: what they change, what they leave, and what is refused."""

import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.colors import same_color

from figure_world import words
from pruning_vs_scratch.archive.restyle import Restyle
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.figures import style
from pruning_vs_scratch.figures.catalogue import FIGURES
from pruning_vs_scratch.figures.look import USUAL, Look, read_look
from pruning_vs_scratch.figures.save import save
from pruning_vs_scratch.tables.load import Tables

STYLE = """
font: serif
panel_width: 4.0
colours: {wanda: black, "wanda 2:4": "#AA3377"}
markers: {wanda: X}
labels: {shortgpt: Block removal}
matplotlib: {axes.grid: true}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "style.yaml"
    path.write_text(text)
    return path


def test_a_style_file_changes_what_it_names_alone(figure_tables: dict[str, Tables], tmp_path: Path) -> None:
    gaps, look = figure_tables["whole"].gaps, read_look(written(tmp_path, STYLE))
    with style.settings():
        usual = style.series_styles(gaps)
        before = dict(mpl.rcParams)
    with style.settings("column", look):
        styles = style.series_styles(gaps)
        assert mpl.rcParams["font.family"] == ["serif"]
        assert mpl.rcParams["axes.grid"]
        assert style.new_figure(2, 3).get_figwidth() == 8
    assert styles["wanda", "unstructured"].colour == "black"
    assert styles["wanda", "2:4"].colour == "#AA3377"
    assert styles["wanda", "2:4"].marker == styles["wanda", "unstructured"].marker == "X"
    assert styles["shortgpt", "dense"].label == "Block removal"
    assert styles["shortgpt", "dense"].colour == usual["shortgpt", "dense"].colour
    assert styles["minitron_width", "dense"] == usual["minitron_width", "dense"]
    with style.settings():
        assert style.series_styles(gaps) == usual
        assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", ["full_budget", "importance", "token_budget", "reported"])
def test_every_figure_calls_methods_as_the_style_file_does(figure_tables: dict[str, Tables], name: str) -> None:
    labels = {"shortgpt": "Block removal", "minitron_depth": "Block removal"}
    with style.settings("column", Look(labels=labels)):
        figure = FIGURES[name].drawing.draw(figure_tables["whole"], "demo")
    figure.set_label("column")
    shown = words(figure)
    assert "Block removal" in shown
    assert "ShortGPT" not in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colors: {wanda: red}", "colors: unknown key; did you mean 'colours'?"),
        ("colours: {wanda: rde}", "colours: 'rde' is not a colour"),
        ("markers: {wanda: circle}", "markers: 'circle' is not a marker"),
        ("font: DejaVu Sanz", "the font 'DejaVu Sanz' is not installed; did you mean 'DejaVu Sans'?"),
        ("matplotlib: {axes.gird: true}", "no setting 'axes.gird'; did you mean 'axes.grid'?"),
        ("matplotlib: {axes.grid: maybe}", "axes.grid cannot be 'maybe'"),
        ("matplotlib: {font.size: 12}", "font.size follows from size"),
        ("size: poster", "size: 'poster' is not valid; known: column, talk"),
        ("panel_width: 40", "panel_width: must be at most 10, not 40"),
        ("serif", "must hold keys and values"),
        ("font: [", "not valid YAML"),
        ("font: serif\nfont: serif", "is listed twice"),
    ],
)
def test_what_no_figure_can_be_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        read_look(written(tmp_path, text))
    assert message in str(error.value)
    assert "style.yaml" in str(error.value)


def test_methods_that_there_are_not_are_refused(figure_tables: dict[str, Tables], tmp_path: Path) -> None:
    tables = figure_tables["whole"]
    restyle = Restyle(("ratio",), look=Look(colours={"wonda": "red"}))
    with pytest.raises(UserError, match="an unknown method 'wonda'; did you mean 'wanda'"):
        restyle.draw(tables.folder, "demo", tmp_path, "column")
    # One that the catalogue has need not be in every study.
    Look(colours={"flap": "red"}).require_known(tables)
    with pytest.raises(UserError, match="--methods for study demo names an unknown method 'flap'"):
        Restyle(("ratio",), ("flap",)).draw(tables.folder, "demo", tmp_path, "column")
    assert not list(tmp_path.iterdir())


def test_chosen_methods_keep_the_colours_that_they_have_among_all(
    figure_tables: dict[str, Tables], tmp_path: Path
) -> None:
    tables = figure_tables["whole"]
    Restyle(("ratio", "token_budget"), ("wanda",)).draw(tables.folder, "demo", tmp_path, "column")
    assert set(pd.read_csv(tmp_path / "ratio.csv")["method"]) == {"wanda"}
    usual = style.series_styles(tables.gaps)["wanda", "unstructured"]
    chosen = Tables(tables.folder, frozenset({"wanda"}))
    with style.settings("column", style.as_in_all(tables.gaps, USUAL)):
        assert style.series_styles(chosen.gaps)["wanda", "unstructured"] == usual
    assert not same_color(usual.colour, style.COLOURS[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_can_be_drawn_of_one_method(figure_tables: dict[str, Tables], tmp_path: Path, name: str) -> None:
    Restyle((name,), ("shortgpt",), look=Look(font="monospace")).draw(
        figure_tables["whole"].folder, "demo", tmp_path, "column"
    )
    assert {file.suffix for file in tmp_path.iterdir()} == {".csv", ".pdf", ".png"}


def test_an_empty_look_changes_no_byte(figure_tables: dict[str, Tables], tmp_path: Path) -> None:
    save(FIGURES["ratio"], figure_tables["whole"], "demo", tmp_path / "plain")
    Restyle(("ratio",)).draw(figure_tables["whole"].folder, "demo", tmp_path / "restyled", "column")
    for kind in ("csv", "pdf", "png"):
        one, two = (tmp_path / folder / f"ratio.{kind}" for folder in ("plain", "restyled"))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.slow
def test_the_command_takes_a_style_file(figure_tables: dict[str, Tables], tmp_path: Path) -> None:
    command = [
        sys.executable, REPOSITORY / "workflow/scripts/draw_figures.py", "--figure", "ratio", "--study", "demo",
        "--tables", figure_tables["whole"].folder,
    ]  # fmt: skip
    look = written(tmp_path, "labels: {shortgpt: Block removal}")
    for options in (["--out", tmp_path / "usual"], ["--out", tmp_path / "styled", "--style", look]):
        subprocess.run([*command, *options], check=True)
    usual, styled = (tmp_path / folder for folder in ("usual", "styled"))
    assert (usual / "ratio.png").read_bytes() != (styled / "ratio.png").read_bytes()
    assert (usual / "ratio.csv").read_bytes() == (styled / "ratio.csv").read_bytes()


def test_the_example_of_the_docs_is_a_style_file_of_ten_lines() -> None:
    example, page = (REPOSITORY / "docs" / name for name in ("figures/serif.yaml", "figures.md"))
    text = example.read_text(encoding="utf-8")
    assert f"```yaml\n{text}```" in page.read_text(encoding="utf-8")
    assert len(text.splitlines()) == 10
    assert read_look(example).font == "serif"
