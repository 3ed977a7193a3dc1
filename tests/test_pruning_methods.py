"""Every pruning method does what its paper says, and keeps the contract of the registry."""

import math
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import pytest
import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

from models import (
    SHAPE,
    VARIANTS,
    Case,
    logits_of,
    random_windows,
    recorded_inputs,
    same_tensors,
    tiny_llama,
    weights_of,
)
from pruning_vs_scratch.config import pruning as configuration
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.checkpoint import load_llama, save_llama
from pruning_vs_scratch.models.llama import LINEAR_NAMES, block_linears, shape_of
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.magnitude import magnitude_mask
from pruning_vs_scratch.pruning.minitron_depth import losses_without_run
from pruning_vs_scratch.pruning.minitron_width import heads_by_group, top_indices
from pruning_vs_scratch.pruning.pruned import Pruned
from pruning_vs_scratch.pruning.registry import CALIBRATED, CALIBRATION_FREE
from pruning_vs_scratch.pruning.shortgpt import block_influence, most_influential
from pruning_vs_scratch.pruning.wanda import InputNorm, wanda_scores

STRUCTURED = [Case("shortgpt"), Case("minitron_depth"), Case("minitron_width")]
SPARSE = [
    Case(method, ratio, pattern)
    for method in ("wanda", "magnitude")
    for ratio, pattern in ((0.5, "unstructured"), (0.3, "unstructured"), (0.5, "2:4"), (0.5, "4:8"))
]
EVERY_METHOD = [*STRUCTURED, SPARSE[1], SPARSE[2], SPARSE[5], SPARSE[6]]

each_structured = pytest.mark.parametrize("case", STRUCTURED, ids=str)
each_sparse = pytest.mark.parametrize("case", SPARSE, ids=str)
each_method = pytest.mark.parametrize("case", EVERY_METHOD, ids=str)
each_variant = pytest.mark.parametrize("variant", VARIANTS)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def stream_of(model: LlamaForCausalLM, batch_size: int = 2) -> CalibrationStream:
    return CalibrationStream(model, random_windows(), batch_size)


def hooks_of(model: LlamaForCausalLM) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def masks_by_loops(scores: list[list[float]], ratio: float) -> list[list[bool]]:
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


def wanda_by_whole_forward_passes(
    model: LlamaForCausalLM, ratio: float, statistics_of: LlamaForCausalLM
) -> dict[str, list[list[bool]]]:
    """Prune ``model`` block by block with loops, on inputs seen in whole forward passes of ``statistics_of``."""
    masks = {}
    for i, block in enumerate(model.model.layers):
        watched = statistics_of.model.layers[i]
        with recorded_inputs({name: watched.get_submodule(name) for name in LINEAR_NAMES}) as inputs:
            logits_of(statistics_of, random_windows()[:, :-1])
        for name in LINEAR_NAMES:
            weight, norm = block.get_submodule(name).weight, inputs[name].double().flatten(0, 1).norm(dim=0).tolist()
            scores = [[abs(w) * n for w, n in zip(row, norm, strict=True)] for row in weight.tolist()]
            masks[f"model.layers.{i}.{name}.weight"] = masks_by_loops(scores, ratio)
            weight.data *= torch.tensor(masks[f"model.layers.{i}.{name}.weight"])
    return masks


@each_variant
def test_wanda_scores_each_block_on_the_output_of_the_pruned_blocks_before_it(variant: str) -> None:
    reference, model = tiny_llama(**VARIANTS[variant]), tiny_llama(**VARIANTS[variant])
    expected = wanda_by_whole_forward_passes(reference, 0.5, statistics_of=reference)
    found = Case("wanda", 0.5, "unstructured").prune(model, shape_of(model.config)).masks
    assert {name: mask.tolist() for name, mask in found.items()} == expected
    assert same_tensors(weights_of(model), weights_of(reference))


def test_wanda_on_the_dense_models_inputs_would_drop_other_weights_after_the_first_block() -> None:
    model = tiny_llama()
    dense = wanda_by_whole_forward_passes(deepcopy(model), 0.5, statistics_of=model)
    found = Case("wanda", 0.5, "unstructured").prune(model, SHAPE).masks
    same = {name: mask.tolist() == dense[name] for name, mask in found.items()}
    assert all(same[f"model.layers.0.{name}.weight"] for name in LINEAR_NAMES)
    assert not any(same[f"model.layers.3.{name}.weight"] for name in LINEAR_NAMES)


