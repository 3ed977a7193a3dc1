"""ShortGPT and Minitron-depth rank blocks as their papers say."""

import math
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from torch.nn import functional

from models import (
    SHAPE,
    VARIANTS,
    Case,
    logits_of,
    random_windows,
    shape_of_model,
    states_around_blocks,
    stream_of,
    tiny_model,
)
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.decoder import shape_of
from pruning_vs_scratch.pruning.depth_losses import losses
from pruning_vs_scratch.pruning.methods.minitron_depth import method as minitron_depth
from pruning_vs_scratch.pruning.methods.minitron_depth.facts import MinitronDepthOptions, candidates_of
from pruning_vs_scratch.pruning.methods.minitron_depth.method import start_of_run
from pruning_vs_scratch.pruning.methods.shortgpt.method import block_influence, most_influential
from pruning_vs_scratch.study import ModelShape

each_variant = pytest.mark.parametrize("variant", VARIANTS)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# ShortGPT


@each_variant
def test_block_influence_is_one_minus_the_mean_cosine_between_what_enters_and_leaves(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    states = states_around_blocks(model, random_windows()[:, :-1])
    expected = []
    for entering, leaving in pairwise(states):
        cosines = []
        for x, y in zip(entering.double().flatten(0, 1), leaving.double().flatten(0, 1), strict=True):
            cosines.append(float(x @ y / (x.norm() * y.norm())))
        expected.append(1 - fmean(cosines))
    pruned = Case("shortgpt").prune(model)
    assert pruned.scores["block_influence"].tolist() == pytest.approx(expected, abs=1e-6)
    assert pruned.kept.blocks == sorted(sorted(range(4), key=lambda i: expected[i])[2:])


def test_block_influence_in_half_precision_is_computed_in_full() -> None:
    entering = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    leaving = entering + 0.01 * entering.flip(0)
    exact = 1 - functional.cosine_similarity(entering.double(), leaving.double(), dim=-1).mean(dim=1)
    assert block_influence(entering, leaving).tolist() == pytest.approx(exact.tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("influence", "count", "kept"),
    [
        ([0.5, 0.1, 0.4, 0.2], 2, [0, 2]),
        ([0.3, 0.1, 0.1, 0.1], 2, [0, 3]),
        ([0.1, 0.2, 0.3], 3, [0, 1, 2]),
        ([0.1, 0.2, 0.3], 1, [2]),
    ],
)
def test_the_most_influential_blocks_stay_and_the_later_of_equals(
    influence: list[float], count: int, kept: list[int]
) -> None:
    assert most_influential(influence, count) == kept


# Minitron-depth


def loss_by_loops(model: Any, windows: torch.Tensor) -> float:
    """Cross-entropy of every next token, in nats."""
    probabilities = logits_of(model, windows[:, :-1]).double().softmax(dim=-1)
    return fmean(
        -math.log(float(probabilities[n, t, windows[n, t + 1]]))
        for n in range(windows.shape[0])
        for t in range(windows.shape[1] - 1)
    )


def without_run(model: Any, start: int, run: int) -> Any:
    smaller = deepcopy(model)
    del smaller.model.layers[start : start + run]
    smaller.config.num_hidden_layers = len(smaller.model.layers)
    if hasattr(smaller.config, "layer_types"):
        smaller.config.layer_types = smaller.config.layer_types[:start] + smaller.config.layer_types[start + run :]
    return smaller


def losses_by_whole_models(model: Any, run: int) -> list[float]:
    starts = range(len(model.model.layers) - run + 1)
    return [loss_by_loops(without_run(model, start, run), random_windows()) for start in starts]


RUNS = [1, 2, 3]
WHOLE = (0, SHAPE.layers)
ALL = [*candidates_of(SHAPE.layers, RUNS), WHOLE]


@pytest.mark.parametrize("kind", VARIANTS)
def test_losses_without_runs_of_any_length_are_those_of_models_without_them(kind: str) -> None:
    model = tiny_model(**VARIANTS[kind])
    found = losses(stream_of(model), ALL, "test")
    expected = {(run, start): loss for run in RUNS for start, loss in enumerate(losses_by_whole_models(model, run))} | {
        WHOLE: loss_by_loops(model, random_windows())
    }
    assert found == pytest.approx(expected, rel=1e-5)
    assert len({round(loss, 3) for loss in expected.values()}) == len(ALL) == 4 + 3 + 2 + 1


def test_losses_do_not_depend_on_what_is_computed_with_them() -> None:
    model = tiny_model()
    together = losses(stream_of(model), ALL, "test")
    for candidate in ALL:
        assert losses(stream_of(model), [candidate], "test")[candidate] == together[candidate]


@pytest.mark.parametrize("batches_a_pass", [0, 1, 2, 3])
def test_blocks_are_read_from_files_as_rarely_as_the_buffer_allows_and_losses_stay_the_same(
    batches_a_pass: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model()
    usual = stream_of(model)
    model.save_pretrained(tmp_path)
    parent = BlockwiseModel.open(tmp_path, torch.device("cpu"), low_memory=True)
    stream = stream_of(parent, buffer_bytes=usual.bytes_per_window * (len(ALL) + 1) * 2 * batches_a_pass + 1)
    read, read_block = [], parent.block_tensors
    monkeypatch.setattr(parent, "block_tensors", lambda index: read.append(index) or read_block(index))
    assert losses(stream, ALL, "test") == losses(usual, ALL, "test")
    # Three batches: of two, two and one windows.
    assert read == [0, 1, 2, 3] * {0: 3, 1: 3, 2: 2, 3: 1}[batches_a_pass]
    assert stream.flops == usual.flops


@pytest.mark.parametrize("runs", [[1], [2], [1, 2, 3]])
def test_one_pass_is_less_work_than_a_forward_pass_a_candidate(runs: list[int]) -> None:
    candidates = candidates_of(SHAPE.layers, runs)
    stream = stream_of(tiny_model())
    losses(stream, candidates, "test")
    separate = sum(replace(SHAPE, layers=SHAPE.layers - run).forward_flops(5, 11) for run, _ in candidates)
    # Behind each gap every block that follows runs; before the gaps, one prefix serves all.
    after = sum(SHAPE.layers - run - start for run, start in candidates)
    blocks = after + max(start for _, start in candidates)
    assert stream.flops == blocks * SHAPE.block_flops(5, 11) + len(candidates) * SHAPE.output_flops(5, 11)
    assert stream.flops < separate


def score(model: Any, goals: list[int], **options: Any) -> dict[str, torch.Tensor]:
    shapes: list[ModelShape] = [replace(shape_of_model(model), layers=layers) for layers in goals]
    return minitron_depth.score(stream_of(model), shapes, MinitronDepthOptions(**options))


def test_scores_serve_every_depth_that_will_be_asked_for() -> None:
    model = tiny_model()
    scores = score(model, [2, 3, 2])
    assert {name: len(values) for name, values in scores.items()} == {"loss_without_1": 4, "loss_without_2": 3}
    for run in (1, 2):
        assert scores[f"loss_without_{run}"].tolist() == pytest.approx(losses_by_whole_models(model, run), rel=1e-5)


def test_the_loss_of_the_whole_model_is_scored_where_it_is_needed() -> None:
    model = tiny_model()
    scores = score(model, [2], criterion="closest")
    assert scores.keys() == {"loss", "loss_without_2"}
    assert float(scores["loss"]) == pytest.approx(loss_by_loops(model, random_windows()), rel=1e-5)


@each_variant
@pytest.mark.parametrize("criterion", ["best", "closest"])
def test_the_run_that_costs_least_is_dropped(criterion: str, variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    without, whole = losses_by_whole_models(model, 2), loss_by_loops(model, random_windows())
    start = min(range(3), key=lambda i: without[i] if criterion == "best" else abs(without[i] - whole))
    pruned = Case("minitron_depth", options={"criterion": criterion}).prune(model)
    assert pruned.kept.blocks == [i for i in range(4) if i not in (start, start + 1)]
    assert pruned.kept.dropped(SHAPE) == {"blocks": [start, start + 1]}
    assert shape_of(pruned.model(model).config).layers == 2
    assert torch.equal(logits_of(pruned.model(model)), logits_of(without_run(model, start, 2)))


@pytest.mark.parametrize(
    ("without", "whole", "start"),
    [
        ([3.0, 1.0, 2.0], None, 1),
        ([3.0, 1.0, 2.0], 2.9, 0),
        ([3.0, 1.0, 2.0], 1.6, 2),
        ([3.0, 1.0, 1.0], None, 1),
        ([1.0, 3.0, 1.0], 2.0, 0),
    ],
)
def test_the_lowest_or_the_nearest_loss_is_chosen_and_the_earlier_of_equals(
    without: list[float], whole: float | None, start: int
) -> None:
    assert start_of_run(without, whole) == start
