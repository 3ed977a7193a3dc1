"""Every pruning method by name: those of methods/, and those of installed packages. No torch here.

A method is a package with two modules: ``facts`` holds ``FACTS`` (facts.py), ``method`` holds ``METHOD`` (method.py).
Another distribution offers one through an entry point in the group ``pruning_vs_scratch.methods``, with the method's
name and the package as its value.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.errors import UserError, nearest
from pruning_vs_scratch.pruning.facts import MaskLearningOptions, MethodFacts

GROUP = "pruning_vs_scratch.methods"
"""The group of entry points."""
BUILT_IN = (
    "shortgpt",
    "minitron_depth",
    "sleb",
    "minitron_width",
    "flap",
    "wanda_sp",
    "sheared_llama",
    "wanda",
    "sparsegpt",
    "magnitude",
    "random",
)
"""Folders of methods/."""
NAME = re.compile(r"[a-z][a-z_]*")
"""Names of methods are words: an @ or a digit after them begins a ratio."""

RESERVED = frozenset(
    {
        *("depth", "width", "sparse", "hybrid", "parent"),
        *("calibration", "low_memory", "host_buffer_gib", "device_buffer_gib", "precision", "processes"),
    }
)
"""Names of granularities, of the parent's target, and of settings that all methods share (config/pruning.py)."""


@dataclass(frozen=True)
class Origin:
    """Where a method comes from."""

    package: str
    distribution: str | None = None
    """None for this project's methods."""
    version: str | None = None

    def __str__(self) -> str:
        return self.package if self.distribution is None else f"{self.package} of {self.distribution} {self.version}"


@dataclass(frozen=True)
class _Catalogue:
    facts: dict[str, MethodFacts] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def facts_of(method: str) -> MethodFacts:
    """The facts of a method.

    Raises:
        UserError: there is no such method; the nearest name is given.
    """
    if method not in methods():
        raise UserError(unknown(method))
    return methods()[method]


def unknown(method: str) -> str:
    """Why there is no such method: what is wrong with an installed package's, or the nearest name."""
    broken = [problem for problem in problems() if problem.startswith(_problem_of(method))]
    return broken[0] if broken else f"no method {method!r}; {nearest(method, methods())}"


def methods() -> Mapping[str, MethodFacts]:
    """All methods, in the order of the catalogue."""
    return MappingProxyType(_collected().facts)


def origin_of(method: str) -> Origin:
    """Where a method comes from."""
    return _collected().origins[method]


def packages_of(method: str) -> list[str]:
    """The distribution that provides a method; none for this project's."""
    distribution = origin_of(method).distribution
    return [] if distribution is None else [distribution]


def implementation_of(method: str) -> Any:
    """The code of a method: a StructuredMethod, a SparseMethod or a LearnedMethod (method.py)."""
    return import_module(f"{origin_of(method).package}.method").METHOD


def label_of(method: str) -> str:
    """The spelling of a method or chain ('minitron_depth+wanda'); one that is not installed is shown by its name."""
    known = methods()
    return " + ".join(known[part].label if part in known else part for part in method.split("+"))


def problems() -> list[str]:
    """What is wrong with methods that packages offer; they are left out of the catalogue."""
    return list(_collected().problems)


def require_sound() -> None:
    """Refuse to work if any method cannot be used.

    Raises:
        UserError: lists each such method, its package, and what to do.
    """
    if found := problems():
        raise UserError("; ".join(found))


@cache
def _collected() -> _Catalogue:
    catalogue = _Catalogue()
    for name in BUILT_IN:
        _add(catalogue, name, Origin(f"{__package__}.methods.{name}"))
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        distribution = point.dist
        known = (distribution.name, distribution.version) if distribution is not None else ("?", "?")
        _add(catalogue, point.name, Origin(point.value, *known))
    return catalogue


def _add(catalogue: _Catalogue, name: str, origin: Origin) -> None:
    problem = _problem(catalogue, name, origin)
    if problem is not None:
        catalogue.problems.append(f"{_problem_of(name)} ({origin}): {problem}")


def _problem_of(name: str) -> str:
    return f"pruning method {name!r}"


def _problem(catalogue: _Catalogue, name: str, origin: Origin) -> str | None:
    """Add a method, or return why it cannot be used."""
    if not NAME.fullmatch(name):
        return "a method's name is lower-case letters and underscores; rename its entry point"
    if name in RESERVED or hasattr(Section, name):
        return "this name has a meaning of its own in a study; rename its entry point"
    if name in catalogue.origins:
        return f"there is already one of this name, {catalogue.origins[name]}; uninstall one, or rename it"
    try:
        facts = import_module(f"{origin.package}.facts").FACTS
    except Exception as error:  # Whatever somebody else's module raises when it is imported.
        return f"its facts cannot be read ({error}); it needs a module facts with FACTS, a MethodFacts"
    if not isinstance(facts, MethodFacts):
        return f"FACTS is a {type(facts).__name__}; make it a MethodFacts"
    if facts.learns_masks and not issubclass(facts.options, MaskLearningOptions):
        return "it learns masks, so its options have to be MaskLearningOptions"
    catalogue.facts[name], catalogue.origins[name] = facts, origin
    return None
