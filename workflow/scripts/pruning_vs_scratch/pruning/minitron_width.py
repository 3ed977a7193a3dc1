"""Minitron width pruning (Muralidharan et al., "Compact Language Models via Pruning and Knowledge Distillation",
2407.14679, section 2.2).

Importance of a channel: sqrt(sum over windows of (mean over tokens of |a|)^2), the L2 aggregate over the batch of
the mean over the sequence. Neurons from the input of down_proj, ranked in each block. Residual channels from the
outputs of both norms, summed over blocks, one ranking for the model. Heads from the input of o_proj, L2 over
head_dim of the channels' importance, ranked inside each key-value group, so that every group keeps equally many;
key-value heads stay. Deviations: the paper takes the norm over head_dim of each token before it aggregates; and the
authors' later script sums a^2 over tokens and leaves the heads alone.
"""

import torch
from torch import nn
from transformers import LlamaForCausalLM

from pruning_vs_scratch.pruning.calibration import CalibrationStream, Observer, observing_inputs, observing_outputs
from pruning_vs_scratch.pruning.pruned import Pruned
from pruning_vs_scratch.pruning.surgery import KeptWidth, keep_width
from pruning_vs_scratch.study import ModelShape, Target


class ChannelImportance:
    """Accumulates sqrt(sum over windows of (mean over tokens of |a|)^2) of the channels of an activation."""

    def __init__(self) -> None:
        self._squares: torch.Tensor | None = None

    def see(self, activation: torch.Tensor) -> None:
        """Add a batch of shape (windows, length, channels)."""
        squares = activation.float().abs().mean(dim=1).double().square().sum(dim=0)
        self._squares = squares if self._squares is None else self._squares + squares

    @property
    def value(self) -> torch.Tensor:
        """Importance of each channel, shape (channels,), fp64 on the CPU."""
        assert self._squares is not None, "no activation was seen"
        return self._squares.sqrt().cpu()


def top_indices(importance: torch.Tensor, count: int) -> torch.Tensor:
    """Ascending indices of the ``count`` largest entries; of equal entries the earlier stays."""
    return importance.argsort(descending=True, stable=True)[:count].sort().values


def heads_by_group(importance: torch.Tensor, shape: ModelShape, heads: int) -> torch.Tensor:
    """Ascending query heads to keep: the best ``heads / kv_heads`` of each key-value group.

    ``importance`` is that of the channels of o_proj's input, shape (heads * head_dim,).
    """
    per_head = importance.view(shape.kv_heads, shape.heads // shape.kv_heads, shape.head_dim).norm(dim=-1)
    groups = [
        top_indices(row, heads // shape.kv_heads) + group * per_head.shape[1] for group, row in enumerate(per_head)
    ]
    return torch.cat(groups)


def prune(model: LlamaForCausalLM, target: Target, stream: CalibrationStream) -> Pruned:
    """Keep the most important residual channels, neurons and heads."""
    shape, goal = stream.shape, target.shape
    hidden = torch.zeros(shape.hidden_size, dtype=torch.float64)
    ffn, heads = [], []
    for block in model.model.layers:
        norms = {
            block.input_layernorm: ChannelImportance(),
            block.post_attention_layernorm: ChannelImportance(),
        }
        neurons, channels = ChannelImportance(), ChannelImportance()
        inputs: dict[nn.Module, Observer] = {block.mlp.down_proj: neurons.see, block.self_attn.o_proj: channels.see}
        with observing_inputs(inputs), observing_outputs({norm: seen.see for norm, seen in norms.items()}):
            stream.advance(block)
        hidden += sum(seen.value for seen in norms.values())
        ffn.append(top_indices(neurons.value, goal.ffn_size))
        heads.append(heads_by_group(channels.value, shape, goal.heads))
    kept = KeptWidth(top_indices(hidden, goal.hidden_size), ffn, heads)
    return Pruned(
        keep_width(model, kept),
        kept={
            "hidden": kept.hidden.tolist(),
            "ffn": [indices.tolist() for indices in kept.ffn],
            "heads": [indices.tolist() for indices in kept.heads],
        },
        scores={"hidden": hidden.tolist()},
    )
