"""Wanda and magnitude mask by their scores, random masks by none."""

import math
from copy import deepcopy
from itertools import chain
from typing import Any

import pytest
import torch

from models import (
    SPARSE,
    VARIANTS,
    Case,
    Outcome,
    Tensors,
    blockwise,
    logits_of,
    random_windows,
    recorded_inputs,
    same_tensors,
    stream_of,
    tiny_model,
    weights_of,
)
from pruning_vs_scratch.families.parts import LINEAR_NAMES
from pruning_vs_scratch.pruning.method import PrunedLayer, PruningSpec, SparseMethod
from pruning_vs_scratch.pruning.methods.magnitude.facts import MagnitudeOptions
from pruning_vs_scratch.pruning.methods.magnitude.method import magnitude_mask
from pruning_vs_scratch.pruning.methods.random.method import random_scores
from pruning_vs_scratch.pruning.methods.wanda.method import InputNorm, wanda_scores
from pruning_vs_scratch.pruning.sparse import sparse_blocks

WANDA = Case("wanda", 0.5, "unstructured")
DENSE = Case("wanda", 0.5, "unstructured", {"order": "dense"})


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def mask_by_loops(scores: list[list[float]], ratio: float) -> list[list[bool]]:
    """Drop the lowest share of each row, the earliest of equals first."""
    masks = []
    for row in scores:
        dropped = sorted(range(len(row)), key=lambda j: (row[j], j))[: int(ratio * len(row))]
        masks.append([j not in dropped for j in range(len(row))])
    return masks


# Wanda


def test_a_wanda_score_is_the_weight_times_the_norm_of_its_input_over_all_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, inputs = torch.randn(5, 8, generator=generator), torch.randn(3, 4, 8, generator=generator)
    norm = InputNorm()
    norm.see(inputs[:2])
    norm.see(inputs[2:])
    found = wanda_scores(weight, norm.value)
    for i in range(5):
        for j in range(8):
            squares = [float(inputs[n, t, j]) ** 2 for n in range(3) for t in range(4)]
            assert float(found[i, j]) == pytest.approx(abs(float(weight[i, j])) * math.sqrt(sum(squares)), rel=1e-6)


def wanda_by_whole_forward_passes(model: Any, ratio: float, statistics_of: Any) -> dict[str, list[list[bool]]]:
    """Prune ``model`` block by block with loops, on inputs seen in whole forward passes of ``statistics_of``."""
    masks = {}
    for i, block in enumerate(model.model.layers):
        watched = statistics_of.model.layers[i]
        with recorded_inputs({name: watched.get_submodule(name) for name in LINEAR_NAMES}) as inputs:
            logits_of(statistics_of, random_windows()[:, :-1])
        for name in LINEAR_NAMES:
            weight, norm = block.get_submodule(name).weight, inputs[name].double().flatten(0, 1).norm(dim=0).tolist()
            scores = [[abs(w) * n for w, n in zip(row, norm, strict=True)] for row in weight.tolist()]
            masks[f"model.layers.{i}.{name}.weight"] = mask_by_loops(scores, ratio)
            weight.data *= torch.tensor(masks[f"model.layers.{i}.{name}.weight"])
    return masks


def as_lists(pruned: Outcome) -> dict[str, list[list[bool]]]:
    return {name: mask.tolist() for name, mask in pruned.masks.items()}


@pytest.mark.parametrize("kind", VARIANTS)
def test_wanda_scores_each_block_on_the_output_of_the_pruned_blocks_before_it(kind: str) -> None:
    model = tiny_model(**VARIANTS[kind])
    reference = deepcopy(model)
    expected = wanda_by_whole_forward_passes(reference, 0.5, statistics_of=reference)
    pruned = WANDA.prune(model)
    assert as_lists(pruned) == expected
    assert same_tensors(weights_of(pruned.model(model)), weights_of(reference))


def test_wanda_in_dense_order_scores_each_block_on_the_dense_models_inputs() -> None:
    model = tiny_model()
    dense = deepcopy(model)
    expected = wanda_by_whole_forward_passes(model, 0.5, statistics_of=dense)
    assert as_lists(DENSE.prune(dense)) == expected


def test_the_two_orders_of_wanda_agree_on_the_first_block_only() -> None:
    one, other = as_lists(WANDA.prune(tiny_model())), as_lists(DENSE.prune(tiny_model()))
    same = {name: mask == other[name] for name, mask in one.items()}
    assert all(same[f"model.layers.0.{name}.weight"] for name in LINEAR_NAMES)
    assert not any(same[f"model.layers.3.{name}.weight"] for name in LINEAR_NAMES)


