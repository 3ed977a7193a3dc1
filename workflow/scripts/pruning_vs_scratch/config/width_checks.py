"""Rules on the shapes of width targets: which methods share one, and which shapes each method can produce."""

from collections.abc import Iterator
from typing import Any

from pruning_vs_scratch.config.model import WidthTarget
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.families.catalogue import family_facts
from pruning_vs_scratch.families.facts import ATTENTION_BIAS, FFN_BIAS
from pruning_vs_scratch.pruning import catalogue
from pruning_vs_scratch.pruning.catalogue import facts_of

BIASES = (ATTENTION_BIAS, FFN_BIAS)
NUMBERS = ("hidden_size", "ffn_size", "heads", "kv_heads", "layers")
OTHERS = "the width methods without a shape of their own"


def has_own_shape(config: StudyConfig, method: str, ratio: float) -> bool:
    """Whether an entry under targets.width names the method, alone or with others."""
    return any(target.ratio == ratio and method in target.methods for target in config.targets.width)


def is_searched(config: StudyConfig, method: str, ratio: float) -> bool:
    """Whether the shape that a method uses at a ratio is searched."""
    search = config.shape_search
    return search is not None and ratio in search.ratios and not has_own_shape(config, method, ratio)


def width_problems(config: StudyConfig, path: str, method: str, ratio: float) -> Iterator[str]:
    """Shapes that a width method cannot produce from the parent at a ratio."""
    if is_searched(config, method, ratio):
        yield from _search_problems(config, path, method, ratio)
        return
    width = config.targets.width_of(method, ratio)
    if width is not None:
        path = f"targets.width.{config.targets.width.index(width)}"
        yield from kept_whole_problems(config, path, method, width)
        yield from _bias_problems(config, path, method, width)


def sharing_problems(config: StudyConfig) -> Iterator[str]:
    """At each ratio every width method has one shape, and no two entries have the same shape."""
    seen: dict[tuple[float, str], int] = {}
    for i, width in enumerate(config.targets.width):
        path = f"targets.width.{i}"
        for method in width.methods or [OTHERS]:
            first = seen.setdefault((width.ratio, method), i)
            if first != i:
                yield f"{path}: {method} has a shape for ratio {width.ratio} in targets.width.{first} already; keep one"
            if width.methods and facts_of(method).granularity != "width":
                yield f"{path}.methods: {method} is a {facts_of(method).granularity} method; name width methods"
        for method in sorted({method for method in width.methods if width.methods.count(method) > 1}):
            yield f"{path}.methods: {method} is listed {width.methods.count(method)} times"
        if len({_added(config, method) for method in width.methods}) > 1:
            yield f"{path}.methods: {', '.join(width.methods)} add different biases; give each an entry of its own"
        for j, other in enumerate(config.targets.width[:i]):
            if _resolved(config, other) == _resolved(config, width):
                yield (
                    f"{path}: this is the shape of targets.width.{j} again; keep one entry, so that their methods "
                    "share baselines"
                )


def kept_whole_problems(config: StudyConfig, path: str, method: str, width: WidthTarget) -> Iterator[str]:
    """A width target only shrinks what the method can shrink."""
    shrinks = facts_of(method).shrinks(config.pruning.options(method))
    for key in (key for key in NUMBERS if key not in shrinks):
        if getattr(width, key) not in (None, getattr(config.parent.shape, key)):
            others = [
                name
                for name, facts in catalogue.methods().items()
                if facts.granularity == "width" and key in facts.shrinks(config.pruning.options(name))
            ]
            yield (
                f"{path}.{key}: {method} keeps all {getattr(config.parent.shape, key)} of the "
                f"parent's; methods that drop any: {', '.join(others)}"
            )


def _search_problems(config: StudyConfig, path: str, method: str, ratio: float) -> Iterator[str]:
    """A searched shape serves every width method without a separate shape."""
    search, facts = config.shape_search, facts_of(method)
    assert search is not None
    options, tried = config.pruning.options(method), config.pruning.options(search.method)
    keeps = facts_of(search.method).shrinks(tried) - facts.shrinks(options)
    if keeps or facts.adds(options):
        why = f"keeps the parent's {' and '.join(sorted(keeps))}" if keeps else "adds biases"
        yield (
            f"{path}: the shape of {ratio:g} is searched, and {method} {why}; give it an entry of its own under "
            f"targets.width (methods: [{method}])"
        )


def _bias_problems(config: StudyConfig, path: str, method: str, width: WidthTarget) -> Iterator[str]:
    """A target has the biases of the parent and those that its method adds, for every method that shares it."""
    added = _added(config, method)
    if added and not width.methods:
        yield (
            f"{path}: {method} adds {' and '.join(sorted(added))} with these options, so it cannot share this shape; "
            f"give it an entry of its own (methods: [{method}])"
        )
    facts = family_facts(config.parent.shape.family)
    if strange := sorted(added - facts.optional_biases.keys()):
        yield (
            f"{path}: {method} adds {' and '.join(strange)} with these options, which a {facts.label} has no room for; "
            f"choose other options of pruning.{method} (docs/parents.md, Families)"
        )
    for key in BIASES:
        given, has = getattr(width, key), getattr(config.parent.shape, key) or key in added
        if given is not None and given != has:
            does = "has these biases" if has else "cannot give these biases"
            yield f"{path}.{key}: {method} with its options {does}; leave the key out, or change pruning.{method}"


def _added(config: StudyConfig, method: str) -> frozenset[str]:
    return facts_of(method).adds(config.pruning.options(method))


def _resolved(config: StudyConfig, width: WidthTarget) -> tuple[Any, ...]:
    """A target's ratio and shape, with omitted values filled in."""
    parent = config.parent.shape
    numbers = [getattr(width, key) or getattr(parent, key) for key in NUMBERS]
    added = frozenset().union(*(_added(config, method) for method in width.methods))
    return (width.ratio, *numbers, *(getattr(parent, key) or key in added for key in BIASES))
