"""The paper's targets on a parent of another size: the same shares, rounded to what the architecture allows.

Blocks, hidden size and heads are rounded; the feed-forward size then compensates, so that the decoder keeps a share of
its parameters that is as close as possible to the paper's.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pruning_vs_scratch.config.model import WidthTarget
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.families.facts import ATTENTION_BIAS, FFN_BIAS
from pruning_vs_scratch.ladder.proportions import Proportions
from pruning_vs_scratch.study.shape import ModelShape

STEPS = ((1024, 64), (128, 8), (0, 4))
"""(size, multiple) of sizes from a given one on: kernels tile large matrices, and 2:4 masks need groups of four."""
TOLERANCE = 0.05
"""Largest relative difference between the share of the decoder that a target keeps and the paper's."""


@dataclass(frozen=True)
class Achieved:
    """A target, and the share of the decoder's parameters that it keeps."""

    label: str
    ratio: float
    kept: float
    paper: float

    @property
    def deviation(self) -> float:
        """Deviation of the share from the paper's."""
        return self.kept / self.paper - 1


def step_of(size: int) -> int:
    """The multiple to which a size is rounded."""
    return next(step for least, step in STEPS if size >= least)


def nearest_multiple(value: float, step: int) -> int:
    """The nearest multiple, at least one step; of two equally near ones, the smaller."""
    return max(1, math.ceil(value / step - 0.5)) * step


def depth_targets(proportions: Proportions, parent: ModelShape) -> list[dict[str, Any]]:
    """The depth targets in the configuration's form, without those for which there are too few blocks.

    A ratio is left out if it would leave less than a block, or no fewer blocks than the previous ratio.
    """
    targets: list[dict[str, Any]] = []
    for target in sorted(proportions.paper.targets.depth, key=lambda target: target.ratio):
        layers = round(parent.layers * target.layers / proportions.parent.layers)
        if 0 < layers < (targets[-1]["layers"] if targets else parent.layers):
            targets.append({"ratio": target.ratio, "layers": layers})
    return targets


def width_targets(proportions: Proportions, parent: ModelShape) -> list[dict[str, Any]]:
    """The width targets in the configuration's form: those of the paper with other numbers.

    Raises:
        UserError: no feed-forward size brings one of them close enough to the paper's share.
    """
    found = []
    for target in proportions.paper.targets.width:
        shape = _width(proportions, parent, target)
        numbers = {key: getattr(shape, key) for key in ("hidden_size", "ffn_size", "heads", "kv_heads")}
        found.append(target.model_dump(exclude_none=True, exclude_defaults=True) | numbers)
        if target.kv_heads is None:
            found[-1].pop("kv_heads")
    return found


def halfway_targets(proportions: Proportions, parent: ModelShape, ratio: float) -> dict[str, list[dict[str, Any]]]:
    """Targets at half of a ratio, by granularity: their sizes are between the parent's and those of the paper's target.

    Raises:
        UserError: no feed-forward size brings the width close enough to the share.
    """
    paper, targets = proportions.parent, proportions.paper.targets
    deep = next(target for target in targets.depth if target.ratio == ratio)
    wide = next(target for target in targets.width if target.ratio == ratio and not target.methods)
    middle = {key: (getattr(paper, key) + getattr(wide, key)) // 2 for key in ("hidden_size", "ffn_size")}
    shape = _width(proportions, parent, wide.model_copy(update={"ratio": ratio / 2, **middle}))
    layers = round(parent.layers * (paper.layers + deep.layers) / 2 / paper.layers)
    numbers = {key: getattr(shape, key) for key in ("hidden_size", "ffn_size", "heads")}
    return {"depth": [{"ratio": ratio / 2, "layers": layers}], "width": [{"ratio": ratio / 2} | numbers]}


def achieved(proportions: Proportions, parent: ModelShape) -> Iterator[Achieved]:
    """The share of the decoder that each target keeps, and the paper's."""
    paper = proportions.parent
    wanted = {target.ratio: paper.with_depth(target) for target in proportions.paper.targets.depth}
    for depth in depth_targets(proportions, parent):
        kept = replace(parent, layers=depth["layers"])
        yield Achieved("depth", depth["ratio"], _kept(kept, parent), _kept(wanted[depth["ratio"]], paper))
    for target in proportions.paper.targets.width:
        label = "width, " + ", ".join(target.methods) if target.methods else "width"
        yield Achieved(label, target.ratio, _kept(_width(proportions, parent, target), parent), _share(paper, target))


def _width(proportions: Proportions, parent: ModelShape, target: WidthTarget) -> ModelShape:
    paper, wanted = proportions.parent, _share(proportions.parent, target)
    kv_heads, a_group = parent.kv_heads, parent.heads // parent.kv_heads
    if target.kv_heads is not None:
        kv_heads = nearest_multiple(parent.kv_heads * target.kv_heads / paper.kv_heads, 1)
        heads = kv_heads * a_group
    else:
        heads = nearest_multiple(parent.heads * target.heads / paper.heads, parent.kv_heads)
    hidden = parent.hidden_size
    if target.hidden_size != paper.hidden_size:
        step = math.lcm(step_of(parent.hidden_size), heads)
        hidden = nearest_multiple(parent.hidden_size * target.hidden_size / paper.hidden_size, step)
    shape = replace(parent, hidden_size=hidden, heads=heads, kv_heads=kv_heads).with_biases(_biases(target))
    step = step_of(parent.ffn_size)
    sizes = range(step, parent.ffn_size + 1, step)
    shape = min((replace(shape, ffn_size=size) for size in sizes), key=lambda s: abs(_kept(s, parent) - wanted))
    if abs(_kept(shape, parent) / wanted - 1) > TOLERANCE:
        raise UserError(
            f"no width keeps {wanted:.3f} of the decoder of a parent of {parent.layers} blocks, hidden size "
            f"{parent.hidden_size} and {parent.heads} heads (ratio {target.ratio:g}): the nearest keeps "
            f"{_kept(shape, parent):.3f}; choose a larger rung, or lower the ratio in config/paper.yaml"
        )
    return shape


def _share(paper: ModelShape, target: WidthTarget) -> float:
    return _kept(paper.with_width(target).with_biases(_biases(target)), paper)


def _biases(target: WidthTarget) -> list[str]:
    return [key for key in (ATTENTION_BIAS, FFN_BIAS) if getattr(target, key)]


def _kept(shape: ModelShape, parent: ModelShape) -> float:
    return shape.params_nonembedding / parent.params_nonembedding
