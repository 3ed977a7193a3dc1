"""What FLAP keeps: from the metric of each channel to key-value groups and neurons.

A structure's name says how attention and feed-forward layers are compared, each as L (per layer) or A (across layers):
UL-UM, UL-MM, AL-MM, AL-AM; ``uniform`` is the form that the study's authors retrain. Group sizes, head dimension and
number of layers come from the shape; the authors' code fixes 32 layers, head dimension 128 and multi-head attention.
With grouped-query attention whole key-value groups are dropped, so that each kept one has as many query heads as
before. Of equal scores the earlier is kept (layer by layer, groups before neurons), so that counts are exact.
"""

from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction

import torch

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.methods.flap.counts import (
    Counts,
    al_mm_counts,
    group_params,
    neuron_params,
    ul_mm_counts,
    ul_um_counts,
    uniform_counts,
)
from pruning_vs_scratch.pruning.ranking import top_indices
from pruning_vs_scratch.study.shape import ModelShape


@dataclass(frozen=True)
class ChannelMetrics:
    """The metric of every input channel of o_proj and down_proj, measured on the dense model."""

    attention: torch.Tensor
    """Shape (layers, heads * head_dim)."""
    ffn: torch.Tensor
    """Shape (layers, ffn)."""


@dataclass(frozen=True)
class StructureScores:
    """The score of everything that can be dropped."""

    groups: torch.Tensor
    """Shape (layers, kv_heads)."""
    neurons: torch.Tensor
    """Shape (layers, ffn)."""


@dataclass(frozen=True)
class Selection:
    """What is kept in each layer, as ascending indices; across layers, a layer may lose all its groups or neurons."""

    groups: list[torch.Tensor]
    """Key-value groups."""
    neurons: list[torch.Tensor]

    @property
    def is_uniform(self) -> bool:
        """Whether all layers keep the same nonzero counts: only then is a plain checkpoint possible."""
        sizes = [{len(row) for row in rows} for rows in (self.groups, self.neurons)]
        return all(len(size) == 1 and 0 not in size for size in sizes)

    def kept(self, parent: ModelShape, added: Collection[str] = ()) -> Kept:
        """The same in the form that surgery takes: query heads instead of groups, and the added biases."""
        return Kept(ffn=self.neurons, heads=[query_heads(groups, parent) for groups in self.groups], added=tuple(added))


def query_heads(groups: torch.Tensor, parent: ModelShape) -> torch.Tensor:
    """Ascending query heads of some ascending key-value groups."""
    size = parent.heads // parent.kv_heads
    return (groups[:, None] * size + torch.arange(size)).flatten()


def scores_in_layers(metrics: ChannelMetrics, shape: ModelShape) -> StructureScores:
    """UL: a head scores the sum of its channels' squared metrics, a group the mean of its heads, a neuron its metric.

    Raises:
        UserError: a metric is not finite.
    """
    _check(metrics)
    return StructureScores(_by_head(metrics.attention.double().square(), shape).sum(dim=-1).mean(dim=-1), metrics.ffn)


def scores_across_layers(metrics: ChannelMetrics, shape: ModelShape) -> StructureScores:
    """AL: squared attention metrics and neurons' metrics as z-scores of their layer; the mean over a group's channels.

    Raises:
        UserError: a metric is not finite.
    """
    _check(metrics)
    attention = standardised(metrics.attention.double().square())
    return StructureScores(_by_head(attention, shape).mean(dim=(-2, -1)), standardised(metrics.ffn.double()))


def standardised(metric: torch.Tensor) -> torch.Tensor:
    """Each row minus its mean, over its standard deviation (n - 1); a row of equal entries becomes 0, not NaN."""
    centred = metric - metric.mean(dim=1, keepdim=True)
    lowest, highest = metric.aminmax(dim=1, keepdim=True)
    return torch.where(highest > lowest, centred / metric.std(dim=1, keepdim=True), torch.zeros_like(centred))


def uniform(metrics: ChannelMetrics, shape: ModelShape, groups: int, neurons: int) -> Selection:
    """The best ``groups`` and ``neurons`` of each layer.

    The counts are given, because the ratio formulas do not lead to those of the authors' checkpoints.

    Raises:
        UserError: a count is below 1 or above the parent's; a metric is not finite.
    """
    return _best_of_each_layer(scores_in_layers(metrics, shape), uniform_counts(shape, groups, neurons))


