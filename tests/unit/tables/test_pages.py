"""Pages of the report say what their Markdown says, and load nothing."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.tables.pages import page

TABLE = """# Losses of <all> & "some"

| method    |   gap |
|:----------|------:|
| Wanda 2:4 | +0.442 [+0.421, +0.463] |
| A < B     | – |
"""


class Reader(HTMLParser):
    """Collects the elements of a page, and the text in each kind."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and data.strip():
            self.texts.setdefault(self.found[-1][0], []).append(data)


def test_a_table_keeps_its_heading_cells_and_alignment() -> None:
    read = Reader(page(TABLE))
    assert read.texts["h1"] == read.texts["title"] == ['Losses of <all> & "some"']
    assert read.texts["th"] == ["method", "gap"]
    assert read.texts["td"] == ["Wanda 2:4", "+0.442 [+0.421, +0.463]", "A < B", "–"]
    cells = [attributes.get("style") for tag, attributes in read.found if tag == "td"]
    assert cells == ["text-align:left", "text-align:right"] * 2


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", '<img src="http://example.org/a.png">', "<b onclick='go()'>x</b>"]
)
def test_html_in_a_name_is_shown_and_not_run(text: str) -> None:
    read = Reader(page(f"# Heading\n\n{text}\n"))
    assert {tag for tag, _ in read.found} <= {"html", "head", "meta", "title", "style", "body", "h1", "p"}
    assert text in "".join(read.texts["p"])


def test_a_page_has_no_script_and_may_load_nothing() -> None:
    read = Reader(page("# Heading\n\n![picture](http://example.org/a.png)\n"))
    policies = [a["content"] for tag, a in read.found if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in read.found)
    assert "url(" not in read.texts["style"][0]


def written(markdown: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """A call of the entry point."""
    command = [sys.executable, str(REPOSITORY / "workflow/scripts/write_page.py")]
    command += ["--markdown", str(markdown), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_entry_point_writes_the_page(tmp_path: Path) -> None:
    (tmp_path / "table.md").write_text(TABLE, encoding="utf-8")
    assert written(tmp_path / "table.md", tmp_path / "pages/table.html").returncode == 0
    assert (tmp_path / "pages/table.html").read_text(encoding="utf-8") == page(TABLE)


def test_a_missing_text_is_named_and_no_page_is_left(tmp_path: Path) -> None:
    result = written(tmp_path / "table.md", tmp_path / "table.html")
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: cannot read {tmp_path / 'table.md'}")
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []
