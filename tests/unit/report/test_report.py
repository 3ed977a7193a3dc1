"""The report says what the tables say, in order and in full words, and is a page that needs nothing else."""

import base64
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import report_browser
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.figures.catalogue import FIGURES, figures_of
from pruning_vs_scratch.files import read_json
from pruning_vs_scratch.report import pictures
from pruning_vs_scratch.report.columns import FULL_NAMES, OTHERS, WORDS
from pruning_vs_scratch.report.findings import FIGURES as CLAIM_FIGURES
from pruning_vs_scratch.report.findings import finding, tally
from pruning_vs_scratch.report.layout import layout
from pruning_vs_scratch.report.scaled import scaled
from pruning_vs_scratch.report.sizes import METRICS
from pruning_vs_scratch.report.write import write_report
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.published import efficiency
from pruning_vs_scratch.tables.published.catalogue import PUBLISHED
from pruning_vs_scratch.tables.published.stored import Stored
from report_world import WITHOUT_DATA, Reader, change_claims, report, write_study

HOSTILE = """<b onclick="go('x')">&amp; "a" < 'b'</b>"""
SECTIONS = ["verdicts", "claims", "figures", "numbers", "cost", "reproduce", "provenance", "glossary"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The results folder of a study, and its page."""
    results = write_study(tmp_path_factory.mktemp("project"))
    return results, report(results)


@pytest.fixture
def copy(made: tuple[Path, str], tmp_path: Path) -> Path:
    """The results folder of a copy to damage."""
    shutil.copytree(made[0].parents[1], tmp_path / "project")
    return tmp_path / "project/results/demo"


def test_the_verdicts_stand_first_in_the_order_of_the_claims(made: tuple[Path, str]) -> None:
    results, page = made
    claims = read_json(results / "claims.json")["claims"]
    read = Reader(page)
    table = read.of("table")[0]
    assert table.attributes["class"] == "verdicts"
    rows = [row.children for row in table.children[1].children]
    assert len(rows) == len(claims) == 9
    for (said, verdict, effect, reported), claim in zip(rows, claims, strict=True):
        assert said.text == f"{claim['id']}: {claim['statement']}"
        assert verdict.text == claim["verdict"]
        assert effect.text.startswith(f"{claim['effect']:+.3f} [{claim['low']:+.3f}, {claim['high']:+.3f}]")
        assert effect.text.endswith(claim["effect_is"])
        assert reported.text.startswith(claim["reported"].partition(",")[0])
    assert read.of("h1")[0].text == "Prune, or train from scratch? Study demo"


def test_the_sections_stand_in_their_order(made: tuple[Path, str]) -> None:
    read = Reader(made[1])
    assert [section.attributes["id"] for section in read.of("section") if not section.inside] == SECTIONS
    assert [link.attributes["href"] for link in read.of("nav")[0].children] == [f"#{name}" for name in SECTIONS]


def test_each_figure_with_data_appears_once_with_its_bytes_the_first_below_the_verdicts(made: tuple[Path, str]) -> None:
    results, page = made
    shown = {figure.attributes["id"]: figure for figure in Reader(page).of("figure")}
    names = list(figures_of(Study(Stored(results).config.model_dump(mode="json"))))
    assert set(shown) == {f"figure-{name}" for name in names} - {f"figure-{WITHOUT_DATA}"}
    for name, figure in shown.items():
        file = results.parents[1] / "figures/demo" / f"{name.removeprefix('figure-')}.png"
        address = figure.children[0].attributes["src"]
        assert base64.b64decode(address.removeprefix("data:image/png;base64,")) == file.read_bytes()
    first, *others = shown
    assert first == f"figure-{names[0]}"
    assert shown[first].inside == ("verdicts",)
    further = [name.removeprefix("figure-") for name in others if shown[name].inside == ("figures",)]
    assert further == [name for name in names if name in further]
    assert f"The study has no data for: {WITHOUT_DATA.replace('_', ' ')}." in page


def test_each_claim_has_its_finding_its_figure_and_its_comparisons(made: tuple[Path, str]) -> None:
    results, page = made
    read = Reader(page)
    for claim in read_json(results / "claims.json")["claims"]:
        section = f"claim-{claim['id'].lower()}"
        mine = [element for element in read.found if section in element.inside]
        rows = [element for element in mine if element.tag == "tr"][1:]
        assert [row.children[0].text for row in rows] == [row["label"] for row in claim["comparisons"]]
        linked = [e.attributes["href"] for e in mine if e.tag == "a" and e.attributes["href"].startswith("#figure-")]
        assert [e for e in mine if e.tag == "figure"] or linked
        assert (len(rows) > 8) == any(element.tag == "details" for element in mine)


def test_columns_have_full_names(made: tuple[Path, str]) -> None:
    headings = {heading.text for heading in Reader(made[1]).of("th")}
    assert "tokens read by retraining" in headings
    assert "FLOPs from scratch" in headings
    assert "accuracy on last_word (%)" in headings
    assert {heading for heading in headings if re.search(r"[a-z]_[a-z]", heading)} == {"accuracy on last_word (%)"}
    short = {name for table in FULL_NAMES.values() for name, full in table.items() if name != full}
    assert headings & short == set()
    assert "read_off" not in made[1]


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - {"verdicts", "efficiency"}))
def test_every_heading_of_a_printed_table_has_a_full_name(made: tuple[Path, str], name: str) -> None:
    printed = PUBLISHED[name].make(Stored(made[0])).printed
    others = [heading for heading in printed if heading not in FULL_NAMES[name]]
    assert others == {"tasks": ["continuation", "last_word"], "reported": ["study, test"]}.get(name, [])
    assert all(name in OTHERS for _ in others)


def test_every_metric_of_size_and_speed_has_a_full_name() -> None:
    assert list(METRICS) == list(efficiency.COLUMNS)


def test_words_for_cells_are_about_headings_that_there_are() -> None:
    assert set(WORDS) <= {heading for table in FULL_NAMES.values() for heading in table}


def test_every_link_leads_somewhere(made: tuple[Path, str]) -> None:
    results, page = made
    read = Reader(page)
    ids = [element.attributes["id"] for element in read.found if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    links = [link.attributes["href"] for link in read.of("a")]
    assert [link for link in links if link.startswith("#") and link[1:] not in ids] == []
    files = [link for link in links if not link.startswith("#")]
    assert {"provenance.html", "ledger.csv", "printed/main.csv"} <= set(files)
    assert [file for file in files if not (results / file).is_file()] == []
    assert all(not file.startswith("/") and ":" not in file for file in files)


def test_the_hash_of_each_file_next_to_the_page_is_given(made: tuple[Path, str]) -> None:
    results, page = made
    rows = [row.children for row in Reader(page).of("tr") if row.children[-1].attributes.get("class") == "hash"]
    assert len(rows) == 8
    for name, _, told in rows:
        assert told.text == hashlib.sha256((results / name.text).read_bytes()).hexdigest()


def test_the_page_contains_no_path_of_this_machine(made: tuple[Path, str]) -> None:
    results, page = made
    places = [results.parents[1], REPOSITORY, Path.home(), Path(sys.prefix)]
    assert [str(place) for place in places if len(str(place)) > 3 and str(place) in page] == []


def test_the_same_tables_give_the_same_bytes_anywhere(copy: Path, made: tuple[Path, str]) -> None:
    (copy / "report.html").unlink()
    assert report(copy) == report(copy) == made[1]


def test_the_page_has_no_script_and_may_load_nothing(made: tuple[Path, str]) -> None:
    read = Reader(made[1])
    policies = [meta.attributes["content"] for meta in read.of("meta") if "http-equiv" in meta.attributes]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert {"script", "link", "iframe", "object"}.isdisjoint(element.tag for element in read.found)
    assert not any(name.startswith("on") for element in read.found for name in element.attributes)
    assert "url(" not in read.of("style")[0].text
    assert [image for image in read.of("img") if not image.attributes["src"].startswith("data:image/png;")] == []


def test_signs_of_html_in_names_and_texts_are_shown_and_not_read(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = [(element.tag, sorted(element.attributes)) for element in Reader(report(copy)).found]
    claims = read_json(copy / "claims.json")["claims"]
    comparisons = [claims[0]["comparisons"][0] | {"label": HOSTILE}, *claims[0]["comparisons"][1:]]
    change = {"statement": HOSTILE, "effect_is": HOSTILE, "comparisons": comparisons}
    change_claims(copy, study=HOSTILE, dataset=HOSTILE, claims=[change])
    monkeypatch.setattr(pictures, "CAPTIONS", tmp_path)
    for figure in FIGURES.values():
        (tmp_path / figure.caption).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / figure.caption).write_text(HOSTILE)
    read = Reader(report(copy))
    assert [(element.tag, sorted(element.attributes)) for element in read.found] == usual
    assert HOSTILE in read.of("title")[0].text
    assert HOSTILE in read.of("h1")[0].text
    assert read.of("blockquote")[0].text == HOSTILE
    assert read.of("img")[0].attributes["alt"] == HOSTILE
    assert HOSTILE in [cell.text for cell in read.of("td")]


def test_the_setting_is_described_in_two_lines(made: tuple[Path, str]) -> None:
    (setting,) = Reader(made[1]).of("div", **{"class": "setting"})
    assert [line.text for line in setting.children] == [
        "The parent of 2M parameters was trained on 524k tokens. It is pruned by ShortGPT, Minitron-width, Wanda and "
        "Wanda 2:4 at ratios 0.5 and 0.75.",
        "Both sides of a pair read 32.8k, 65.5k or 131k tokens; the full budget of scratch is 655k tokens. Seed: 0. "
        "Losses are in nats per token on the corpus test.",
    ]


def comparison(decision: str, premise: bool = True) -> dict[str, Any]:
    return {
        "label": f"Wanda 0.5, {decision}", "quantity": "gap (nats per token)", "expected": "> 0", "effect": 0.1,
        "low": 0.05, "high": 0.15, "p_holm": 0.2, "decision": decision, "premise": premise, "steps": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("decisions", "found"),
    [
        (["as claimed", "as claimed"], "The pruned model has the lower loss in 2 of 2 comparisons."),
        (["against"], "The pruned model has the lower loss in 0 of 1 comparison; 1 contradicts this."),
        (
            ["as claimed", "against", "against", "open"],
            "The pruned model has the lower loss in 1 of 4 comparisons; 2 contradict this; 1 is undecided.",
        ),
        ([], "The study compares nothing."),
    ],
)
def test_findings_count_what_agrees_and_what_does_not(decisions: list[str], found: str) -> None:
    claim = {
        "id": "C1", "statement": "", "verdict": "supported", "reason": "the study compares nothing", "effect": None,
        "effect_is": None, "test": None, "confidence": 0.95, "reported": "nothing is known",
        "comparisons": [comparison(decision) for decision in decisions],
    }  # fmt: skip
    told = finding(claim)
    assert told.found.startswith(found)
    assert told.effect is None
    assert (told.reported_verdict, told.reported) == (None, "nothing is known")
    assert (told.comparisons is None) == (not decisions)
    assert tally([told, told]) == "2 supported"


def test_what_contradicts_a_claim_in_the_papers_numbers_is_shown(made: tuple[Path, str]) -> None:
    claims = read_json(made[0] / "claims.json")["claims"]
    reported = "contradicted, 1 of 2 as claimed. Against: Wanda 0.5: -0.1 nats (read_off)"
    told = finding(claims[0] | {"reported": reported})
    assert (told.reported_verdict, told.reported) == ("contradicted", "1 of 2 numbers as claimed")
    assert told.reported_details == "Against: Wanda 0.5: -0.1 nats (read off a plot)"


@pytest.mark.parametrize(
    ("value", "written"),
    [(29968, "30 kB"), (127400.0, "127 kB"), (2.5e9, "2.5 GB"), (999.0, "999 B"), (0.0, "0 B"), (1.256e22, "12.6 ZB")],
)
def test_sizes_are_written_with_three_digits_and_a_prefix(value: float, written: str) -> None:
    assert scaled(value, "B") == written


@pytest.mark.parametrize("missing", ["claims.json", "tables/pairs.csv", "claims.md", "config.yaml"])
def test_a_missing_table_is_named_and_no_page_is_left(copy: Path, missing: str) -> None:
    (copy / "report.html").unlink()
    (copy / missing).unlink()
    with pytest.raises(UserError, match=re.escape(str(copy / missing))):
        report(copy)
    assert not (copy / "report.html").exists()


@pytest.mark.parametrize("kind", ["png", "csv"])
def test_a_missing_figure_is_named(copy: Path, kind: str) -> None:
    picture = copy.parents[1] / f"figures/demo/ratio.{kind}"
    picture.unlink()
    with pytest.raises(UserError, match=rf"cannot read {re.escape(str(picture))} .*draw the study's figures again"):
        report(copy)


def test_a_damaged_figure_is_named(copy: Path) -> None:
    picture = copy.parents[1] / "figures/demo/ratio.png"
    picture.write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=rf"cannot read {re.escape(str(picture))}"):
        report(copy)


def test_figures_without_any_data_are_refused(copy: Path) -> None:
    for data in (copy.parents[1] / "figures/demo").glob("*.csv"):
        data.write_text("a,b\n")
    with pytest.raises(UserError, match="has data: draw the study's figures first"):
        report(copy)


def test_the_entry_point_writes_the_page_or_says_what_is_missing(copy: Path, made: tuple[Path, str]) -> None:
    (copy / "report.html").unlink()
    command = [sys.executable, str(REPOSITORY / "workflow/scripts/write_report.py"), "--results", str(copy)]
    command += ["--figures", str(copy.parents[1] / "figures/demo"), "--out", str(copy / "report.html")]
    assert subprocess.run(command, check=False).returncode == 0
    assert (copy / "report.html").read_text(encoding="utf-8") == made[1]
    (copy / "results.csv").unlink()
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: cannot read {copy / 'results.csv'}")
    assert (copy / "report.html").read_text(encoding="utf-8") == made[1]


@pytest.mark.skipif(report_browser.BROWSER is None, reason=f"none of {', '.join(report_browser.BROWSERS)}")
@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["desk", "phone"])
def test_nothing_is_cut_and_folded_tables_open_without_scripts(made: tuple[Path, str], size: tuple[int, int]) -> None:
    results, _ = made
    with report_browser.opened(results / "report.html", size) as page:
        assert report_browser.width_beyond_window(page) == 0
        assert page.locator(".verdicts .verdict").first.bounding_box()["y"] < size[1]  # type: ignore[index]
        folded = page.locator("details", has_text="Accuracy on each task").locator("table")
        assert not folded.is_visible()
        page.get_by_text("Accuracy on each task").click()
        assert folded.is_visible()
        assert report_browser.width_beyond_window(page) == 0


def test_the_page_can_be_written_elsewhere(copy: Path, tmp_path: Path) -> None:
    write_report(copy, copy.parents[1] / "figures/demo", tmp_path / "elsewhere/page.html")
    assert (tmp_path / "elsewhere/page.html").read_text(encoding="utf-8") == (copy / "report.html").read_text()


def test_claims_name_figures_that_there_are() -> None:
    assert {name for names in CLAIM_FIGURES.values() for name in names} <= set(FIGURES)


def picture(name: str) -> pictures.Picture:
    return pictures.Picture(name, "", "", 1, 1)


@pytest.mark.parametrize(
    ("shown", "places"),
    [
        # Token_budget is the figure of C1, ratio that of C3 and C3-vanishing.
        (["token_budget", "ratio", "tasks"], ("token_budget", {"C3": ["ratio"]}, ["C1", "C3-vanishing"], ["tasks"])),
        (["tasks", "token_budget"], ("tasks", {"C1": ["token_budget"]}, [], [])),
        (["pareto", "tasks", "reported"], ("pareto", {}, [], ["tasks", "reported"])),
    ],
)
def test_a_figure_is_at_the_top_or_at_its_first_claim_or_after_all(
    made: tuple[Path, str], shown: list[str], places: tuple[str, dict[str, list[str]], list[str], list[str]]
) -> None:
    found = [finding(claim) for claim in read_json(made[0] / "claims.json")["claims"]]
    placed = layout(found, [picture(name) for name in shown])
    of_claims = {claim: [one.name for one in held] for claim, held in placed.of_claims.items() if held}
    linked = [claim for claim, held in placed.links_of_claims.items() if held]
    assert (placed.first.name, of_claims, linked, [one.name for one in placed.further]) == places
