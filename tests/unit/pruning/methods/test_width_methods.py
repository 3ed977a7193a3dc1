"""Minitron-width ranks channels, neurons and heads as its paper says, or as the study's authors did."""

import math
from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest
import torch

from models import SHAPE, VARIANTS, Case, logits_of, random_windows, recorded_inputs, shape_of_model, tiny_model
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.methods.minitron_width.facts import MinitronWidthOptions
from pruning_vs_scratch.pruning.methods.minitron_width.method import ChannelImportance, heads_by_group
from pruning_vs_scratch.pruning.ranking import top_indices


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def mean_magnitude(channel: list[float]) -> float:
    return fmean(map(abs, channel))


def sum_of_squares(channel: list[float]) -> float:
    return sum(value**2 for value in channel)


def norm(windows: list[float]) -> float:
    return math.hypot(*windows)


Function = Callable[[list[float]], float]
FORMULAS: dict[str, tuple[dict[str, Any], Function, Function]] = {
    "paper": ({}, mean_magnitude, norm),
    "mean over windows": ({"aggregate": "mean"}, mean_magnitude, fmean),
    "authors": ({"importance": "authors"}, sum_of_squares, fmean),
    "authors, whatever the aggregate": ({"importance": "authors", "aggregate": "mean"}, sum_of_squares, fmean),
}
"""By name: options, importance over the tokens of a window, aggregate over windows."""


def importance_by_loops(activation: torch.Tensor, over_tokens: Function, over_windows: Function) -> list[float]:
    """Importance of each channel of an activation of shape (windows, length, channels)."""
    return [
        over_windows([over_tokens(activation[n, :, c].tolist()) for n in range(activation.shape[0])])
        for c in range(activation.shape[2])
    ]


def highest(importance: list[float], count: int) -> list[int]:
    return sorted(sorted(range(len(importance)), key=lambda i: -importance[i])[:count])


def best_heads(importance: list[float], heads: int, kv_heads: int, head_dim: int, kept: int) -> list[int]:
    """The best heads of each key-value group by the L2 norm of their channels' importance."""
    norms = [math.hypot(*importance[h * head_dim : (h + 1) * head_dim]) for h in range(heads)]
    size, found = heads // kv_heads, []
    for group in range(kv_heads):
        ranked = sorted(range(group * size, (group + 1) * size), key=lambda h: -norms[h])
        found += sorted(ranked[: kept // kv_heads])
    return found


@pytest.mark.parametrize(
    ("variant", "formula"), [*((variant, "paper") for variant in VARIANTS), *(("tied", name) for name in FORMULAS)]
)
def test_minitron_width_keeps_what_the_formula_ranks_highest(variant: str, formula: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    shape, blocks = shape_of_model(model), list(model.model.layers)
    options, over_tokens, over_windows = FORMULAS[formula]
    case = Case("minitron_width", options=options)
    goal = case.target(shape).shape
    # What the linear layers after a norm read is what that norm put out.
    watched = {
        (i, name): block.get_submodule(name)
        for i, block in enumerate(blocks)
        for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")
    }
    with recorded_inputs(watched) as inputs:
        logits_of(model, random_windows()[:, :-1])
    importance = {key: importance_by_loops(value, over_tokens, over_windows) for key, value in inputs.items()}
    after_norms = [importance[i, name] for i in range(len(blocks)) for name in ("self_attn.q_proj", "mlp.gate_proj")]
    hidden = [sum(values) for values in zip(*after_norms, strict=True)]
    pruned = case.prune(model)
    kept = pruned.kept.to_dict()
    assert pruned.scores["hidden"].tolist() == pytest.approx(hidden, rel=1e-4)
    assert kept["hidden"] == highest(hidden, goal.hidden_size)
    for i in range(len(blocks)):
        neurons, channels = importance[i, "mlp.down_proj"], importance[i, "self_attn.o_proj"]
        assert pruned.scores["ffn"][i].tolist() == pytest.approx(neurons, rel=1e-4)
        assert pruned.scores["heads"][i].tolist() == pytest.approx(channels, rel=1e-4)
        assert kept["ffn"][i] == highest(neurons, goal.ffn_size)
        if goal.heads < shape.heads:
            assert kept["heads"][i] == best_heads(channels, shape.heads, shape.kv_heads, shape.head_dim, goal.heads)
    assert ("heads" in kept) == (goal.heads < shape.heads)


def test_the_ways_to_score_lead_to_different_choices() -> None:
    kept = [Case("minitron_width", options=options).prune(tiny_model()).kept for options, *_ in FORMULAS.values()]
    assert kept[0].to_dict()["ffn"] != kept[2].to_dict()["ffn"]
    assert kept[2].to_dict() == kept[3].to_dict()


@pytest.mark.parametrize("aggregate", ["l2", "mean"])
def test_importance_in_half_precision_is_computed_in_full(aggregate: str) -> None:
    activation = torch.rand(3, 50, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    seen = ChannelImportance(MinitronWidthOptions(aggregate=aggregate))
    seen.see(activation)
    expected = importance_by_loops(activation.double(), mean_magnitude, norm if aggregate == "l2" else fmean)
    assert seen.value.dtype == torch.float64
    assert seen.value.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("importance", "heads"), [("nvidia", True), ("authors", False)])
def test_the_authors_rank_no_heads(importance: str, heads: bool) -> None:
    facts = facts_of("minitron_width")
    shrinks = facts.shrinks(facts.options(importance=importance))
    assert shrinks == {"hidden_size", "ffn_size"} | ({"heads"} if heads else set())


def test_every_key_value_group_keeps_equally_many_heads_even_if_one_has_all_the_best() -> None:
    per_head = torch.tensor([1.0, 3.0, 2.0, 100.0, 99.0, 101.0])
    importance = per_head.repeat_interleave(SHAPE.head_dim)
    assert heads_by_group(importance, SHAPE, 4).tolist() == [1, 2, 3, 5]


def test_a_head_is_as_important_as_the_norm_of_its_channels() -> None:
    importance = torch.ones(6, 8)
    importance[0] = torch.tensor([2.9] + [0.0] * 7)
    importance[4, 0] = 1.1
    importance[5, 0] = 1.2
    assert heads_by_group(importance.flatten(), SHAPE, 4).tolist() == [0, 1, 4, 5]


def test_the_earlier_of_equally_important_channels_stays() -> None:
    assert top_indices(torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0]), 3).tolist() == [0, 1, 3]
