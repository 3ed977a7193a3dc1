"""The possible shapes for a ratio, for a parent without targets."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.study.shape import ModelShape

FFN_STEP = 8
"""Neurons are a multiple of this, for efficient matrix kernels."""
LEAST_STEP, MOST_STEP = 2, 128
"""Bounds of the multiples in which a search's candidates come; kernels tile matrices by 128 at most."""
SIZE_IN_STEPS = 32
"""Steps from nothing to the parent's size: the paper's candidates are 128 channels apart in 4,096."""


def shape_for(parent: ModelShape, method: str, ratio: float, options: Any) -> ModelShape:
    """The shape without a share ``ratio`` of the decoder's parameters.

    Depth: the nearest number of blocks. Width: hidden size and neurons shrink by about the same factor, heads stay.
    A sparse method keeps the shape, and a method may have a rule of its own (``MethodFacts.shape_at``).

    Raises:
        UserError: nothing would be left, or nothing would be dropped.
    """
    facts = facts_of(method)
    if facts.granularity == "sparse":
        return parent
    if facts.shape_at is not None:
        shape = facts.shape_at(parent, ratio, options)
    else:
        shape = _shallower(parent, ratio) if facts.granularity == "depth" else _narrower(parent, ratio)
    if shape == parent:
        raise UserError(f"--ratio {ratio:g} is too small for {method} to prune anything of this checkpoint")
    return shape


def _shallower(parent: ModelShape, ratio: float) -> ModelShape:
    layers = round(parent.layers * (1 - ratio))
    if layers < 1:
        raise UserError(f"--ratio {ratio:g} leaves none of the {parent.layers} decoder blocks")
    return replace(parent, layers=layers)


def _narrower(parent: ModelShape, ratio: float) -> ModelShape:
    """Of all hidden sizes, each with the neurons that meet the ratio, the one that keeps the parent's proportions."""
    shapes = [s for s in _widths(parent, parent, ratio, 2, FFN_STEP) if FFN_STEP <= s.ffn_size <= parent.ffn_size]
    if not shapes:
        raise UserError(f"--ratio {ratio:g} leaves no width that this checkpoint can be cut to; give --shape")
    return min(shapes, key=lambda shape: _unevenness(shape, parent))


def _widths(
    parent: ModelShape, heads: ModelShape, ratio: float, hidden_step: int, ffn_step: int
) -> Iterator[ModelShape]:
    """By hidden size, the shape whose neurons bring a block nearest to the share that a ratio leaves of the parent's.

    ``heads`` is the parent, or that with fewer heads. The neurons may be none, negative, or more than the parent's.
    """
    goal = (1 - ratio) * parent.block_params
    # transformers requires the hidden size to be a multiple of the heads, at least of some families.
    step = math.lcm(hidden_step, heads.heads) if parent.facts.divides_hidden_by_heads else hidden_step
    for hidden in range(step, parent.hidden_size + 1, step):
        without = replace(heads, hidden_size=hidden, ffn_size=0).block_params
        per_neuron = replace(heads, hidden_size=hidden, ffn_size=1).block_params - without
        ffn = round((goal - without) / per_neuron / ffn_step) * ffn_step
        yield replace(heads, hidden_size=hidden, ffn_size=ffn)


def _unevenness(shape: ModelShape, parent: ModelShape) -> float:
    """How far hidden size and neurons are from shrinking by the same factor."""
    return abs(shape.hidden_size / parent.hidden_size - shape.ffn_size / parent.ffn_size)


def deviation(shape: ModelShape, parent: ModelShape, ratio: float) -> float:
    """Decoder parameters beyond those that a ratio leaves of the parent, as a share of these."""
    return shape.params_nonembedding / ((1 - ratio) * parent.params_nonembedding) - 1


@dataclass(frozen=True)
class Widths:
    """What a search can choose from."""

    fitting: list[ModelShape]
    """Shapes whose decoder has the size for the ratio, within the tolerance; the most even one first."""
    nearest: list[ModelShape]
    """All shapes, those of the nearest size first."""


def solved_widths(parent: ModelShape, ratio: float, *, tolerance: float, all_heads: bool) -> Widths:
    """Shapes without a share ``ratio`` of the decoder's parameters, to be compared with each other.

    Every number of heads that divides evenly over the key-value heads (or only the parent's), every hidden size and
    the number of neurons that brings it nearest to the ratio, in multiples that suit matrix kernels. The first keeps
    all heads and the parent's proportions as well as one can; the others follow by their distance from it, in shares
    of the parent's hidden size, neurons and heads.
    """
    hidden_step, ffn_step = _step(parent.hidden_size), _step(parent.ffn_size)
    numbers = [parent.heads] if all_heads else range(parent.kv_heads, parent.heads + 1, parent.kv_heads)
    shapes = [
        replace(shape, ffn_size=min(max(ffn_step, shape.ffn_size), parent.ffn_size // ffn_step * ffn_step))
        for heads in numbers
        for shape in _widths(parent, replace(parent, heads=heads), ratio, hidden_step, ffn_step)
    ]
    nearest = sorted(shapes, key=lambda shape: abs(deviation(shape, parent, ratio)))
    fitting = [shape for shape in nearest if abs(deviation(shape, parent, ratio)) <= tolerance]
    if fitting:
        first = min(fitting, key=lambda shape: (parent.heads - shape.heads, _unevenness(shape, parent)))
        fitting.sort(key=lambda shape: (distance(shape, first, parent), shape.hidden_size, shape.heads))
    return Widths(fitting, nearest)


def _step(size: int) -> int:
    """The largest power of two that fits a few dozen times into a size."""
    found: int = 2 ** int(math.log2(min(max(size // SIZE_IN_STEPS, LEAST_STEP), MOST_STEP)))
    return found


def distance(shape: ModelShape, other: ModelShape, parent: ModelShape) -> float:
    """Distance between two shapes, in shares of the parent's hidden size, neurons and heads."""
    keys = ("hidden_size", "ffn_size", "heads")
    found: float = sum(abs(getattr(shape, key) - getattr(other, key)) / getattr(parent, key) for key in keys)
    return found