def ul_um(metrics: ChannelMetrics, shape: ModelShape, ratio: float) -> Selection:
    """UL-UM: each layer drops the same share of groups and of neurons.

    Raises:
        UserError: a metric is not finite.
    """
    return _best_of_each_layer(scores_in_layers(metrics, shape), ul_um_counts(shape, ratio))


def ul_mm(metrics: ChannelMetrics, shape: ModelShape, ratio: float, dropped_groups: int) -> Selection:
    """UL-MM: each layer drops a given number of groups, and neurons for the rest of the share.

    Raises:
        UserError: the counts do not fit the shape (``ul_mm_counts``); a metric is not finite.
    """
    return _best_of_each_layer(scores_in_layers(metrics, shape), ul_mm_counts(shape, ratio, dropped_groups))


def al_mm(metrics: ChannelMetrics, shape: ModelShape, ratio: float, dropped_groups: int) -> Selection:
    """AL-MM: on average ``dropped_groups`` per layer are dropped, ranked over all layers, and neurons for the rest.

    Raises:
        UserError: the counts do not fit the shape (``al_mm_counts``); a metric is not finite.
    """
    counts, scores = al_mm_counts(shape, ratio, dropped_groups), scores_across_layers(metrics, shape)
    return Selection(_best_of_all(scores.groups, counts.groups), _best_of_all(scores.neurons, counts.neurons))


def al_am(metrics: ChannelMetrics, shape: ModelShape, ratio: float) -> Selection:
    """AL-AM: groups and neurons of all layers in one ranking.

    The item at which the weights so far are closest to ``1 - ratio`` of all is dropped, with all after it. A group
    weighs (2 * heads / kv_heads + 2) * head_dim / 3 neurons; the authors' code uses 170 for any shape (512 / 3, cut to
    an integer), which prunes far too much under grouped-query attention.

    Raises:
        UserError: a metric is not finite.
    """
    scores = scores_across_layers(metrics, shape)
    ranked = torch.cat([scores.groups.flatten(), scores.neurons.flatten()]).argsort(descending=True, stable=True)
    weights = torch.full((len(ranked),), neuron_params(shape))
    weights[: scores.groups.numel()] = group_params(shape)
    goal = float((1 - Fraction(str(ratio))) * int(weights.sum()))
    first_dropped = int((weights[ranked].cumsum(dim=0) - goal).abs().argmin())
    stays = torch.zeros(len(ranked), dtype=torch.bool)
    stays[ranked[:first_dropped]] = True
    groups, neurons = stays.split([scores.groups.numel(), scores.neurons.numel()])
    return Selection(_indices_by_row(groups.view_as(scores.groups)), _indices_by_row(neurons.view_as(scores.neurons)))


def _by_head(channels: torch.Tensor, shape: ModelShape) -> torch.Tensor:
    """Shape (layers, kv_heads, query heads of a group, head_dim)."""
    return channels.view(len(channels), shape.kv_heads, shape.heads // shape.kv_heads, shape.head_dim)


def _best_of_each_layer(scores: StructureScores, counts: Counts) -> Selection:
    return Selection(
        [top_indices(row, counts.groups) for row in scores.groups],
        [top_indices(row, counts.neurons) for row in scores.neurons],
    )


def _best_of_all(scores: torch.Tensor, count: int) -> list[torch.Tensor]:
    stays = torch.zeros(scores.numel(), dtype=torch.bool)
    stays[top_indices(scores.flatten(), count)] = True
    return _indices_by_row(stays.view_as(scores))


def _indices_by_row(stays: torch.Tensor) -> list[torch.Tensor]:
    return [row.nonzero().flatten() for row in stays]


def _check(metrics: ChannelMetrics) -> None:
    for name, metric in (("o_proj", metrics.attention), ("down_proj", metrics.ffn)):
        damaged = (~metric.isfinite()).any(dim=1).nonzero().flatten().tolist()
        if damaged:
            raise UserError(
                f"the inputs or weights of {name} in decoder block {damaged[0]} hold NaN or inf: "
                "the checkpoint is damaged"
            )
