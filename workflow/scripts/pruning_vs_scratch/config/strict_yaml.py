"""Reading YAML that means what it looks like: what a reader of YAML 1.1 would take for something else is refused.

The values are those that Snakemake reads of the same file, or none.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.errors import UserError

MOST_VALUES = 100_000
"""Values that a file may stand for once its aliases are written out: a few lines of aliases can stand for billions."""
OCTAL = re.compile(r"[-+]?0[0-7_]+")
INT, FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"


def read_yaml(path: Path) -> Any:
    """The value that a YAML file holds.

    Raises:
        UserError: the file is missing or is not YAML, a key stands twice, a number is not the one that it looks like,
            or its aliases stand for too much; says on which lines.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(missing(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if found := [f"{path}, line {line}: {problem}" for line, problem in _problems(node, loader)]:
            raise UserError("\n".join(found))
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    except RecursionError as error:
        raise UserError(f"{path} is not valid YAML: it is nested too deeply") from error
    finally:
        loader.dispose()


def missing(path: Path) -> str:
    """What to say of a file that is not there."""
    if not path.is_absolute() and (REPOSITORY / path).exists():
        return f"no configuration file {path} under the working folder: run the command in the project's folder"
    return f"no configuration file {path}"


def _problems(node: yaml.Node, loader: yaml.SafeLoader) -> list[tuple[int, str]]:
    """Lines and what is wrong there."""
    found: list[tuple[int, str]] = []
    sizes: dict[int, int] = {}
    unfinished: set[int] = set()

    def size(node: yaml.Node) -> int:
        """Values that a node stands for; each node is looked at once, however many aliases it has."""
        if id(node) in unfinished:
            found.append((_line(node), "the value holds itself: write it without aliases"))
            return 1
        if id(node) not in sizes:
            unfinished.add(id(node))
            found.extend((_line(part), problem) for part, problem in _own_problems(node, loader))
            sizes[id(node)] = 1 + sum(map(size, _children(node)))
            unfinished.remove(id(node))
        return sizes[id(node)]

    if size(node) > MOST_VALUES:
        found.append((1, f"with its aliases written out the file holds more than {MOST_VALUES:,} values"))
    return found


def _own_problems(node: yaml.Node, loader: yaml.SafeLoader) -> Iterator[tuple[yaml.Node, str]]:
    if isinstance(node, yaml.MappingNode):
        first: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and first.setdefault(key.value, key) is not key:
                said = _line(first[key.value])
                yield key, f"the key {key.value} stands there twice (first on line {said}); keep one of them"
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
