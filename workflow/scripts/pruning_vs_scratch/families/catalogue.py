"""Every family by name: the folders next to this file, each with a module ``facts`` that has ``FACTS``. No torch."""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType

from pruning_vs_scratch import families as package
from pruning_vs_scratch.errors import UserError, nearest_of_all
from pruning_vs_scratch.families.facts import FamilyFacts

USUAL = "llama"
"""The family of models that do not state one."""


@cache
def families() -> Mapping[str, FamilyFacts]:
    """All families, the usual one first, the others by name."""
    names = sorted(found.name for found in pkgutil.iter_modules(package.__path__) if found.ispkg)
    names.sort(key=lambda name: name != USUAL)
    return MappingProxyType({name: import_module(f"{package.__name__}.{name}.facts").FACTS for name in names})


def family_facts(family: str) -> FamilyFacts:
    """The facts of a family.

    Raises:
        UserError: there is no such family; the nearest name is given.
    """
    if family not in families():
        raise UserError(unknown(family))
    return families()[family]


def unknown(family: str) -> str:
    """Why there is no such family: the nearest name, and all names."""
    return f"unknown family {family!r} of models; {nearest_of_all(family, families())}"


def family_of(model_type: str) -> str:
    """The family whose configurations have a model type.

    Raises:
        UserError: none has.
    """
    for name, facts in families().items():
        if facts.model_type == model_type:
            return name
    raise UserError(f"models of type {model_type!r} are not supported; supported: {labels()}")


def family_of_architecture(architecture: str) -> str | None:
    """The family that a class of transformers belongs to, or None."""
    return next((name for name, facts in families().items() if facts.architecture == architecture), None)


def labels() -> str:
    """All families, for messages."""
    return ", ".join(facts.label for facts in families().values())
