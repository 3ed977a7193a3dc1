"""The goal of a pruning request: from ratio, pattern, shape or target file to a checked target."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pruning_vs_scratch.config.pruning import N_OF_M_RATIO
from pruning_vs_scratch.errors import UserError, nearest
from pruning_vs_scratch.files import read_json
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.request import PruningRequest
from pruning_vs_scratch.study import ModelShape, Target
from pruning_vs_scratch.study.solve import shape_for

SHAPE_KEYS = ("layers", "hidden_size", "ffn_size", "heads", "kv_heads")


def wanted_target(request: PruningRequest, parent: ModelShape, options: Any) -> Target:
    """The target of a request, checked against what the method can make of the parent.

    Raises:
        UserError: they specify nothing, or something impossible.
    """
    target = _target(request, parent, options)
    _check_reachable(request, parent, target, options)
    return target


def _target(request: PruningRequest, parent: ModelShape, options: Any) -> Target:
    """The target given by the options.

    Raises:
        UserError: they specify nothing, or something impossible.
    """
    if request.target is not None:
        if request.pattern is not None:
            raise UserError("--pattern is part of the target file: leave it out")
        return Target.from_dict(read_json(request.target)).last_step
    granularity = facts_of(request.method).granularity
    if granularity == "sparse":
        return _sparse_target(request, parent)
    if request.pattern is not None:
        raise UserError(f"--pattern is for sparse methods; {request.method} is a {granularity} method")
    if request.shape is not None:
        if facts_of(request.method).ratio_decides(options):
            raise UserError(
                f"{request.method} with these options takes its shape from a ratio: give --ratio, not --shape"
            )
        shape = named_shape(request.shape, parent)
        if shape == parent:
            raise UserError(f"--shape {' '.join(request.shape)} is the checkpoint's own: there is nothing to prune")
        ratio = 1 - shape.params_nonembedding / parent.params_nonembedding
    else:
        ratio = _checked_ratio(request)
        shape = shape_for(parent, request.method, ratio, options)
    shape = shape.with_biases(facts_of(request.method).adds(options))
    return Target(f"{request.method}-{ratio:g}", granularity, ratio, "dense", shape)


def _sparse_target(request: PruningRequest, parent: ModelShape) -> Target:
    if request.shape is not None:
        raise UserError(f"--shape is for depth and width methods; {request.method} keeps the shape: give --ratio")
    if request.pattern is not None:
        if request.ratio not in (None, N_OF_M_RATIO):
            raise UserError(f"--pattern {request.pattern} has ratio {N_OF_M_RATIO}, not {request.ratio:g}")
        return Target(
            f"{request.method} {request.pattern}", "sparse", N_OF_M_RATIO, request.pattern, parent, request.method
        )
    ratio = _checked_ratio(request)
    return Target(f"{request.method} {ratio:g}", "sparse", ratio, "unstructured", parent, request.method)


def _checked_ratio(request: PruningRequest) -> float:
    if request.ratio is None:
        raise UserError("say how much to prune: --ratio, --pattern, --shape or --target")
    if not 0 < request.ratio < 1:
        raise UserError(f"--ratio {request.ratio:g} must be between 0 and 1")
    return request.ratio


def named_shape(words: Sequence[str], parent: ModelShape) -> ModelShape:
    """The parent's shape, changed by words such as 'layers=16' or 'heads=20,kv_heads=5'.

    Raises:
        UserError: a key is unknown, or its value is not a whole number above 0.
    """
    changes: dict[str, Any] = {}
    for word in ",".join(words).split(","):
        key, _, value = word.partition("=")
        if key not in SHAPE_KEYS:
            raise UserError(f"--shape {word}: {nearest(key, SHAPE_KEYS)}")
        if not value.isdigit() or int(value) < 1:
            raise UserError(f"--shape {word}: give a whole number above 0")
        changes[key] = int(value)
    return replace(parent, **changes)


def _check_reachable(request: PruningRequest, parent: ModelShape, target: Target, options: Any) -> None:
    """Refuse a target that the method cannot reach from the checkpoint.

    Raises:
        UserError: says which value does not fit.
    """
    facts = facts_of(request.method)
    granularity = facts.granularity
    if target.granularity != granularity:
        raise UserError(
            f"{request.target} is a {target.granularity} target, but {request.method} is a {granularity} method"
        )
    shrinks = facts.shrinks(options)
    asking = request.target or f"the target of {request.method}"
    for name, wanted in target.shape.to_dict().items():
        found = getattr(parent, name)
        if wanted != found and not (name in facts.adds(options) or (name in shrinks and wanted < found)):
            kept = f", which {request.method} keeps with these options" if wanted < found and name in SHAPE_KEYS else ""
            raise UserError(f"{asking} asks for {name} = {wanted}, but {request.model} has {found}{kept}")
    if target.shape.heads % target.shape.kv_heads:
        raise UserError(
            f"{asking} asks for {target.shape.heads} heads, not a multiple of the {target.shape.kv_heads} "
            "key-value heads"
        )
    if target.shape.layers < facts.least_layers:
        raise UserError(
            f"{asking} asks for {target.shape.layers} blocks, but {request.method} always leaves {facts.least_layers}"
        )
    kept_groups = target.shape.kv_heads < parent.kv_heads
    if kept_groups and target.shape.heads // target.shape.kv_heads != parent.heads // parent.kv_heads:
        group = parent.heads // parent.kv_heads
        raise UserError(
            f"{asking} asks for {target.shape.heads} heads in {target.shape.kv_heads} key-value groups; "
            f"whole groups of {group} query heads are dropped, which leaves {target.shape.kv_heads * group} heads"
        )
    narrower = target.shape.hidden_size < parent.hidden_size
    if narrower and parent.facts.refuses(target.shape.hidden_size, target.shape.heads):
        raise UserError(
            f"{asking} asks for hidden_size = {target.shape.hidden_size}, which is not a multiple of the "
            f"{target.shape.heads} heads: transformers would refuse to load it"
        )
