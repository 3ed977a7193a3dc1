"""Minitron width pruning (Muralidharan et al., "Compact Language Models via Pruning and Knowledge Distillation",
2407.14679, section 2.2).

Importance of a channel: sqrt(sum over windows of (mean over tokens of |a|)^2), the L2 aggregate over the batch of the
mean over the sequence. Neurons from the input of down_proj, ranked in each block. Residual channels from what attention
and feed-forward layers read (the outputs of both norms), summed over blocks, one ranking for the model. Heads from the
input of o_proj, L2 over head_dim of the channels' importance, ranked inside each key-value group, so that every group
keeps equally many; key-value heads stay. Deviation: the paper takes the norm over head_dim for each token before
aggregating. Options: ``aggregate: mean`` takes the mean over windows instead of the L2 norm (the paper compares both);
``importance: authors`` sums a^2 over tokens and ranks no heads, as this study's authors did.
"""

import torch

from pruning_vs_scratch.families.parts import LINEARS_BY_INPUT
from pruning_vs_scratch.pruning.calibration import CalibrationStream, observing_inputs
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.method import PruningSpec, Scores, StructuredMethod
from pruning_vs_scratch.pruning.methods.minitron_width.facts import MinitronWidthOptions
from pruning_vs_scratch.pruning.ranking import top_indices
from pruning_vs_scratch.study.shape import ModelShape


def window_importance(activation: torch.Tensor, importance: str) -> torch.Tensor:
    """Importance of each channel in each window, shape (windows, channels), from (windows, length, channels); fp64."""
    values = activation.float()
    if importance == "authors":
        return values.square().sum(dim=1).double()
    return values.abs().mean(dim=1).double()


class ChannelImportance:
    """Aggregates the importance of the channels of an activation over windows."""

    def __init__(self, options: MinitronWidthOptions) -> None:
        self._options = options
        self._total: torch.Tensor | float = 0.0
        self._windows = 0

    def see(self, activation: torch.Tensor) -> None:
        """Add a batch of shape (windows, length, channels)."""
        each = window_importance(activation, self._options.importance)
        self._total = self._total + (each.square() if self._is_l2 else each).sum(dim=0)
        self._windows += len(activation)

    @property
    def value(self) -> torch.Tensor:
        """Importance of each channel, shape (channels,), fp64 on the CPU."""
        assert isinstance(self._total, torch.Tensor), "no activation was seen"
        return (self._total.sqrt() if self._is_l2 else self._total / self._windows).cpu()

    @property
    def _is_l2(self) -> bool:
        # Sums of squares add up over windows; only |a| leaves a choice of norm.
        return self._options.aggregate == "l2" and self._options.importance == "nvidia"


def by_head(importance: torch.Tensor, shape: ModelShape) -> torch.Tensor:
    """Importance of each query head, shape (heads,), from that of the channels of o_proj's input."""
    found: torch.Tensor = importance.view(shape.heads, shape.head_dim).norm(dim=-1)
    return found


def heads_by_group(importance: torch.Tensor, shape: ModelShape, heads: int) -> torch.Tensor:
    """Ascending query heads to keep: the best ``heads / kv_heads`` of each key-value group.

    ``importance`` is that of the channels of o_proj's input, shape (heads * head_dim,).
    """
    per_head = by_head(importance, shape).view(shape.kv_heads, -1)
    groups = [
        top_indices(row, heads // shape.kv_heads) + group * per_head.shape[1] for group, row in enumerate(per_head)
    ]
    return torch.cat(groups)


def score(stream: CalibrationStream, _goals: list[ModelShape], options: MinitronWidthOptions) -> Scores:
    """``hidden`` (hidden,), ``ffn`` (layers, ffn) and ``heads`` (layers, heads * head_dim), by channel."""
    hidden = torch.zeros(stream.shape.hidden_size, dtype=torch.float64)
    ffn, heads = [], []
    for block in stream.model.blocks("Minitron-width"):
        seen = {names[0]: ChannelImportance(options) for names in LINEARS_BY_INPUT}
        with observing_inputs({block.get_submodule(name): importance.see for name, importance in seen.items()}):
            stream.advance(block)
        read_by_attention, channels, read_by_ffn, neurons = (importance.value for importance in seen.values())
        hidden += read_by_attention + read_by_ffn
        ffn.append(neurons)
        heads.append(channels)
    return {"hidden": hidden, "ffn": torch.stack(ffn), "heads": torch.stack(heads)}


def keep(scores: Scores, parent: ModelShape, spec: PruningSpec) -> Kept:
    """Keep the most important residual channels, neurons and heads."""
    goal = spec.target.shape
    heads = None
    if goal.heads < parent.heads:
        heads = [heads_by_group(row, parent, goal.heads) for row in scores["heads"]]
    return Kept(
        hidden=top_indices(scores["hidden"], goal.hidden_size),
        ffn=[top_indices(row, goal.ffn_size) for row in scores["ffn"]],
        heads=heads,
    )


def shown(scores: Scores, parent: ModelShape, _spec: PruningSpec) -> Scores:
    """Scores of channels and neurons, and of heads instead of their channels."""
    return scores | {"heads": torch.stack([by_head(row, parent) for row in scores["heads"]])}


METHOD = StructuredMethod(score, keep, shown=shown)
