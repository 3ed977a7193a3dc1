"""Learned masks that shrink a Llama to a given shape (Sheared-LLaMA: Xia et al., 2310.06694, section 2.1).

Every residual channel, neuron, head and block has a hard concrete mask z. The task's loss is minimised over the
masks under the constraint that each dimension's expected share of open masks, s, is the goal's, t, in every block:

    min over log alphas, max over l1 and l2:   loss + sum over dimensions of mean over blocks l1 (s - t) + l2 (s - t)^2

The residual channels share one mask in all blocks; a block's mask z_layer scales both of its halves.

Deviation from the released code: it has no grouped-query attention. Here, dropping a key-value head drops its query
heads too (one mask per group); if all key-value heads stay, query heads have a mask each, and every group keeps equally
many, as the Hugging Face models require.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.methods.sheared_llama.hard_concrete import (
    LOG_ALPHA_HIGH,
    LOG_ALPHA_LOW,
    deterministic,
    initial_log_alpha,
    open_probability,
    sample,
)
from pruning_vs_scratch.study.shape import ModelShape


@dataclass(frozen=True)
class Masks:
    """Masks in [0, 1] of a model with L blocks. ``None`` means all ones."""

    hidden: torch.Tensor | None = None
    """Channels of the residual stream, shape (hidden,)."""
    ffn: torch.Tensor | None = None
    """Neurons, shape (L, ffn)."""
    heads: torch.Tensor | None = None
    """Query heads, shape (L, heads)."""
    layers: torch.Tensor | None = None
    """Decoder blocks, shape (L,)."""


@dataclass(frozen=True)
class _Dimension:
    """A dimension of the parent: the shape of its log alphas, and how many along the last axis are kept."""

    shape: tuple[int, ...]
    kept: int

    @property
    def goal_share(self) -> float:
        return self.kept / self.shape[-1]


class ShapeMasks(nn.Module):
    """Log alphas and Lagrange multipliers for each dimension in which a goal is smaller than its parent.

    Log alphas, by dimension: ``hidden`` (hidden,), ``ffn`` (L, ffn), ``layers`` (L,), and ``heads``, which is (L,
    kv_heads) if key-value heads are dropped and (L, kv_heads, query heads of each) if only query heads are.

    Raises:
        ValueError: no masks lead from the parent to the goal, or there is nothing to mask.
    """

    def __init__(self, parent: ModelShape, goal: ModelShape, seed: int) -> None:
        super().__init__()
        self._heads_a_group = parent.heads // parent.kv_heads
        self._dimensions = _shrinking(parent, goal)
        generator = torch.Generator().manual_seed(seed)
        self.log_alpha = nn.ParameterDict(
            {name: nn.Parameter(initial_log_alpha(each.shape, generator)) for name, each in self._dimensions.items()}
        )
        self.linear = nn.Parameter(torch.zeros(len(self._dimensions)))
        """l1 of each dimension, in the order of ``expected_shares``."""
        self.square = nn.Parameter(torch.zeros(len(self._dimensions)))
        """l2 of each dimension."""

    def mask_parameters(self) -> Iterator[nn.Parameter]:
        """What the loss is minimised over."""
        return self.log_alpha.parameters()

    def multiplier_parameters(self) -> Iterator[nn.Parameter]:
        """What the penalty is maximised over."""
        return iter((self.linear, self.square))

    def sample(self, generator: torch.Generator) -> Masks:
        """Random masks from a CPU generator: the same state gives the same noise on every device."""
        values = {}
        for name, dimension in self._dimensions.items():
            uniform = torch.rand(dimension.shape, generator=generator)
            values[name] = sample(self.log_alpha[name], uniform.to(self.log_alpha[name].device))
        return self._masks(values)

    def deterministic(self) -> Masks:
        """Masks with exactly the goal's counts: in all blocks, and for query heads in all groups."""
        return self._masks(
            {name: deterministic(self.log_alpha[name], dimension.kept) for name, dimension in self._dimensions.items()}
        )

    @torch.no_grad()
    def kept(self) -> Kept:
        """What the deterministic masks leave open."""
        masks = self.deterministic()
        blocks = None if masks.layers is None else _open_indices(masks.layers).tolist()
        return Kept(
            blocks,
            None if masks.hidden is None else _open_indices(masks.hidden),
            None if masks.ffn is None else _open_rows(masks.ffn, blocks),
            None if masks.heads is None else _open_rows(masks.heads, blocks),
        )

    def expected_shares(self) -> dict[str, torch.Tensor]:
        """The expected share of masks above 0 by dimension; scalars."""
        # By dimensions, because a ParameterDict sorts its names.
        return {name: open_probability(self.log_alpha[name]).mean() for name in self._dimensions}

    def penalty(self, progress: float) -> torch.Tensor:
        """Sum over dimensions of the mean over rows of l1 * (s - t) + l2 * (s - t)^2.

        A row is the unit that keeps its count: a block, or a group of its heads. ``progress`` in [0, 1] is the elapsed
        share of the warmup; t falls from 1 to the goal's share: t = 1 + progress * (goal / parent - 1).
        """
        terms = []
        for (name, dimension), linear, square in zip(self._dimensions.items(), self.linear, self.square, strict=True):
            excess = open_probability(self.log_alpha[name]).mean(dim=-1) - (1 + progress * (dimension.goal_share - 1))
            terms.append((linear * excess + square * excess.square()).mean())
        return torch.stack(terms).sum()

    @torch.no_grad()
    def clamp_(self) -> None:
        """Hold the log alphas in their range; the released code does so before each step."""
        for log_alpha in self.mask_parameters():
            log_alpha.clamp_(LOG_ALPHA_LOW, LOG_ALPHA_HIGH)

    def _masks(self, values: dict[str, torch.Tensor]) -> Masks:
        """Masks by dimension, with those of the heads spread over the query heads."""
        if "heads" in values:
            heads = values["heads"]
            by_group = heads.ndim == 2
            heads = heads.repeat_interleave(self._heads_a_group, dim=1) if by_group else heads.flatten(1)
            values = values | {"heads": heads}
        return Masks(**values)