# Magnitude


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 0.97])
def test_magnitude_drops_the_smallest_weights_of_a_whole_matrix(ratio: float) -> None:
    weight = torch.randn(6, 7, generator=torch.Generator().manual_seed(0))
    flat = [abs(w) for w in weight.flatten().tolist()]
    expected = masks_by_loops([flat], ratio)[0]
    assert magnitude_mask(weight, ratio, "unstructured").flatten().tolist() == expected


def test_magnitude_in_groups_keeps_the_two_largest_of_every_four() -> None:
    weight = torch.tensor([[-9.0, 1.0, -2.0, 3.0, 0.5, 0.4, -0.6, 0.0]])
    assert magnitude_mask(weight, 0.5, "2:4").int().tolist() == [[1, 0, 0, 1, 1, 0, 1, 0]]


# ShortGPT


def states_around_blocks(model: LlamaForCausalLM, tokens: torch.Tensor) -> list[torch.Tensor]:
    """The residual stream before the first block and after each block.

    The last entry of ``hidden_states`` is after the final norm: what enters that norm stands in for it.
    """
    with recorded_inputs({"norm": model.model.norm}) as inputs, torch.no_grad():
        states = model(input_ids=tokens, output_hidden_states=True, use_cache=False).hidden_states
    return [*states[:-1], inputs["norm"]]


@each_variant
def test_block_influence_is_one_minus_the_mean_cosine_between_what_enters_and_leaves(variant: str) -> None:
    model = tiny_llama(**VARIANTS[variant])
    states = states_around_blocks(model, random_windows()[:, :-1])
    expected = []
    for entering, leaving in pairwise(states):
        cosines = []
        for x, y in zip(entering.double().flatten(0, 1), leaving.double().flatten(0, 1), strict=True):
            cosines.append(float(x @ y / (x.norm() * y.norm())))
        expected.append(1 - fmean(cosines))
    pruned = Case("shortgpt").prune(model, shape_of(model.config))
    assert pruned.scores["block_influence"] == pytest.approx(expected, abs=1e-6)
    assert pruned.kept["blocks"] == sorted(sorted(range(4), key=lambda i: expected[i])[2:])


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


# Minitron depth


def loss_by_loops(model: LlamaForCausalLM, windows: torch.Tensor) -> float:
    """Cross-entropy of every next token, in nats."""
    probabilities = logits_of(model, windows[:, :-1]).double().softmax(dim=-1)
    return fmean(
        -math.log(float(probabilities[n, t, windows[n, t + 1]]))
        for n in range(windows.shape[0])
        for t in range(windows.shape[1] - 1)
    )


def without_run(model: LlamaForCausalLM, start: int, run: int) -> LlamaForCausalLM:
    smaller = deepcopy(model)
    del smaller.model.layers[start : start + run]
    smaller.config.num_hidden_layers = len(smaller.model.layers)
    return smaller


@pytest.mark.parametrize("run", [1, 2, 3])
@each_variant
def test_minitron_depth_measures_the_loss_of_each_model_without_a_run_of_blocks(variant: str, run: int) -> None:
    model = tiny_llama(**VARIANTS[variant])
    expected = [loss_by_loops(without_run(model, start, run), random_windows()) for start in range(4 - run + 1)]
    assert losses_without_run(model, run, stream_of(model)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_minitron_depth_removes_the_run_that_costs_least(seed: int) -> None:
    model = tiny_llama(seed)
    pruned = Case("minitron_depth").prune(model, SHAPE)
    losses = pruned.scores["loss_without_run"]
    start = min(range(3), key=lambda i: losses[i])
    assert pruned.kept["blocks"] == [i for i in range(4) if i not in (start, start + 1)]
    assert torch.equal(logits_of(pruned.model), logits_of(without_run(model, start, 2)))


# Minitron width


def importance_by_loops(activation: torch.Tensor) -> list[float]:
    """sqrt(sum over windows of (mean over tokens of |a|)^2) of each channel."""
    windows, length, channels = activation.shape
    return [
        math.sqrt(sum(fmean(abs(float(activation[n, t, c])) for t in range(length)) ** 2 for n in range(windows)))
        for c in range(channels)
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


@each_variant
def test_minitron_width_keeps_what_the_formula_ranks_highest(variant: str) -> None:
    model = tiny_llama(**VARIANTS[variant])
    shape, blocks = shape_of(model.config), list(model.model.layers)
    goal = Case("minitron_width").target(shape).shape
    # What the linear layers after a norm read is what that norm put out.
    watched = {
        (i, name): block.get_submodule(name)
        for i, block in enumerate(blocks)
        for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")
    }
    with recorded_inputs(watched) as inputs:
        logits_of(model, random_windows()[:, :-1])
    importance = {key: importance_by_loops(activation) for key, activation in inputs.items()}
    after_norms = [importance[i, name] for i in range(len(blocks)) for name in ("self_attn.q_proj", "mlp.gate_proj")]
    hidden = [sum(values) for values in zip(*after_norms, strict=True)]
    pruned = Case("minitron_width").prune(model, shape)
    assert pruned.scores["hidden"] == pytest.approx(hidden, rel=1e-5)
    assert pruned.kept["hidden"] == highest(hidden, goal.hidden_size)
    for i in range(len(blocks)):
        assert pruned.kept["ffn"][i] == highest(importance[i, "mlp.down_proj"], goal.ffn_size)
        heads = best_heads(importance[i, "self_attn.o_proj"], shape.heads, shape.kv_heads, shape.head_dim, goal.heads)
        assert pruned.kept["heads"][i] == heads


def test_every_key_value_group_keeps_equally_many_heads_even_if_one_has_all_the_best() -> None:
    per_head = torch.tensor([1.0, 3.0, 2.0, 100.0, 99.0, 101.0])
    importance = per_head.repeat_interleave(SHAPE.head_dim)
    assert heads_by_group(importance, SHAPE, 4).tolist() == [1, 2, 3, 5]


def test_the_earlier_of_equally_important_channels_stays() -> None:
    assert top_indices(torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0]), 3).tolist() == [0, 1, 3]


