"""A study's reports in headless Chromium, without a network: what a reader sees, clicks and downloads.

Unless it is said, this is about Snakemake's own, provenance.html.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Download, FrameLocator, Locator, Page, sync_playwright
from playwright.sync_api import TimeoutError as Dropped

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
"""The machine's own browser; none is downloaded."""
SECONDS_TO_WAIT, SECONDS_TO_BEGIN = 60, 5
INK = """canvas => {
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return pixels.some((value, i) => i % 4 < 3 && value < 200 && pixels[i - i % 4 + 3] > 0);
}"""
"""Whether something is drawn on a canvas."""


@contextmanager
def opened(report: Path, size: tuple[int, int] = (1400, 900)) -> Iterator[Page]:
    """Any page in an offline browser. It may request nothing but itself, and must not report an error."""
    problems: list[str] = []
    requests: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER)
        page = browser.new_context(viewport={"width": size[0], "height": size[1]}, offline=True).new_page()
        page.set_default_timeout(1000 * SECONDS_TO_WAIT)
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(report.as_uri())
        yield page
        browser.close()
    assert problems == []
    assert [address for address in requests if not address.startswith("data:")] == [report.as_uri()]


@contextmanager
def reading(report: Path) -> Iterator[Page]:
    """Snakemake's report, once it is there."""
    with opened(report) as page:
        sidebar(page).wait_for()
        yield page


def width_beyond_window(page: Page) -> int:
    """Pixels by which any page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def sidebar(page: Page) -> Locator:
    """The column on the left, which contains a navigation with the path to the current place."""
    return page.locator("nav").first


def contents(page: Page) -> dict[str, dict[str, str]]:
    """What the report holds: by folder and name, the path of each result."""
    found: dict[str, dict[str, list[str]]] = page.evaluate("categories")
    return {
        folder: {page.evaluate("path => Object.values(results[path].labels)[0]", path): path for path in paths}
        for folder, (paths,) in ((folder, parts.values()) for folder, parts in found.items())
    }


def menu(page: Page) -> list[str]:
    """The folders of results, from top to bottom."""
    sidebar(page).locator("nav a").first.click()  # the house
    return [text.strip() for text in sidebar(page).get_by_text(re.compile(r"^\d\. ")).all_inner_texts()]


def open_folder(page: Page, name: str) -> list[str]:
    """Open a folder of results; the names of what is in it, from top to bottom."""
    menu(page)
    sidebar(page).get_by_text(name).click()
    return [text.strip() for text in sidebar(page).locator("tbody tr").all_inner_texts()]


def buttons(page: Page, name: str) -> tuple[Locator, Locator]:
    """The eye and the i next to a result in the open folder."""
    row = sidebar(page).locator("tbody tr").filter(has=page.get_by_role("cell", name=name, exact=True))
    return row.locator("a").nth(0), row.locator("a").nth(1)


def image(page: Page) -> Locator:
    """The picture that is shown, once it is decoded."""
    shown = page.locator("#app .grow img")
    shown.evaluate("image => image.decode()")
    return shown


def document(page: Page, heading: str) -> FrameLocator:
    """The page that is shown, once its heading is seen."""
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", level=1, name=heading, exact=True).wait_for()
    return frame


def downloaded(page: Page, view: Locator) -> Download:
    """What a click downloads. Of clicks that come faster than a person's, Chromium drops some: those are repeated."""
    for _ in range(SECONDS_TO_WAIT // SECONDS_TO_BEGIN):
        try:
            with page.expect_download(timeout=1000 * SECONDS_TO_BEGIN) as download:
                view.click()
            return download.value
        except Dropped as error:
            dropped = error
    raise dropped


def is_drawn(canvas: Locator) -> bool:
    """Whether a chart is there, visible, and not empty."""
    canvas.wait_for()
    return bool(canvas.is_visible() and canvas.evaluate(INK))
