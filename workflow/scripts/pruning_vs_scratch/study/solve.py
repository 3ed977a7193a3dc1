"""The shape that a ratio means for a parent that comes without targets."""

from dataclasses import replace

from pruning_vs_scratch.config.pruning import GRANULARITY
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study.shape import ModelShape

FFN_STEP = 8
"""Neurons come in multiples of this, for the sake of matrix kernels."""


def shape_for(parent: ModelShape, method: str, ratio: float) -> ModelShape:
    """The shape in which a share ``ratio`` of the decoder's parameters is gone.

    Depth: the nearest number of blocks. Width: hidden size and neurons shrink by about the same factor, heads stay.
    A sparse method keeps the shape.

    Raises:
        UserError: nothing would be left, or nothing would go.
    """
    granularity = GRANULARITY[method]
    if granularity == "sparse":
        return parent
    shape = _shallower(parent, ratio) if granularity == "depth" else _narrower(parent, ratio)
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
    goal = (1 - ratio) * parent.block_params
    candidates = []
    # transformers wants the hidden size to be a multiple of the heads; even sizes keep kernels aligned.
    step = parent.heads if parent.heads % 2 == 0 else 2 * parent.heads
    for hidden in range(step, parent.hidden_size + 1, step):
        without = replace(parent, hidden_size=hidden, ffn_size=0).block_params
        per_neuron = replace(parent, hidden_size=hidden, ffn_size=1).block_params - without
        ffn = round((goal - without) / per_neuron / FFN_STEP) * FFN_STEP
        if FFN_STEP <= ffn <= parent.ffn_size:
            candidates.append(replace(parent, hidden_size=hidden, ffn_size=ffn))
    if not candidates:
        raise UserError(f"--ratio {ratio:g} leaves no width that this checkpoint can be cut to; give --shape")
    return min(candidates, key=lambda s: abs(s.hidden_size / parent.hidden_size - s.ffn_size / parent.ffn_size))