# The contract of every method


def test_the_registry_and_the_configuration_know_the_same_methods() -> None:
    assert {*CALIBRATED, *CALIBRATION_FREE} == set(configuration.METHODS) == set(configuration.GRANULARITY)
    assert set(CALIBRATION_FREE) == configuration.CALIBRATION_FREE
    assert {case.method for case in EVERY_METHOD} == set(configuration.METHODS)


@each_structured
@each_variant
def test_a_structured_method_meets_the_target_shape(case: Case, variant: str) -> None:
    model = tiny_llama(**VARIANTS[variant])
    goal = case.target(shape_of(model.config)).shape
    pruned = case.prune(model, shape_of(model.config))
    weights = {name: tuple(w.shape) for name, w in pruned.model.named_parameters() if w.ndim == 2}
    assert shape_of(pruned.model.config) == goal
    assert len(pruned.model.model.layers) == goal.layers
    assert weights["model.embed_tokens.weight"] == (goal.vocab_size, goal.hidden_size)
    for i in range(goal.layers):
        assert weights[f"model.layers.{i}.self_attn.q_proj.weight"] == (goal.heads * goal.head_dim, goal.hidden_size)
        assert weights[f"model.layers.{i}.mlp.down_proj.weight"] == (goal.hidden_size, goal.ffn_size)
    assert not pruned.masks


@each_sparse
@each_variant
def test_a_sparse_method_zeroes_exactly_its_share_of_every_linear_layer(case: Case, variant: str) -> None:
    model = tiny_llama(**VARIANTS[variant])
    pruned = case.prune(model, shape_of(model.config))
    assert pruned.masks.keys() == block_linears(pruned.model).keys()
    for name, mask in pruned.masks.items():
        weight = pruned.model.get_parameter(name)
        assert torch.equal(weight != 0, mask)
        assert dropped_counts(mask, case) == expected_counts(mask, case)


def dropped_counts(mask: torch.Tensor, case: Case) -> set[int]:
    """How many weights each unit of a method's rule lost: a group of N:M, a row of Wanda, a matrix of magnitude."""
    if case.pattern != "unstructured":
        units = mask.view(-1, int(case.pattern.split(":")[1]))
    else:
        units = mask if case.method == "wanda" else mask.view(1, -1)
    return set((~units).sum(dim=1).tolist())