def _open_indices(mask: torch.Tensor) -> torch.Tensor:
    """Ascending indices of the entries above 0, on the CPU like everything in ``Kept``."""
    return mask.nonzero().flatten().cpu()


def _open_rows(mask: torch.Tensor, blocks: list[int] | None) -> list[torch.Tensor]:
    return [_open_indices(row) for row in (mask if blocks is None else mask[blocks])]


def _shrinking(parent: ModelShape, goal: ModelShape) -> dict[str, _Dimension]:
    """The dimensions in which the goal is smaller."""
    _check(parent, goal)
    dimensions = {
        "hidden": _Dimension((parent.hidden_size,), goal.hidden_size),
        "ffn": _Dimension((parent.layers, parent.ffn_size), goal.ffn_size),
        "heads": _heads(parent, goal),
        "layers": _Dimension((parent.layers,), goal.layers),
    }
    smaller = {name: each for name, each in dimensions.items() if each.kept < each.shape[-1]}
    if not smaller:
        raise ValueError("the goal is as large as its parent in every dimension: there is nothing to mask")
    return smaller


def _check(parent: ModelShape, goal: ModelShape) -> None:
    for name in ("layers", "hidden_size", "ffn_size", "heads", "kv_heads"):
        whole, wanted = getattr(parent, name), getattr(goal, name)
        if not 1 <= wanted <= whole:
            raise ValueError(f"the goal's {name} is {wanted}, but masks can only keep 1 to {whole}, the parent's")
    if goal.head_dim != parent.head_dim:
        raise ValueError(f"the goal's head_dim is {goal.head_dim}, the parent's {parent.head_dim}: no mask changes it")
    for shape in (parent, goal):
        if shape.heads % shape.kv_heads:
            raise ValueError(f"{shape.heads} query heads do not divide among {shape.kv_heads} key-value heads")


def _heads(parent: ModelShape, goal: ModelShape) -> _Dimension:
    """Masks of key-value groups if some are dropped, else those of the query heads of each group."""
    a_group, kept_a_group = parent.heads // parent.kv_heads, goal.heads // goal.kv_heads
    if goal.kv_heads == parent.kv_heads:
        return _Dimension((parent.layers, parent.kv_heads, a_group), kept_a_group)
    if kept_a_group != a_group:
        raise ValueError(
            f"the goal has {goal.kv_heads} of {parent.kv_heads} key-value heads and {kept_a_group} instead of "
            f"{a_group} query heads for each; masks can change either number, not both"
        )
    return _Dimension((parent.layers, parent.kv_heads), goal.kv_heads)
