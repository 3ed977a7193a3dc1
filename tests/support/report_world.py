"""A study that the report is made of, and what a reader finds on the page."""

import struct
import zlib
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from pruning_vs_scratch.figures.catalogue import FIGURES
from pruning_vs_scratch.files import read_json, write_json, write_text
from pruning_vs_scratch.report.write import write_report
from pruning_vs_scratch.tables.published.catalogue import PUBLISHED
from pruning_vs_scratch.tables.published.stored import write
from results_world import write_results

WITHOUT_DATA = "training_curves"
VOID = {"meta", "img", "br"}


def write_study(root: Path) -> Path:
    """Write tables, printed tables and small pictures as in a project's folder; returns the results folder."""
    results, figures = root / "results/demo", root / "figures/demo"
    stored = write_results(results)
    for table in PUBLISHED.values():
        write(table.make(stored), table.name, results / "printed")
    for name in ("claims.md", "times.csv", "provenance.html"):
        write_text(results / name, f"what {name} holds\n")
    for i, name in enumerate(FIGURES):
        figures.mkdir(parents=True, exist_ok=True)
        (figures / f"{name}.png").write_bytes(png(40 + i, 30))
        write_text(figures / f"{name}.pdf", "%PDF")
        write_text(figures / f"{name}.csv", "a,b\n" if name == WITHOUT_DATA else "a,b\n1,2\n")
    return results


def png(width: int, height: int) -> bytes:
    """A black picture."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\0" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def report(results: Path) -> str:
    """The page of a study in a project's folder, written to its place."""
    page = results / "report.html"
    write_report(results, results.parents[1] / "figures" / results.name, page)
    return page.read_text(encoding="utf-8")


def change_claims(results: Path, **changes: Any) -> None:
    """Change the entries of claims.json on the study and, with the key ``claims``, on its first claims."""
    claims = read_json(results / "claims.json")
    for claim, change in zip(claims["claims"], changes.pop("claims", []), strict=False):
        claim |= change
    write_json(results / "claims.json", claims | changes)


@dataclass
class Element:
    """An element of a page, with the text in it."""

    tag: str
    attributes: dict[str, str]
    inside: tuple[str, ...]
    """The ids of the elements around it, from the outermost."""
    text: str = ""
    children: list["Element"] = field(default_factory=list)


class Reader(HTMLParser):
    """The elements of a page in order. Refuses elements that are closed in another order than they were opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        around = tuple(element.attributes["id"] for element in self._open if "id" in element.attributes)
        element = Element(tag, {name: value or "" for name, value in attrs}, around)
        if self._open:
            self._open[-1].children.append(element)
        self.found.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def of(self, tag: str, **attributes: str) -> list[Element]:
        """The elements of a kind with these attributes."""
        return [e for e in self.found if e.tag == tag and attributes.items() <= e.attributes.items()]
