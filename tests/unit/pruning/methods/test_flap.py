"""FLAP scores, keeps and makes up as plain loops over the update rule of the authors' code say."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import SHAPE
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.methods.flap.compensation import compensated_bias
from pruning_vs_scratch.pruning.methods.flap.counts import ul_mm_counts, ul_um_counts
from pruning_vs_scratch.pruning.methods.flap.metrics import channel_metric
from pruning_vs_scratch.pruning.methods.flap.statistics import InputStatistics
from pruning_vs_scratch.pruning.methods.flap.structures import (
    ChannelMetrics,
    Selection,
    al_am,
    al_mm,
    query_heads,
    scores_across_layers,
    scores_in_layers,
    standardised,
    ul_mm,
    ul_um,
    uniform,
)
from pruning_vs_scratch.pruning.surgery import head_channels, kept_kv_heads
from pruning_vs_scratch.study.shape import ModelShape

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPES = {
    "grouped": replace(SHAPE, layers=3, heads=12, kv_heads=4, head_dim=4, ffn_size=40),
    "multi-head": replace(SHAPE, layers=3, heads=5, kv_heads=5, head_dim=4, ffn_size=40),
    "two groups": SHAPE,
}
SIMILARITY = 1e-9
"""Relative; both sides are fp64, and differ in the order of their sums."""

Row = list[float]
Stays = tuple[list[list[int]], list[list[int]]]


# The oracle: lists of floats, one number at a time.


def fluctuation(activation: torch.Tensor) -> tuple[Row, Row]:
    """Mean and variance of each channel by the update of the authors' code, one window at a time."""
    channels = range(activation.shape[2])
    mean, spread = [0.0 for _ in channels], [0.0 for _ in channels]
    for seen, window in enumerate(activation.double().transpose(1, 2).tolist()):
        old_mean = mean
        for c in channels:
            mean[c] *= seen / (seen + 1)
            mean[c] += sum(window[c]) / len(window[c]) / (seen + 1)
        if seen == 0:
            continue
        for c in channels:
            spread[c] *= (seen - 1) / seen
            spread[c] += sum((x - mean[c]) * (x - old_mean[c]) for x in window[c]) / (seen + 1)
    return mean, spread


def variance(activation: torch.Tensor) -> Row:
    """Variance of each channel around its mean over all tokens."""
    found = []
    for values in activation.double().flatten(0, 1).T.tolist():
        mean = math.fsum(values) / len(values)
        found.append(math.fsum((x - mean) ** 2 for x in values) / (len(values) - 1))
    return found


def metric_by_loops(metric: str, estimator: str, activation: torch.Tensor, weight: torch.Tensor) -> Row:
    spread = fluctuation(activation)[1] if estimator == "code" else variance(activation)
    found = []
    for c, column in enumerate(weight.double().T.tolist()):
        if metric == "WIFN":
            squares = math.fsum(x * x for x in activation[:, :, c].double().flatten().tolist())
            found.append(sum(map(abs, column)) / len(column) * math.sqrt(squares / len(activation)))
        else:
            found.append(spread[c] * (sum(w * w for w in column) if metric == "WIFV" else 1.0))
    return found


def z_scores(row: Row) -> Row:
    mean = math.fsum(row) / len(row)
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in row) / (len(row) - 1))
    return [(x - mean) / deviation for x in row]


def group_scores(row: Row, shape: ModelShape, over_channels: Callable[[Row], float]) -> Row:
    """Of each key-value group the mean over its query heads."""
    width, size = shape.head_dim, shape.heads // shape.kv_heads
    heads = [over_channels(row[h * width : (h + 1) * width]) for h in range(shape.heads)]
    return [sum(heads[g * size : (g + 1) * size]) / size for g in range(shape.kv_heads)]


def mean_of(row: Row) -> float:
    return sum(row) / len(row)


