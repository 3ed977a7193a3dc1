"""Wanda-sp (An et al., 2312.11983, section 4.1): Wanda's score (Sun et al., 2306.11695) summed over structures.

A channel of the input of o_proj or down_proj scores mean_i |W_ij| * sqrt(sum over tokens of x_j^2 / windows); a head
the sum of its channels, a key-value group the mean of its heads, a neuron its channel. Every block keeps the target's
counts. A pruned block runs again, so that the next one is scored on the inputs it will actually receive; no bias
compensates for what is dropped.
"""

from typing import Any

import torch
from torch import nn

from pruning_vs_scratch.families.parts import ATTENTION_OUTPUT, FFN_OUTPUT
from pruning_vs_scratch.models.decoder import block_index, block_linear
from pruning_vs_scratch.pruning.calibration import CalibrationStream, observing_inputs
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.method import PruningSpec, Scores, StructuredMethod
from pruning_vs_scratch.pruning.methods.flap.metrics import wifn
from pruning_vs_scratch.pruning.methods.flap.statistics import InputStatistics
from pruning_vs_scratch.pruning.methods.flap.structures import query_heads
from pruning_vs_scratch.pruning.ranking import top_indices
from pruning_vs_scratch.pruning.surgery import head_channels
from pruning_vs_scratch.study.shape import ModelShape


def group_scores(channels: torch.Tensor, shape: ModelShape) -> torch.Tensor:
    """Scores of the key-value groups, shape (kv_heads,), from those of o_proj's input channels."""
    return channels.view(shape.kv_heads, -1, shape.head_dim).sum(dim=-1).mean(dim=-1)


def score(stream: CalibrationStream, goals: list[ModelShape], _options: Any) -> Scores:
    """``groups``, shape (layers, kv_heads), and ``neurons``, shape (layers, ffn), after blocks pruned to the goal."""
    (goal,), shape = goals, stream.shape
    groups, neurons = [], []
    for block in stream.model.blocks("Wanda-sp"):
        attention, ffn = _observed(stream, block)
        groups.append(group_scores(attention, shape))
        neurons.append(ffn)
        if block_index(block) + 1 < shape.layers:
            heads = query_heads(top_indices(groups[-1], goal.kv_heads), shape)
            _keep_inputs(block_linear(block, ATTENTION_OUTPUT), head_channels(heads, shape.head_dim))
            _keep_inputs(block_linear(block, FFN_OUTPUT), top_indices(ffn, goal.ffn_size))
            stream.advance(block)
    return {"groups": torch.stack(groups), "neurons": torch.stack(neurons)}


def _observed(stream: CalibrationStream, block: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the input channels of o_proj and down_proj."""
    layers = [block_linear(block, name) for name in (ATTENTION_OUTPUT, FFN_OUTPUT)]
    seen = [InputStatistics() for _ in layers]
    with observing_inputs({layer: statistics.see for layer, statistics in zip(layers, seen, strict=True)}):
        stream.observe(block)
    attention, ffn = (wifn(found.norm, layer.weight) for found, layer in zip(seen, layers, strict=True))
    return attention, ffn


def _keep_inputs(layer: nn.Linear, channels: torch.Tensor) -> None:
    """Let a layer read only some of its inputs: its output is then what it will be once the others are cut."""
    stays = torch.zeros(layer.in_features, dtype=torch.bool)
    stays[channels] = True
    layer.weight.mul_(stays.to(layer.weight.device))


def keep(scores: Scores, parent: ModelShape, spec: PruningSpec) -> Kept:
    """Keep the best groups and neurons of each block."""
    goal = spec.target.shape
    return Kept(
        ffn=[top_indices(row, goal.ffn_size) for row in scores["neurons"]],
        heads=[query_heads(top_indices(row, goal.kv_heads), parent) for row in scores["groups"]],
    )


METHOD = StructuredMethod(score, keep)
