"""The floors of docs/architecture.md: no module imports from a higher floor, nor from another room on its own."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pruning_vs_scratch.cli import REPOSITORY

PACKAGE = "pruning_vs_scratch"
SOURCES = REPOSITORY / "workflow/scripts" / PACKAGE
MAP = REPOSITORY / "docs/architecture.md"
FLOORS: tuple[dict[str, tuple[str, ...]], ...] = (
    {
        "base": (
            "artifacts", "cli", "counting", "errors", "evaluation.finite", "files", "hub_files", "ledger", "libraries",
            "locks", "manifest", "models.weight_files", "plain_names", "processes", "resume_state", "strict_json",
            "time_left", "units",
        ),
    },
    {
        "configuration": (
            "config", "families", "pruning.catalogue", "pruning.facts", "pruning.methods.*.facts",
            "pruning.methods.flap.counts", "study.shape",
        ),
    },
    {"text": ("data",)},
    {"study": ("study", "pruning.memory", "pruning.placement")},
    {
        "models": (
            "models", "data.tokenizer", "pruning.kept", "pruning.masks", "pruning.record", "pruning.surgery",
        ),
        "cluster": ("cluster",), "tables": ("tables",),
        "progress": ("progress",),
    },
    {"training": ("training",), "parents": ("parents",), "planning": ("planning",)},
    {
        "pruning": ("pruning",), "evaluation": ("evaluation",), "figures": ("figures",), "ladder": ("ladder",),
        "publishing": ("publishing",), "verification": ("verification",), "warm": ("warm",),
    },
    {"archive": ("archive",), "report": ("report",), "supervisor": ("supervisor",)},
    {"program": ("program", "__main__")},
)  # fmt: skip
"""From the lowest: by name of a room, its modules; of two entries that match a module, the longer one counts."""
UPWARD = {
    ("study.sources", "parents.folder"): "only a study with a parent in a local folder asks which files it has",
}
"""Imports that the floors would forbid, and why they stay."""
TORCH = {"torch", "transformers", "lm_eval"}
WITHOUT_TORCH = {
    "base", "configuration", "text", "study", "cluster", "tables", "progress", "planning", "supervisor", "figures",
    "ladder", "verification", "archive", "report",
}  # fmt: skip
"""Rooms that run where torch is not installed, or where seconds count."""


@dataclass(frozen=True)
class Import:
    """One import of a module, wherever it is: at the top, in a function, or for the type checker."""

    source: str
    target: str
    """With the name that is imported, which may be a module or not."""
    line: int

    def __str__(self) -> str:
        return f"{self.source}, line {self.line}: {self.target}"


def imports_of(source: str, code: str) -> Iterator[Import]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{source}, line {node.lineno}: a relative import"
            yield from (Import(source, f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (Import(source, alias.name, node.lineno) for alias in node.names)


def sources() -> Iterator[tuple[str, str]]:
    """Every module with its code; the package itself, which imports nothing, aside."""
    for path in sorted(SOURCES.rglob("*.py")):
        parts = path.relative_to(SOURCES).with_suffix("").parts
        if name := ".".join(parts[:-1] if parts[-1] == "__init__" else parts):
            yield name, path.read_text(encoding="utf-8")


def place(module: str) -> tuple[int, str]:
    """Floor and room of a module."""
    found = [
        (len(entry.split(".")), floor, room)
        for floor, rooms in enumerate(FLOORS)
        for room, entries in rooms.items()
        for entry in entries
        if re.match(entry.replace(".", r"\.").replace("*", r"\w+") + r"(\.|$)", module)
    ]
    assert found, f"{module} has no floor: give it one here and in docs/architecture.md"
    _, floor, room = max(found)
    return floor, room


def upward(found: Import) -> bool:
    """Whether an import leads to a higher floor, or to another room of the same one."""
    if not found.target.startswith(f"{PACKAGE}."):
        return False
    target = found.target.removeprefix(f"{PACKAGE}.")
    (here, room), (there, other) = place(found.source), place(target)
    excused = any(found.source == source and target.startswith(allowed) for source, allowed in UPWARD)
    return room != other and there >= here and not excused


ALL = [found for name, code in sources() for found in imports_of(name, code)]


def test_no_import_leads_upward_or_aside() -> None:
    assert [str(found) for found in ALL if upward(found)] == []


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("study.names", "from pruning_vs_scratch.tables.load import Tables"),
        ("study.names", "import pruning_vs_scratch.tables.load"),
        ("study.names", "from pruning_vs_scratch import tables"),
        ("tables.load", "def late():\n    from pruning_vs_scratch.figures import style"),
        ("config.load", "if TYPE_CHECKING:\n    from pruning_vs_scratch.study.runs import Run"),
        ("training.loop", "from pruning_vs_scratch.planning.plan import Plan"),
        ("errors", "from pruning_vs_scratch.config.base import Section"),
        ("config.base", "from pruning_vs_scratch.pruning.masks import Masks"),
    ],
)
def test_an_import_that_leads_upward_or_aside_is_found(source: str, code: str) -> None:
    (found,) = imports_of(source, code)
    assert upward(found)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("tables.load", "from pruning_vs_scratch.study.runs import Run"),
        ("tables.load", "from pruning_vs_scratch.tables.write import write_csv"),
        ("config.base", "from pruning_vs_scratch.pruning.methods.wanda.facts import FACTS"),
        ("study.names", "from collections import abc"),
    ],
)
def test_other_imports_are_allowed(source: str, code: str) -> None:
    assert not any(map(upward, imports_of(source, code)))


def test_every_exception_is_still_needed() -> None:
    used = {(found.source, found.target.removeprefix(f"{PACKAGE}.")) for found in ALL}
    assert [pair for pair in UPWARD if not any(s == pair[0] and t.startswith(pair[1]) for s, t in used)] == []


def test_rooms_without_torch_import_none_and_nothing_that_does() -> None:
    found = [found for found in ALL if place(found.source)[1] in WITHOUT_TORCH]
    assert [str(one) for one in found if one.target.partition(".")[0] in TORCH] == []
    rooms = {place(one.target.removeprefix(f"{PACKAGE}."))[1] for one in found if one.target.startswith(PACKAGE)}
    # The exception above, and the client of an interpreter that imports torch itself.
    assert rooms - WITHOUT_TORCH <= {"parents", "warm"}


def test_a_study_is_read_without_torch() -> None:
    check = "import sys; import pruning_vs_scratch.study.study; assert not {'torch', 'transformers'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_no_two_modules_define_a_class_of_one_name() -> None:
    classes = Counter(
        node.name for _, code in sources() for node in ast.parse(code).body if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in classes.items() if count > 1] == []


def test_the_map_shows_every_room_on_its_floor() -> None:
    rows = re.findall(r"^\| (\d) \| `([\w`, ]+)` \|", MAP.read_text(encoding="utf-8"), re.MULTILINE)
    shown = [(int(floor), room) for floor, rooms in rows for room in rooms.split("`, `")]
    assert sorted(shown) == sorted((floor, room) for floor, rooms in enumerate(FLOORS) for room in rooms)
