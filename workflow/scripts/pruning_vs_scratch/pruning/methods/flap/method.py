"""FLAP (An et al., "Fluctuation-based Adaptive Structured Pruning for Large Language Models", 2312.11983).

All inputs of o_proj and down_proj are measured on the dense model in one pass (statistics.py). The key-value groups and
neurons whose inputs fluctuate least, weighted by the layer's weights (metrics.py), are dropped (structures.py); their
mean contribution becomes a bias (compensation.py). Hidden size, norms and embeddings stay. Deviations: an existing bias
is added to, not replaced; costs and counts are those of grouped-query attention; of equal scores the earlier is kept. A
plain checkpoint cannot represent counts that differ between layers, so structures are refused unless their counts equal
the target's.
"""

from typing import Any

import torch
from torch import nn

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.families.facts import ATTENTION_BIAS, FFN_BIAS
from pruning_vs_scratch.families.parts import ATTENTION_OUTPUT, FFN_OUTPUT
from pruning_vs_scratch.models.tensors import Tensors
from pruning_vs_scratch.pruning.calibration import CalibrationStream, Observer, observing_inputs
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.method import PruningSpec, Scores, StructuredMethod
from pruning_vs_scratch.pruning.methods.flap.compensation import compensated_bias
from pruning_vs_scratch.pruning.methods.flap.facts import FlapOptions, adds
from pruning_vs_scratch.pruning.methods.flap.metrics import channel_metric
from pruning_vs_scratch.pruning.methods.flap.statistics import InputStatistics
from pruning_vs_scratch.pruning.methods.flap.structures import (
    ChannelMetrics,
    Selection,
    al_am,
    al_mm,
    scores_across_layers,
    scores_in_layers,
    ul_mm,
    ul_um,
    uniform,
)
from pruning_vs_scratch.pruning.surgery import head_channels
from pruning_vs_scratch.study.shape import ModelShape

INPUTS = {"attention": ATTENTION_OUTPUT, "ffn": FFN_OUTPUT}
"""The linear layers whose inputs are measured, by the name of their scores."""
BIASES = {"attention": ATTENTION_BIAS, "ffn": FFN_BIAS}
"""Keys of the shape that say whether these layers have biases."""


def score(stream: CalibrationStream, _goals: list[ModelShape], options: FlapOptions) -> Scores:
    """Metric (``attention``, ``ffn``) and mean (``..._mean``) of each input channel, shape (layers, channels)."""
    found: dict[str, list[torch.Tensor]] = {}
    for block in stream.model.blocks("FLAP"):
        layers: dict[str, Any] = {name: block.get_submodule(module) for name, module in INPUTS.items()}
        seen = {name: InputStatistics() for name in INPUTS}
        inputs: dict[nn.Module, Observer] = {layers[name]: seen[name].see for name in INPUTS}
        with observing_inputs(inputs):
            stream.advance(block)
        for name, statistics in seen.items():
            metric = channel_metric(options.metric, statistics, layers[name].weight, options.variance)
            found.setdefault(name, []).append(metric)
            found.setdefault(f"{name}_mean", []).append(statistics.mean)
    return {name: torch.stack(rows) for name, rows in found.items()}


def keep(scores: Scores, parent: ModelShape, spec: PruningSpec) -> Kept:
    """Keep the groups and neurons that the structure chooses.

    Raises:
        UserError: the counts are not the target's in every layer.
    """
    goal, options = spec.target.shape, spec.options
    chosen = _selected(scores, parent, goal, spec.target.ratio, options)
    counts = [(len(groups), len(neurons)) for groups, neurons in zip(chosen.groups, chosen.neurons, strict=True)]
    if set(counts) != {(goal.kv_heads, goal.ffn_size)}:
        groups, neurons = zip(*counts, strict=True)
        raise UserError(
            f"structure {options.structure} of flap keeps {_range(groups)} key-value groups and {_range(neurons)} "
            f"neurons per layer, but {spec.target.name} asks for {goal.kv_heads} and {goal.ffn_size} in every "
            "layer, as a plain checkpoint needs; use structure uniform, or another ratio"
        )
    return chosen.kept(parent, sorted(adds(options)))


def _selected(scores: Scores, parent: ModelShape, goal: ModelShape, ratio: float, options: FlapOptions) -> Selection:
    metrics = ChannelMetrics(scores["attention"], scores["ffn"])
    dropped_groups = parent.kv_heads - goal.kv_heads
    match options.structure:
        case "uniform":
            return uniform(metrics, parent, goal.kv_heads, goal.ffn_size)
        case "UL-UM":
            return ul_um(metrics, parent, ratio)
        case "UL-MM":
            return ul_mm(metrics, parent, ratio, dropped_groups)
        case "AL-MM":
            return al_mm(metrics, parent, ratio, dropped_groups)
        case "AL-AM":
            return al_am(metrics, parent, ratio)


def _range(counts: tuple[int, ...]) -> str:
    return f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(counts[0])


def shown(scores: Scores, parent: ModelShape, spec: PruningSpec) -> Scores:
    """Scores of ``groups`` (layers, kv_heads) and ``neurons`` (layers, ffn), as the structure compares them."""
    metrics = ChannelMetrics(scores["attention"], scores["ffn"])
    across = spec.options.structure.startswith("AL")
    found = (scores_across_layers if across else scores_in_layers)(metrics, parent)
    return {"groups": found.groups, "neurons": found.neurons}


def finish(
    cut: Tensors, whole: Tensors, scores: Scores, kept: Kept, block: int, parent: ModelShape, _spec: PruningSpec
) -> Tensors:
    """A cut block with the biases that compensate for what was dropped."""
    assert kept.heads is not None and kept.ffn is not None
    channels = {"attention": head_channels(kept.heads[block], parent.head_dim), "ffn": kept.ffn[block]}
    biases: Tensors = {}
    for name, module in INPUTS.items():
        if BIASES[name] in kept.added:
            weight, before = whole[f"{module}.weight"], whole.get(f"{module}.bias")
            bias = compensated_bias(weight, scores[f"{name}_mean"][block], channels[name], before)
            biases[f"{module}.bias"] = bias.to(weight.dtype)
    return cut | biases


METHOD = StructuredMethod(score, keep, shown=shown, finish=finish)
