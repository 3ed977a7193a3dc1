"""Where a setting is: the file and line of a place such as ``training.threads``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from pruning_vs_scratch.errors import UserError

FURTHER = "Correct this first; sizes, budgets and targets are checked after it."


class InvalidConfig(UserError):
    """A configuration that is not valid. Each problem begins with the place of a setting.

    ``only_types``: only the keys and the types of their values were checked.
    """

    def __init__(self, problems: Sequence[str], *, only_types: bool = False) -> None:
        lines = ["the configuration is not valid:", *(f"  {problem}" for problem in problems)]
        super().__init__("\n".join([*lines, *([FURTHER] if only_types else [])]))
        self.problems = problems
        self.only_types = only_types


@contextmanager
def naming_lines(files: Sequence[Path]) -> Iterator[None]:
    """Report invalid settings with file and line. Each file overlays the ones before it.

    Raises:
        InvalidConfig: with the lines.
    """
    try:
        yield
    except InvalidConfig as error:
        documents = [(file, yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader)) for file in files]
        problems = [_with_line(problem, documents) for problem in error.problems]
        raise InvalidConfig(problems, only_types=error.only_types) from error


def _with_line(problem: str, documents: Sequence[tuple[Path, yaml.Node | None]]) -> str:
    """A problem prefixed with the file and line nearest to its place; unchanged if there is none."""
    place = problem.partition(": ")[0].split(".")
    nearest = (0, "")
    for file, document in reversed(documents):
        depth, line, replaces = _deepest(document, place)
        if depth > nearest[0]:
            nearest = depth, f"{file}, line {line}: "
        if replaces:
            break
    return nearest[1] + problem


def _deepest(node: yaml.Node | None, place: Sequence[str]) -> tuple[int, int, bool]:
    """How many steps of a place a document has, the line of the last, and whether it replaces earlier files."""
    depth, line, replaces = 0, 0, False
    for step in place:
        inner = _inner(node, step)
        if inner is None:
            break
        key, node = inner
        depth, line = depth + 1, key.start_mark.line + 1
        # Mappings are merged; lists and values replace each other.
        replaces = replaces or not isinstance(node, yaml.MappingNode)
    return depth, line, replaces


def _inner(node: yaml.Node | None, step: str) -> tuple[yaml.Node, yaml.Node] | None:
    """The key and the value of a step within a node; of a list, the item is both."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and step.isdigit() and int(step) < len(node.value):
        return node.value[int(step)], node.value[int(step)]
    return None
