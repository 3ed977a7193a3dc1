"""What the guides point to is there: links, headings, files, and the commits of the recipes."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from pruning_vs_scratch.archive.reference import REFERENCE
from pruning_vs_scratch.archive.unpack import unpack
from pruning_vs_scratch.cli import REPOSITORY

PAGES = sorted(page for folder in (".", "docs", "config", "figures") for page in (REPOSITORY / folder).glob("*.md"))
GUIDES = ("CONTRIBUTING.md", "docs/architecture.md", "docs/extending.md", "config/README.md")
FILE = re.compile(r"`([\w./-]+(?:\.(?:py|smk|yaml|rst|csv|json|lock|md)|/))`")
COMMIT = re.compile(r"Shown by `([0-9a-f]{7})` \(([^()]+)\)|and by `([0-9a-f]{7})` \(([^()]+)\)")


def words(page: str) -> str:
    return " ".join((REPOSITORY / page).read_text(encoding="utf-8").split())


def headings(page: Path) -> set[str]:
    """As links name them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


@cache
def files() -> str:
    """Files and folders of the repository, a line each."""
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    paths = [Path(line) for line in listed.splitlines()]
    folders = {f"{folder}/" for path in paths for folder in path.parents}
    return "\n".join(f"/{name}" for name in [*map(str, paths), *sorted(folders)]) + "\n"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Tables of a finished study by their names: guides name them without its folder."""
    listing = unpack(REPOSITORY / REFERENCE / "demo.tar.zst", tmp_path_factory.mktemp("archive"))
    return {Path(name).name for name in listing.files if name.endswith(".csv")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        target, _, heading = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = page.parent / target if target else page
        assert file.exists(), link
        assert not heading or heading in headings(file), link


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_names_files_that_are_there(guide: str, tables: set[str]) -> None:
    named = [name for name in FILE.findall(words(guide)) if "NAME" not in name and not name.startswith("results/")]
    assert named
    assert [name for name in named if f"/{name}\n" not in files() and name not in tables] == []


def test_the_recipes_name_commits_of_this_history() -> None:
    found = [(match[0] or match[2], match[1] or match[3]) for match in COMMIT.findall(words("docs/extending.md"))]
    assert len(found) == 7
    for commit, subject in found:
        shown = subprocess.run(
            ["git", "show", "--no-patch", "--format=%s", commit], cwd=REPOSITORY, capture_output=True, text=True
        )
        if shown.returncode:
            pytest.skip("this copy has no history")
        assert shown.stdout.strip() == subject


def test_the_hooks_run_what_lint_runs() -> None:
    config = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert lint is not None
    tools = re.findall(r"\$\(BIN\)/(\w+(?: check| format)?)", lint[1])
    hooks = [hook["entry"].removeprefix(".venv/bin/") for repo in config["repos"] for hook in repo["hooks"]]
    assert [tool for tool in tools if tool != "snakemake"] == [
        " ".join(word for word in hook.split() if not word.startswith("-")) for hook in hooks
    ]