@dataclass
class Expected:
    """Scores of every layer and what they lead to, in loops: the groups, then the neurons, of every layer."""

    groups: list[Row]
    neurons: list[Row]

    def without_lowest(self, groups: int, neurons: int) -> Stays:
        """Each layer without this many."""
        return (
            [but_lowest([row], groups)[0] for row in self.groups],
            [but_lowest([row], neurons)[0] for row in self.neurons],
        )

    def without_lowest_of_all(self, groups: int, neurons: int) -> Stays:
        """All layers together without this many."""
        return but_lowest(self.groups, groups), but_lowest(self.neurons, neurons)

    def above_threshold(self, shape: ModelShape, ratio: str) -> Stays:
        """One ranking; what scores strictly above the item at which the cost is nearest to the share stays."""
        cost = Fraction((2 * shape.heads // shape.kv_heads + 2) * shape.head_dim, 3)
        items = [(score, cost) for row in self.groups for score in row]
        items += [(score, Fraction(1)) for row in self.neurons for score in row]
        items.sort(key=lambda item: -item[0])
        goal = (1 - Fraction(ratio)) * sum(c for _, c in items)
        so_far, reached = Fraction(0), []
        for score, c in items:
            so_far += c
            reached.append((abs(so_far - goal), score))
        threshold = min(reached, key=lambda pair: pair[0])[1]
        return above(self.groups, threshold), above(self.neurons, threshold)


def above(rows: list[Row], threshold: float) -> list[list[int]]:
    return [[i for i, score in enumerate(row) if score > threshold] for row in rows]


def but_lowest(rows: list[Row], count: int) -> list[list[int]]:
    ranked = sorted((score, layer, i) for layer, row in enumerate(rows) for i, score in enumerate(row))
    gone = {(layer, i) for _, layer, i in ranked[:count]}
    return [[i for i in range(len(row)) if (layer, i) not in gone] for layer, row in enumerate(rows)]


# The data.


def random_activation(channels: int, seed: int, windows: int = 5, length: int = 6) -> torch.Tensor:
    """Channels of different mean and spread; windows differ too, so that their order matters."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(channels, generator=generator) + 0.1
    shift = torch.randn(windows, 1, channels, generator=generator)
    return spread * (torch.randn(windows, length, channels, generator=generator) + shift) + spread.flip(0)


def statistics_of(activation: torch.Tensor, batch_size: int = 2) -> InputStatistics:
    seen = InputStatistics()
    for batch in activation.split(batch_size):
        seen.see(batch)
    return seen


def random_layers(shape: ModelShape, seed: int = 0) -> dict[str, list[tuple[torch.Tensor, torch.Tensor]]]:
    """By linear layer, its input and its weight in each block."""
    generator = torch.Generator().manual_seed(1000 + seed)
    widths = {"attention": shape.heads * shape.head_dim, "ffn": shape.ffn_size}
    return {
        name: [
            (
                random_activation(width, 10 * layer + len(name) + seed),
                torch.randn(shape.hidden_size, width, generator=generator),
            )
            for layer in range(shape.layers)
        ]
        for name, width in widths.items()
    }


def metrics_of(layers: dict[str, list[tuple[torch.Tensor, torch.Tensor]]], *how: Any) -> ChannelMetrics:
    metric, estimator = how
    rows = {
        name: torch.stack([channel_metric(metric, statistics_of(a), w, estimator) for a, w in pairs])
        for name, pairs in layers.items()
    }
    return ChannelMetrics(**rows)


def random_metrics(shape: ModelShape, seed: int = 0) -> ChannelMetrics:
    generator = torch.Generator().manual_seed(seed)
    return ChannelMetrics(
        torch.rand(shape.layers, shape.heads * shape.head_dim, generator=generator, dtype=torch.float64),
        torch.rand(shape.layers, shape.ffn_size, generator=generator, dtype=torch.float64),
    )


def lists(selection: Selection) -> Stays:
    return [row.tolist() for row in selection.groups], [row.tolist() for row in selection.neurons]


# Scores and what stays.


@pytest.mark.parametrize("estimator", ["code", "paper"])
@pytest.mark.parametrize("metric", ["WIFV", "IFV", "WIFN"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_flap_keeps_what_the_update_rule_ranks_highest(shape: ModelShape, metric: str, estimator: str) -> None:
    layers = random_layers(shape)
    metrics = metrics_of(layers, metric, estimator)
    rows = {name: [metric_by_loops(metric, estimator, *pair) for pair in pairs] for name, pairs in layers.items()}
    for found, expected in ((metrics.attention, rows["attention"]), (metrics.ffn, rows["ffn"])):
        for row, expected_row in zip(found.tolist(), expected, strict=True):
            assert row == pytest.approx(expected_row, rel=SIMILARITY)
    squared = [[x**2 for x in row] for row in rows["attention"]]
    in_layers = Expected([group_scores(row, shape, sum) for row in squared], rows["ffn"])
    across = Expected(
        [group_scores(z_scores(row), shape, mean_of) for row in squared], [z_scores(row) for row in rows["ffn"]]
    )
    for scores, expected_scores in (
        (scores_in_layers(metrics, shape), in_layers),
        (scores_across_layers(metrics, shape), across),
    ):
        for found, expected in ((scores.groups, expected_scores.groups), (scores.neurons, expected_scores.neurons)):
            for row, expected_row in zip(found.tolist(), expected, strict=True):
                assert row == pytest.approx(expected_row, rel=1e-7, abs=1e-9)
    groups, neurons = shape.kv_heads - 1, 17
    assert lists(uniform(metrics, shape, groups, neurons)) == in_layers.without_lowest(1, shape.ffn_size - 17)
    per_block = shape.block_linear_params
    group = 2 * shape.head_dim * shape.hidden_size * (shape.heads // shape.kv_heads + 1)
    for ratio in ("0.3", "0.5", "0.7"):
        share, value = Fraction(ratio), float(ratio)
        floors = math.floor(share * shape.kv_heads), math.floor(share * shape.ffn_size)
        assert lists(ul_um(metrics, shape, value)) == in_layers.without_lowest(*floors)
        assert lists(al_am(metrics, shape, value)) == across.above_threshold(shape, ratio)
    neuron, left = 3 * shape.hidden_size, Fraction("0.5") * per_block - group
    assert lists(ul_mm(metrics, shape, 0.5, 1)) == in_layers.without_lowest(1, math.floor(left / neuron))
    assert lists(al_mm(metrics, shape, 0.5, 1)) == across.without_lowest_of_all(
        shape.layers, math.floor(shape.layers * left / neuron)
    )


def test_metrics_and_structures_lead_to_different_choices() -> None:
    """Else the comparison with loops would not tell them apart."""
    shape = SHAPES["grouped"]
    layers = random_layers(shape)
    by_metric = [uniform(metrics_of(layers, m, e), shape, 2, 17) for m, e in
                 (("WIFV", "code"), ("WIFV", "paper"), ("IFV", "code"), ("WIFN", "code"))]  # fmt: skip
    metrics = metrics_of(layers, "WIFV", "code")
    by_structure = [ul_um(metrics, shape, 0.5), ul_mm(metrics, shape, 0.5, 1), al_mm(metrics, shape, 0.5, 1),
                    al_am(metrics, shape, 0.5)]  # fmt: skip
    assert len({str(lists(selection)) for selection in by_metric}) == 4
    assert len({str(lists(selection)) for selection in by_structure}) == 4


def test_attention_is_ranked_by_squares() -> None:
    """One outstanding channel outweighs a head of good ones only when squared."""
    shape = replace(SHAPE, layers=1, heads=2, kv_heads=2, head_dim=2, ffn_size=2)
    metrics = ChannelMetrics(torch.tensor([[2.0, 2.0, 3.0, 0.5]]), torch.tensor([[1.0, 2.0]]))
    assert lists(uniform(metrics, shape, 1, 1)) == ([[1]], [[1]])


def check_rows(selection: Selection, shape: ModelShape) -> tuple[int, int]:
    """That what stays is ascending indices; how many groups and neurons stay in all."""
    for rows, most in zip(lists(selection), (shape.kv_heads, shape.ffn_size), strict=True):
        assert len(rows) == shape.layers
        for row in rows:
            assert all(first < second for first, second in pairwise([-1, *row, most]))
    return sum(map(len, selection.groups)), sum(map(len, selection.neurons))


def counts_by_layer(selection: Selection) -> set[tuple[int, int]]:
    return {(len(groups), len(neurons)) for groups, neurons in zip(*lists(selection), strict=True)}


GROUP, NEURON = 768, 72
"""Weights in a block of the grouped shape, which has 4 * 768 + 40 * 72 of them."""


@given(seed=st.integers(0, 10_000), groups=st.integers(1, 4), neurons=st.integers(1, 40))
def test_uniform_keeps_the_counts_that_it_is_given(seed: int, groups: int, neurons: int) -> None:
    shape = SHAPES["grouped"]
    selection = uniform(random_metrics(shape, seed), shape, groups, neurons)
    check_rows(selection, shape)
    assert counts_by_layer(selection) == {(groups, neurons)}
    assert selection.is_uniform


@given(seed=st.integers(0, 10_000), percent=st.integers(1, 99))
def test_a_ratio_drops_its_share(seed: int, percent: int) -> None:
    shape = SHAPES["grouped"]
    metrics, ratio = random_metrics(shape, seed), percent / 100
    selection = ul_um(metrics, shape, ratio)
    check_rows(selection, shape)
    assert counts_by_layer(selection) == {(4 - 4 * percent // 100, 40 - 40 * percent // 100)}
    groups, neurons = check_rows(al_am(metrics, shape, ratio), shape)
    weights, goal = groups * GROUP + neurons * NEURON, (1 - ratio) * 3 * (4 * GROUP + 40 * NEURON)
    # The item whose cost brings it nearest to the share goes, so that up to one and a half groups are missing.
    assert goal - 1.5 * GROUP <= weights <= goal + GROUP / 2


@given(seed=st.integers(0, 10_000), percent=st.integers(45, 60), dropped=st.integers(1, 3))
def test_neurons_make_up_the_rest_of_the_share(seed: int, percent: int, dropped: int) -> None:
    shape = SHAPES["grouped"]
    metrics = random_metrics(shape, seed)
    rest = Fraction(percent, 100) * (4 * GROUP + 40 * NEURON) - dropped * GROUP
    by_layer, over_layers = (choose(metrics, shape, percent / 100, dropped) for choose in (ul_mm, al_mm))
    check_rows(by_layer, shape)
    assert counts_by_layer(by_layer) == {(4 - dropped, 40 - math.floor(rest / NEURON))}
    assert check_rows(over_layers, shape) == (3 * (4 - dropped), 3 * 40 - math.floor(3 * rest / NEURON))


def test_of_equal_scores_the_earlier_stays() -> None:
    shape = replace(SHAPES["grouped"], layers=2, ffn_size=20)
    equal = ChannelMetrics(torch.ones(2, 48), torch.ones(2, 20))
    assert lists(uniform(equal, shape, 2, 3)) == ([[0, 1]] * 2, [[0, 1, 2]] * 2)
    # Half of a block is 31 1/3 neurons: two groups of 10 2/3, and ten neurons.
    assert lists(al_mm(equal, shape, 0.5, 2)) == ([[0, 1, 2, 3], []], [list(range(20)), []])
    # Half of both blocks is 62 2/3, to which the sixth group, at 64, comes nearest.
    assert lists(al_am(equal, shape, 0.5)) == ([[0, 1, 2, 3], [0]], [[], []])


def test_none_to_drop_across_layers_drops_none() -> None:
    shape = SHAPES["grouped"]
    selection = al_mm(random_metrics(shape), shape, 0.1, 0)
    assert [len(row) for row in selection.groups] == [shape.kv_heads] * shape.layers


def test_across_layers_a_layer_with_flat_metrics_scores_zero() -> None:
    metric = torch.tensor([[0.1, 0.1, 0.1], [1.0, 2.0, 3.0]], dtype=torch.float64)
    assert standardised(metric).tolist() == [[0.0, 0.0, 0.0], [-1.0, 0.0, 1.0]]


def test_only_equal_counts_make_a_plain_checkpoint() -> None:
    some, other = torch.tensor([0, 2]), torch.tensor([1, 2])
    none, one = torch.tensor([], dtype=torch.long), torch.tensor([1])
    assert Selection([some, other], [one, one]).is_uniform
    assert not Selection([some, one], [one, one]).is_uniform
    assert not Selection([one, one], [some, one]).is_uniform
    assert not Selection([none, none], [one, one]).is_uniform


def test_kept_groups_keep_all_their_query_heads() -> None:
    shape = SHAPES["grouped"]
    groups = torch.tensor([0, 3])
    assert query_heads(groups, shape).tolist() == [0, 1, 2, 9, 10, 11]
    assert torch.equal(kept_kv_heads(query_heads(groups, shape), shape), groups)
    kept = uniform(random_metrics(shape), shape, 2, 17).kept(shape).to_dict()
    assert sorted(kept) == ["ffn", "heads"]
    assert [len(row) for row in kept["heads"]] == [6] * shape.layers


# Counts.


def test_the_authors_uniform_shape_has_the_weights_that_their_checkpoints_have() -> None:
    shape = ModelShape(
        vocab_size=128_256, layers=32, hidden_size=4096, ffn_size=6528, heads=20, kv_heads=5, head_dim=128,
        tie_embeddings=False, rope_theta=500_000.0, norm_eps=1e-5,
    )  # fmt: skip
    assert shape.params_total == 4_456_714_240
    parent = replace(shape, heads=32, kv_heads=8, ffn_size=14_336)
    assert shape.block_linear_params / parent.block_linear_params == pytest.approx(0.488, abs=5e-4)
    # Half of a block's 218,103,808 weights less three groups of 5,242,880 is 7,594 neurons of 12,288.
    assert ul_mm_counts(parent, 0.5, 3).neurons == 6742


def test_a_share_is_that_of_the_ratio_as_written() -> None:
    counts = ul_um_counts(replace(SHAPE, heads=10, kv_heads=10, ffn_size=100), 0.29)
    assert (counts.groups, counts.neurons) == (8, 71)


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda m, s: uniform(m, s, 5, 17), "cannot keep 5 of 4 key-value groups a layer: give 1 to 4"),
        (lambda m, s: uniform(m, s, 2, 0), "cannot keep 0 of 40 neurons a layer: give 1 to 40"),
        (lambda m, s: ul_mm(m, s, 0.5, 4), "cannot drop 4 of 4 key-value groups a layer: give 0 to 3"),
        (lambda m, s: ul_mm(m, s, 0.3, 3), "3 of 4 key-value groups are more than 0.3 of a block: drop at most 2"),
        (lambda m, s: al_mm(m, s, 0.9, 0), "0.9 of a block with 0 of 4 key-value groups would leave no neuron"),
    ],
)
def test_counts_that_do_not_fit_are_refused(choose: Callable[..., Selection], message: str) -> None:
    shape = SHAPES["grouped"]
    with pytest.raises(UserError, match=message):
        choose(random_metrics(shape), shape)


def test_a_share_that_takes_the_last_neuron_is_refused() -> None:
    """Six tenths of a block of ten groups' weights are all its neurons."""
    shape = replace(SHAPES["grouped"], ffn_size=64)
    assert ul_mm_counts(shape, 0.59, 0).neurons == 2
    with pytest.raises(UserError, match="would leave no neuron: drop more groups, or lower the ratio"):
        ul_mm_counts(shape, 0.6, 0)


@pytest.mark.parametrize(("damaged", "name"), [("attention", "o_proj"), ("ffn", "down_proj")])
def test_metrics_that_are_not_finite_are_refused(damaged: str, name: str) -> None:
    shape = SHAPES["grouped"]
    metrics = random_metrics(shape)
    getattr(metrics, damaged)[1, 3] = torch.nan
    for choose in (lambda: uniform(metrics, shape, 2, 17), lambda: al_am(metrics, shape, 0.5)):
        with pytest.raises(UserError, match=f"{name} in decoder block 1 hold NaN or inf"):
            choose()


# Statistics.


@given(
    seed=st.integers(0, 10_000),
    windows=st.integers(2, 7),
    length=st.integers(1, 5),
    batches=st.lists(st.integers(1, 7), min_size=7, max_size=7),
    dtype=st.sampled_from([torch.bfloat16, torch.float32, torch.float64]),
)
def test_statistics_do_not_depend_on_the_batch_size(
    seed: int, windows: int, length: int, batches: list[int], dtype: torch.dtype
) -> None:
    activation = random_activation(6, seed, windows, length).to(dtype)
    whole, parts, start = statistics_of(activation, windows), InputStatistics(), 0
    for size in batches:
        if start < windows:
            parts.see(activation[start : start + size])
        start += size
    for found, expected in (
        (parts.mean, whole.mean),
        (parts.norm, whole.norm),
        (parts.variance("code"), whole.variance("code")),
        (parts.variance("paper"), whole.variance("paper")),
    ):
        assert found.dtype == torch.float64
        assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_statistics_are_those_of_loops(dtype: torch.dtype) -> None:
    activation = random_activation(6, seed=3).to(dtype)
    seen = statistics_of(activation)
    mean, spread = fluctuation(activation)
    assert seen.mean.tolist() == pytest.approx(mean, rel=SIMILARITY)
    assert seen.variance("code").tolist() == pytest.approx(spread, rel=SIMILARITY)
    assert seen.variance("paper").tolist() == pytest.approx(variance(activation), rel=SIMILARITY)
    assert seen.norm.tolist() == pytest.approx((activation.double().square().sum((0, 1)) / 5).sqrt().tolist())


def test_a_large_mean_does_not_drown_the_variance() -> None:
    activation = random_activation(6, seed=4).double() + 1e6
    seen = statistics_of(activation)
    assert seen.variance("code").tolist() == pytest.approx(fluctuation(activation)[1], rel=1e-6)
    assert seen.variance("paper").tolist() == pytest.approx(variance(activation), rel=1e-6)


@given(seed=st.integers(0, 10_000))
def test_only_the_variance_of_the_code_depends_on_the_order_of_windows(seed: int) -> None:
    activation = random_activation(6, seed)
    forward, backward = statistics_of(activation), statistics_of(activation.flip(0))
    assert backward.mean.tolist() == pytest.approx(forward.mean.tolist(), rel=SIMILARITY, abs=1e-12)
    assert backward.variance("paper").tolist() == pytest.approx(forward.variance("paper").tolist(), rel=SIMILARITY)
    assert not torch.allclose(backward.variance("code"), forward.variance("code"), rtol=1e-3)


def test_a_variance_needs_two_windows() -> None:
    seen = statistics_of(random_activation(6, seed=0, windows=1))
    assert torch.isfinite(seen.mean).all()
    with pytest.raises(UserError, match="but there is 1: give at least 2"):
        seen.variance("code")
    with pytest.raises(UserError, match="but there is 1: give at least 2"):
        channel_metric("WIFV", seen, torch.ones(3, 6), "paper")


# Compensation.


@pytest.mark.parametrize("bias", [None, torch.arange(24.0)], ids=["no bias", "bias"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_biases_compensate_for_the_mean_of_what_is_dropped(shape: ModelShape, bias: torch.Tensor | None) -> None:
    layers = random_layers(shape)
    kept = uniform(metrics_of(layers, "WIFV", "code"), shape, 1, 17)
    stays = {
        "attention": [head_channels(query_heads(groups, shape), shape.head_dim) for groups in kept.groups],
        "ffn": kept.neurons,
    }
    for name, pairs in layers.items():
        for (activation, weight), channels in zip(pairs, stays[name], strict=True):
            found = compensated_bias(weight, statistics_of(activation).mean, channels, bias)
            mean = fluctuation(activation)[0]
            expected = [0.0 if bias is None else bias[row].item() for row in range(len(weight))]
            for row, entries in enumerate(weight.double().tolist()):
                expected[row] += sum(w * mean[c] for c, w in enumerate(entries) if c not in channels.tolist())
            assert found.tolist() == pytest.approx(expected, rel=SIMILARITY, abs=1e-12)
            # On average over the windows nothing changes.
            dense = activation.double() @ weight.double().T + (0 if bias is None else bias)
            cut = activation[..., channels].double() @ weight[:, channels].double().T + found
            assert torch.allclose(dense.mean((0, 1)), cut.mean((0, 1)), rtol=1e-9, atol=1e-9)


def test_biases_of_half_precision_weights_are_computed_in_full() -> None:
    weight, mean = torch.rand(3, 300).bfloat16(), torch.rand(300, dtype=torch.float64)
    found = compensated_bias(weight, mean, torch.tensor([0]), torch.ones(3).bfloat16())
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx((weight[:, 1:].double() @ mean[1:] + 1).tolist(), rel=SIMILARITY)
    assert compensated_bias(weight, mean, torch.arange(300)).tolist() == [0.0, 0.0, 0.0]
