"""Read YAML that means what it looks like: values that YAML 1.1 would interpret differently are refused.

A file that is accepted has the same values when Snakemake reads it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pruning_vs_scratch.cli import refuse_elsewhere
from pruning_vs_scratch.errors import UserError

MOST_VALUES = 100_000
"""Largest number of values in a file once its aliases are expanded; a few lines of aliases can expand to billions."""
DEEPEST = 100
"""Deepest nesting of values."""
NESTED = re.compile(rf"(?:[\[{{]\s*){{{DEEPEST + 1}}}")
"""This many consecutive brackets take the library seconds before it checks their depth."""
OCTAL = re.compile(r"[-+]?0[0-7_]+")
INT, FLOAT, TIMESTAMP = (f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp"))


class _Loader(yaml.SafeLoader):
    """Rejects deep nesting at once; the library takes seconds to reach Python's own limit."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, which may hold others.

        Raises:
            RecursionError: it is nested too deeply.
        """
        self.depth += 1
        if self.depth > DEEPEST:
            raise RecursionError
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_yaml(path: Path) -> Any:
    """The value in a YAML file.

    Raises:
        UserError: the file is missing or is not YAML, a key is listed twice, a number does not mean what it looks
            like, or its aliases expand to too many values; names the lines.
    """
    text = _text_of(path)
    if NESTED.search(text):
        raise UserError(f"{path} is not valid YAML: it is nested too deeply")
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"{path}, line {line}: the character {error.character:#x} is not text; remove it") from error
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if found := [f"{path}, line {line}: {problem}" for line, problem in _problems(node, loader)]:
            raise UserError("\n".join(found))
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        begun = f"{error.context} begun on line {error.context_mark.line + 1}" if error.context_mark else error.context
        told = ", ".join(said for said in (begun, error.problem) if said)
        raise UserError(f"{path}{place}: not valid YAML: {told}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    except RecursionError as error:
        raise UserError(f"{path} is not valid YAML: it is nested too deeply") from error
    finally:
        loader.dispose()


def _text_of(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        refuse_elsewhere(path)
        raise UserError(f"no configuration file {path}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8") from error


def _problems(node: yaml.Node, loader: yaml.SafeLoader) -> list[tuple[int, str]]:
    """Line numbers and their problems."""
    found: list[tuple[int, str]] = []
    sizes: dict[int, int] = {}
    unfinished: set[int] = set()

    def size(node: yaml.Node) -> int:
        """Values that a node expands to; each node is visited once, however many aliases it has."""
        if id(node) in unfinished:
            found.append((_line(node), "the value contains itself: write it without aliases"))
            return 1
        if id(node) not in sizes:
            unfinished.add(id(node))
            found.extend((_line(part), problem) for part, problem in _own_problems(node, loader))
            sizes[id(node)] = 1 + sum(map(size, _children(node)))
            unfinished.remove(id(node))
        return sizes[id(node)]

    if size(node) > MOST_VALUES:
        found.append((1, f"with its aliases expanded, the file holds more than {MOST_VALUES:,} values"))
    return found


def _own_problems(node: yaml.Node, loader: yaml.SafeLoader) -> Iterator[tuple[yaml.Node, str]]:
    if isinstance(node, yaml.MappingNode):
        first: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and first.setdefault(key.value, key) is not key:
                said = _line(first[key.value])
                yield key, f"the key {key.value} is listed twice (first on line {said}); keep one of them"
    elif isinstance(node, yaml.ScalarNode) and node.tag == TIMESTAMP:
        yield node, f"{node.value} is read as a date; quote it if it is text"
    elif isinstance(node, yaml.ScalarNode) and node.style is None and node.tag in (INT, FLOAT):
        kind = "octal" if OCTAL.fullmatch(node.value) else "in base 60" if ":" in node.value else None
        if kind is not None:
            value = loader.construct_object(node)
            yield node, f"{node.value} is {kind}, and so means {value}; write {value}, or quote it if it is text"


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