def expected_counts(mask: torch.Tensor, case: Case) -> set[int]:
    if case.pattern != "unstructured":
        kept, group = map(int, case.pattern.split(":"))
        return {group - kept}
    unit = mask.shape[1] if case.method == "wanda" else mask.numel()
    return {round(1000 * case.ratio) * unit // 1000}


@each_sparse
@each_variant
def test_a_sparse_method_changes_nothing_that_its_mask_does_not_name(case: Case, variant: str) -> None:
    model = tiny_llama(**VARIANTS[variant])
    before = weights_of(model)
    pruned = case.prune(model, shape_of(model.config))
    after = weights_of(pruned.model)
    expected = {name: w * pruned.masks[name] if name in pruned.masks else w for name, w in before.items()}
    assert same_tensors(after, expected)
    assert not {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"} & pruned.masks.keys()


@each_structured
@each_variant
def test_a_structured_method_leaves_the_parent_alone(case: Case, variant: str) -> None:
    model = tiny_llama(**VARIANTS[variant])
    before, config = weights_of(model), model.config.to_dict()
    pruned = case.prune(model, shape_of(model.config))
    with torch.no_grad():
        for parameter in pruned.model.parameters():
            parameter.zero_()
    assert same_tensors(weights_of(model), before)
    assert model.config.to_dict() == config


@each_method
@each_variant
def test_a_pruned_model_is_the_same_after_saving_and_loading(case: Case, variant: str, tmp_path: Path) -> None:
    model = tiny_llama(**VARIANTS[variant])
    pruned = case.prune(model, shape_of(model.config))
    save_llama(pruned.model, tmp_path, tokenizer=tmp_path)
    loaded = load_llama(tmp_path).eval()
    assert same_tensors(weights_of(loaded), weights_of(pruned.model))
    assert torch.equal(logits_of(loaded), logits_of(pruned.model))


def same_outcome(left: Pruned, right: Pruned) -> bool:
    same_weights = same_tensors(weights_of(left.model), weights_of(right.model))
    return same_weights and left.kept == right.kept and same_tensors(left.masks, right.masks)


@each_method
def test_two_runs_give_the_same_model_and_the_same_scores(case: Case) -> None:
    first, second = case.prune(tiny_llama(), SHAPE), case.prune(tiny_llama(), SHAPE)
    assert same_outcome(first, second)
    assert first.scores == second.scores


@each_method
@pytest.mark.parametrize("batch_size", [1, 5])
def test_the_batch_size_does_not_change_what_is_kept(case: Case, batch_size: int) -> None:
    assert same_outcome(case.prune(tiny_llama(), SHAPE, batch_size), case.prune(tiny_llama(), SHAPE))


@each_method
def test_no_hook_stays_on_either_model(case: Case) -> None:
    model = tiny_llama()
    pruned = case.prune(model, SHAPE)
    assert hooks_of(model) == hooks_of(pruned.model) == 0


@each_method
@pytest.mark.parametrize("damaged", [math.nan, math.inf])
def test_a_damaged_weight_is_an_error_that_names_the_block(case: Case, damaged: float) -> None:
    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[2].mlp.up_proj.weight[3, 4] = damaged
    with pytest.raises(UserError, match=r"(decoder block |layers\.)2.* NaN or inf"):
        case.prune(model, SHAPE)
    assert hooks_of(model) == 0


# The calibration stream


@each_variant
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_stream_through_all_blocks_is_the_models_own_forward_pass(variant: str, batch_size: int) -> None:
    model = tiny_llama(**VARIANTS[variant])
    expected = states_around_blocks(model, random_windows()[:, :-1])
    stream = stream_of(model, batch_size)
    torch.testing.assert_close(torch.cat(stream.hidden), expected[0])
    for block, leaving in zip(model.model.layers, expected[1:], strict=True):
        stream.advance(block)
        torch.testing.assert_close(torch.cat(stream.hidden), leaving)
    assert stream.language_model_loss(stream.hidden) == pytest.approx(loss_by_loops(model, random_windows()), rel=1e-5)
    assert stream.tokens == 5 * 11


PASSES: dict[str, Callable[[], int]] = {
    "shortgpt": lambda: 4 * SHAPE.block_flops(5, 11),
    "minitron_width": lambda: 4 * SHAPE.block_flops(5, 11),
    "wanda": lambda: 8 * SHAPE.block_flops(5, 11),
    # Starts 0, 1 and 2 run two, one and no blocks after the gap and end in a loss; two blocks advance the prefix.
    "minitron_depth": lambda: 5 * SHAPE.block_flops(5, 11) + 3 * SHAPE.output_flops(5, 11),
}


@pytest.mark.parametrize("method", CALIBRATED)
def test_the_work_that_is_counted_is_the_blocks_that_ran(method: str) -> None:
    stream = stream_of(tiny_llama())
    pattern = "unstructured" if method == "wanda" else "dense"
    CALIBRATED[method](stream.model, Case(method, 0.5, pattern).target(SHAPE), stream)
    assert stream.flops == PASSES[method]()
