"""How many key-value groups and neurons FLAP's structures keep. Arithmetic only: no torch.

Costs are those of grouped-query attention: a group is ``heads / kv_heads`` query heads with their key and value head.
The authors' code counts it as one head of multi-head attention and a block as 4 * hidden^2 attention weights. Shares
use the ratio as written in decimal (0.29 of 100 is 29), because binary arithmetic may lose one.
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from pruning_vs_scratch.errors import UserError

if TYPE_CHECKING:
    from pruning_vs_scratch.study.shape import ModelShape


@dataclass(frozen=True)
class Counts:
    """What is kept, in each layer or in all together."""

    groups: int
    neurons: int


def shape_of_counts(shape: "ModelShape", counts: Counts) -> "ModelShape":
    """The shape with these numbers of groups and neurons in each layer."""
    heads = counts.groups * (shape.heads // shape.kv_heads)
    return replace(shape, kv_heads=counts.groups, heads=heads, ffn_size=counts.neurons)


def group_params(shape: "ModelShape") -> int:
    """Weights of a key-value group: rows of q, k and v, columns of o."""
    return shape.hidden_size * shape.head_dim * (2 * shape.heads // shape.kv_heads + 2)


def neuron_params(shape: "ModelShape") -> int:
    """Weights of a neuron: rows of gate and up, a column of down."""
    return 3 * shape.hidden_size


def uniform_counts(shape: "ModelShape", groups: int, neurons: int) -> Counts:
    """Counts for each layer that are given explicitly, as when the study's authors retrain FLAP.

    Raises:
        UserError: a count is below 1 or above the parent's.
    """
    for name, count, most in (("key-value groups", groups, shape.kv_heads), ("neurons", neurons, shape.ffn_size)):
        if not 1 <= count <= most:
            raise UserError(f"FLAP cannot keep {count} of {most} {name} a layer: give 1 to {most}")
    return Counts(groups, neurons)


def ul_um_counts(shape: "ModelShape", ratio: float) -> Counts:
    """Counts for each layer: the same share of groups and of neurons is dropped, rounded down."""
    share = Fraction(str(ratio))
    return Counts(
        shape.kv_heads - math.floor(share * shape.kv_heads), shape.ffn_size - math.floor(share * shape.ffn_size)
    )


def ul_mm_counts(shape: "ModelShape", ratio: float, dropped_groups: int) -> Counts:
    """Counts for each layer: a given number of groups is dropped, and neurons for the rest of the block's share.

    The ratio alone does not determine the number of groups, and the original has no rule for it, so it must be given.

    Raises:
        UserError: no group or no neuron would be left, or the groups alone exceed the share.
    """
    return _manual_counts(shape, ratio, dropped_groups, layers=1)


def al_mm_counts(shape: "ModelShape", ratio: float, dropped_groups: int) -> Counts:
    """Counts for all layers together; ``dropped_groups`` is the average per layer.

    Exactly that many are dropped. With the authors' thresholds, dropping none would keep none.

    Raises:
        UserError: as for ``ul_mm_counts``.
    """
    return _manual_counts(shape, ratio, dropped_groups, shape.layers)


def _manual_counts(shape: "ModelShape", ratio: float, dropped_groups: int, layers: int) -> Counts:
    if not 0 <= dropped_groups < shape.kv_heads:
        raise UserError(
            f"FLAP cannot drop {dropped_groups} of {shape.kv_heads} key-value groups a layer: "
            f"give 0 to {shape.kv_heads - 1}"
        )
    wanted = Fraction(str(ratio)) * shape.block_linear_params
    rest = wanted - dropped_groups * group_params(shape)
    if rest < 0:
        raise UserError(
            f"FLAP: {dropped_groups} of {shape.kv_heads} key-value groups are more than {ratio:g} of a block: "
            f"drop at most {wanted // group_params(shape)}"
        )
    dropped_neurons = math.floor(layers * rest / neuron_params(shape))
    if dropped_neurons >= layers * shape.ffn_size:
        raise UserError(
            f"FLAP: to drop {ratio:g} of a block with {dropped_groups} of {shape.kv_heads} key-value groups would "
            "leave no neuron: drop more groups, or lower the ratio"
        )
    return Counts(layers * (shape.kv_heads - dropped_groups), layers * shape.ffn_size - dropped_neurons)