# Magnitude


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 0.97])
@pytest.mark.parametrize("cut", ["matrix", "row"])
def test_magnitude_drops_the_smallest_weights_of_a_whole_matrix_or_of_each_row(ratio: float, cut: str) -> None:
    weight = torch.randn(6, 7, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 7)[:, None]
    rows = weight.abs().tolist()
    units = [list(chain(*rows))] if cut == "matrix" else rows
    expected = list(chain(*mask_by_loops(units, ratio)))
    found = magnitude_mask(weight, ratio, "unstructured", MagnitudeOptions(cut=cut))
    assert found.flatten().tolist() == expected


@pytest.mark.parametrize("cut", ["matrix", "row"])
def test_magnitude_in_groups_keeps_the_two_largest_of_every_four(cut: str) -> None:
    weight = torch.tensor([[-9.0, 1.0, -2.0, 3.0, 0.5, 0.4, -0.6, 0.0]])
    mask = magnitude_mask(weight, 0.5, "2:4", MagnitudeOptions(cut=cut))
    assert mask.int().tolist() == [[1, 0, 0, 1, 1, 0, 1, 0]]


def test_the_options_of_magnitude_reach_the_mask() -> None:
    by_row = Case("magnitude", 0.3, "unstructured", {"cut": "row"}).prune(tiny_model())
    by_matrix = Case("magnitude", 0.3, "unstructured").prune(tiny_model())
    name = "model.layers.1.mlp.up_proj.weight"
    assert set(by_row.masks[name].sum(dim=1).tolist()) == {24 - 7}
    assert len(set(by_matrix.masks[name].sum(dim=1).tolist())) > 1


# Random masks


@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_a_seed_draws_the_same_masks_and_another_seed_others(pattern: str) -> None:
    case = Case("random", 0.5, pattern)
    first, again, other = (case.prune(tiny_model(), seed=seed) for seed in (3, 3, 4))
    assert same_tensors(first.masks, again.masks)
    assert not any(torch.equal(first.masks[name], other.masks[name]) for name in first.masks)


def test_random_masks_know_nothing_of_the_weights_but_their_names_and_shapes() -> None:
    case = Case("random", 0.5, "unstructured")
    one, other = case.prune(tiny_model(seed=0)), case.prune(tiny_model(seed=9))
    assert same_tensors(one.masks, other.masks)
    gate, up = (one.masks[f"model.layers.0.mlp.{name}.weight"] for name in ("gate_proj", "up_proj"))
    assert not torch.equal(gate, up)
    assert not torch.equal(up, one.masks["model.layers.1.mlp.up_proj.weight"])


def test_random_scores_are_uniform_and_favour_no_row_or_column() -> None:
    scores = random_scores("w", torch.Size([300, 200]), seed=0)
    assert 0 <= scores.min() < 1e-3 < 1 - 1e-3 < scores.max() < 1
    assert scores.mean().item() == pytest.approx(0.5, abs=0.005)
    assert scores.var().item() == pytest.approx(1 / 12, rel=0.02)
    for means in (scores.mean(dim=0), scores.mean(dim=1)):
        assert means.std().item() < 1.3 * math.sqrt(1 / 12 / 200)


def test_methods_that_read_no_text_run_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a block ran")

    model = blockwise(tiny_model())
    monkeypatch.setattr("transformers.models.llama.modeling_llama.LlamaDecoderLayer.forward", refuse)
    for method in ("magnitude", "random"):
        assert len(Case(method, 0.5, "2:4").prune(model).blocks) == 4
    with pytest.raises(AssertionError, match="a block ran"):
        WANDA.prune(model)


# Any sparse method


def statistics_seen(model: Any, growth: float) -> list[torch.Tensor]:
    """The statistics that a method gets that multiplies all weights by a factor and drops none."""
    seen = []

    def prune(weights: Tensors, statistic: torch.Tensor | None, _: PruningSpec) -> dict[str, PrunedLayer]:
        seen.append(statistic)
        return {name: PrunedLayer(torch.ones_like(w, dtype=torch.bool), w * growth) for name, w in weights.items()}

    stream = stream_of(model)
    spec = WANDA.spec(stream.shape)
    assert len(list(sparse_blocks(stream.model, SparseMethod(prune, InputNorm), spec, stream))) == 4
    return seen


def test_blocks_behind_see_what_the_checkpoint_will_hold() -> None:
    """A change that is lost in the checkpoint's bf16 does not reach them, one that is kept does."""
    same, lost, kept = (statistics_seen(tiny_model().bfloat16(), growth) for growth in (1.0, 1.0 + 1e-5, 1.25))
    assert all(map(torch.equal, same, lost))
    assert not any(map(torch.equal, same[4:], kept[4:]))


@pytest.mark.parametrize("method", SPARSE)
def test_dropped_weights_are_plus_zero(method: str) -> None:
    pruned = Case(method, 0.5, "unstructured").prune(tiny_model())
    for name, mask in pruned.masks.items():
        dropped = pruned.weights[name][~mask]
        assert not dropped.any() and not torch.signbit(dropped).any(), name
