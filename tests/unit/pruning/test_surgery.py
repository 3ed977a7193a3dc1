"""Cutting a model down changes nothing but what was cut."""

import json
import math
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from models import SHAPE, VARIANTS, keep_all, logits_of, same_tensors, tiny_model, weights_of
from pruning_vs_scratch.models.checkpoint import save_model
from pruning_vs_scratch.models.decoder import shape_of
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.surgery import cut_model, head_channels, kept_blocks, kept_kv_heads, kept_shape

each_variant = pytest.mark.parametrize("variant", VARIANTS)

HIDDEN = torch.tensor([1, 2, 4, 7, 8, 11, 13, 14, 16, 19, 20, 23])
FFN = [torch.tensor([i for i in range(SHAPE.ffn_size) if i % 4 != layer]) for layer in range(SHAPE.layers)]
HEADS = [torch.tensor(heads) for heads in ([0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5], [0, 1, 4, 5])]
WIDTH = Kept(None, HIDDEN, FFN, HEADS)
DEPTH_AND_WIDTH = Kept([0, 2, 3], HIDDEN, FFN[:3], HEADS[:3])
"""Neurons and heads by the kept block: the second rows are those of the parent's third block."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def without(kept: torch.Tensor, size: int) -> torch.Tensor:
    return torch.tensor([i for i in range(size) if i not in kept.tolist()])


def silence(parameter: torch.Tensor | None, rows: torch.Tensor | slice, columns: torch.Tensor | None = None) -> None:
    """Zero rows, or all rows of some columns, of a weight; a missing bias is left out."""
    with torch.no_grad():
        if columns is not None:
            parameter[:, columns] = 0
        elif parameter is not None:
            parameter[rows] = 0


# Nothing pruned, nothing changed


@each_variant
def test_keeping_every_channel_keeps_the_model(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    same = cut_model(model, keep_all(shape_of(model.config)))
    assert same_tensors(weights_of(same), weights_of(model))
    assert torch.equal(logits_of(same), logits_of(model))


@each_variant
def test_keeping_nothing_in_particular_keeps_the_model(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    same = cut_model(model, Kept())
    assert same_tensors(weights_of(same), weights_of(model))
    assert torch.equal(logits_of(same), logits_of(model))


# Silent parts can go without a trace


@each_variant
def test_neurons_that_write_nothing_can_go(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    for block, kept in zip(model.model.layers, FFN, strict=True):
        silence(block.mlp.down_proj.weight, slice(None), without(kept, SHAPE.ffn_size))
    pruned = cut_model(model, Kept(ffn=FFN))
    assert shape_of(pruned.config).ffn_size == 30
    torch.testing.assert_close(logits_of(pruned), logits_of(model), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", ["tied", "untied", "biased"])
def test_heads_that_write_nothing_can_go(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    for block, kept in zip(model.model.layers, HEADS, strict=True):
        columns = head_channels(without(kept, SHAPE.heads), SHAPE.head_dim)
        silence(block.self_attn.o_proj.weight, slice(None), columns)
    pruned = cut_model(model, Kept(heads=HEADS))
    assert (shape_of(pruned.config).heads, shape_of(pruned.config).kv_heads) == (4, 2)
    torch.testing.assert_close(logits_of(pruned), logits_of(model), rtol=1e-4, atol=1e-4)


@each_variant
def test_blocks_that_write_nothing_can_go(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    for i in (1, 2):
        for linear in (model.model.layers[i].self_attn.o_proj, model.model.layers[i].mlp.down_proj):
            silence(linear.weight, slice(None))
            silence(linear.bias, slice(None))
    assert torch.equal(logits_of(cut_model(model, Kept([0, 3]))), logits_of(model))


def norms_of(model: Any) -> list[Any]:
    """Those over the residual stream's width."""
    return [module for name, module in model.named_modules() if name.endswith(("layernorm", "model.norm"))]


@each_variant
def test_unused_residual_channels_can_be_cut_once_the_norms_divide_by_fewer(variant: str) -> None:
    """RMSNorm takes its mean over all channels.

    Of d channels k stay and the others are zero, so the mean square grows by d / k. With eps grown alike, the norm's
    output shrinks by sqrt(d / k), which its weights make good.
    """
    model = tiny_model(**VARIANTS[variant])
    silent = without(HIDDEN, SHAPE.hidden_size)
    silence(model.model.embed_tokens.weight, slice(None), silent)
    for block in model.model.layers:
        for linear in (block.self_attn.o_proj, block.mlp.down_proj):
            silence(linear.weight, silent)
            silence(linear.bias, silent)
    pruned = cut_model(model, Kept(hidden=HIDDEN))
    growth, facts = SHAPE.hidden_size / len(HIDDEN), shape_of(model.config).facts
    for norm in norms_of(pruned):
        setattr(norm, eps := "eps" if hasattr(norm, "eps") else "variance_epsilon", getattr(norm, eps) * growth)
        norm.weight.data = (facts.norm_offset + norm.weight.data) * math.sqrt(growth) - facts.norm_offset
    assert len(norms_of(pruned)) == len(facts.block_norms) * SHAPE.layers + 1
    torch.testing.assert_close(logits_of(pruned), logits_of(model), rtol=1e-4, atol=1e-4)


# Order


def permutation(size: int, seed: int) -> torch.Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


def permuted_heads(seed: int) -> torch.Tensor:
    """A new order of the query heads inside each of the two key-value groups."""
    return torch.cat([permutation(3, seed), 3 + permutation(3, seed + 1)])


def reordering(seed: int) -> Kept:
    return Kept(
        None,
        permutation(SHAPE.hidden_size, seed),
        [permutation(SHAPE.ffn_size, seed + i) for i in range(SHAPE.layers)],
        [permuted_heads(seed + i) for i in range(SHAPE.layers)],
    )


@pytest.mark.parametrize("variant", ["tied", "untied", "biased"])
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_channels_neurons_and_heads_does_not_matter_to_the_model(variant: str, seed: int) -> None:
    model = tiny_model(**VARIANTS[variant])
    shuffled = cut_model(model, reordering(seed))
    assert not same_tensors(weights_of(shuffled), weights_of(model))
    torch.testing.assert_close(logits_of(shuffled), logits_of(model), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("variant", ["tied", "untied", "biased"])
def test_reordering_then_pruning_gives_the_reordered_pruned_model(variant: str) -> None:
    model, order = tiny_model(**VARIANTS[variant]), reordering(7)
    pruned_later = cut_model(cut_model(model, order), WIDTH)
    at_once = Kept(
        None,
        order.hidden[HIDDEN],
        [neurons[kept] for neurons, kept in zip(order.ffn, FFN, strict=True)],
        [heads[kept] for heads, kept in zip(order.heads, HEADS, strict=True)],
    )
    assert same_tensors(weights_of(pruned_later), weights_of(cut_model(model, at_once)))


def test_pruning_blocks_twice_is_pruning_them_once() -> None:
    model = tiny_model()
    twice = cut_model(cut_model(model, Kept([0, 2, 3])), Kept([1, 2]))
    assert same_tensors(weights_of(twice), weights_of(cut_model(model, Kept([2, 3]))))


@pytest.mark.parametrize("kept", [[0], [3], [1, 3], [0, 1, 2]])
def test_kept_blocks_are_the_parents_own_in_order(kept: list[int]) -> None:
    model = tiny_model(tie_embeddings=False)
    expected = deepcopy(model)
    expected.model.layers = torch.nn.ModuleList(expected.model.layers[i] for i in kept)
    expected.config.num_hidden_layers = len(kept)
    pruned = cut_model(model, Kept(kept))
    assert pruned.config.num_hidden_layers == len(kept)
    assert same_tensors(weights_of(pruned), weights_of(expected))


# Every tensor


def test_every_weight_and_bias_is_cut_along_its_own_axes() -> None:
    model = tiny_model(tie_embeddings=False, **VARIANTS["biased"])
    parent, pruned = weights_of(model), weights_of(cut_model(model, WIDTH))
    expected = {name: parent[name][:, HIDDEN] for name in ("model.embed_tokens.weight", "lm_head.weight")}
    expected["model.norm.weight"] = parent["model.norm.weight"][HIDDEN]
    for i in range(SHAPE.layers):
        queries = torch.tensor([h * SHAPE.head_dim + d for h in HEADS[i].tolist() for d in range(SHAPE.head_dim)])
        keys = torch.arange(SHAPE.kv_heads * SHAPE.head_dim)
        axes = {
            "self_attn.q_proj": (queries, HIDDEN),
            "self_attn.k_proj": (keys, HIDDEN),
            "self_attn.v_proj": (keys, HIDDEN),
            "self_attn.o_proj": (HIDDEN, queries),
            "mlp.gate_proj": (FFN[i], HIDDEN),
            "mlp.up_proj": (FFN[i], HIDDEN),
            "mlp.down_proj": (HIDDEN, FFN[i]),
        }
        for name, (rows, columns) in axes.items():
            prefix = f"model.layers.{i}.{name}"
            expected[f"{prefix}.weight"] = parent[f"{prefix}.weight"][rows][:, columns]
            expected[f"{prefix}.bias"] = parent[f"{prefix}.bias"][rows]
        for norm in ("input_layernorm", "post_attention_layernorm"):
            name = f"model.layers.{i}.{norm}.weight"
            expected[name] = parent[name][HIDDEN]
    assert same_tensors(pruned, expected)


def test_tied_embeddings_stay_one_tensor_and_are_cut_once(tmp_path: Path) -> None:
    model = tiny_model()
    pruned = cut_model(model, WIDTH)
    assert pruned.lm_head.weight is pruned.model.embed_tokens.weight
    assert torch.equal(pruned.lm_head.weight, model.model.embed_tokens.weight[:, HIDDEN])
    save_model(pruned, tmp_path, tokenizer=tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert "model.embed_tokens.weight" in stored
    assert "lm_head.weight" not in stored
    assert sum(w.numel() for w in stored.values()) == shape_of(pruned.config).params_total


def test_untied_embeddings_stay_two_tensors() -> None:
    pruned = cut_model(tiny_model(tie_embeddings=False), WIDTH)
    assert not torch.equal(pruned.lm_head.weight, pruned.model.embed_tokens.weight)


# Key-value heads

GROUPS = [torch.tensor(heads) for heads in ([0, 1, 2], [3, 4, 5], [0, 1, 2], [3, 4, 5])]
"""In each block, the query heads of one of the two key-value heads."""


def test_a_key_value_head_stays_as_long_as_one_of_its_query_heads_does() -> None:
    shape = replace(SHAPE, heads=12, kv_heads=4)
    for heads, expected in (([0, 1, 2], [0]), ([2, 3], [0, 1]), ([11], [3]), ([0, 4, 5, 10], [0, 1, 3])):
        assert kept_kv_heads(torch.tensor(heads), shape).tolist() == expected


@pytest.mark.parametrize("kind", ["tied", "untied", "biased", "mistral"])
def test_key_value_groups_that_write_nothing_can_go(kind: str) -> None:
    model = tiny_model(**VARIANTS[kind])
    for block, kept in zip(model.model.layers, GROUPS, strict=True):
        columns = head_channels(without(kept, SHAPE.heads), SHAPE.head_dim)
        silence(block.self_attn.o_proj.weight, slice(None), columns)
    pruned = cut_model(model, Kept(heads=GROUPS))
    assert type(pruned) is type(model)
    assert (shape_of(pruned.config).heads, shape_of(pruned.config).kv_heads) == (3, 1)
    assert pruned.model.layers[0].self_attn.k_proj.weight.shape == (SHAPE.head_dim, SHAPE.hidden_size)
    torch.testing.assert_close(logits_of(pruned), logits_of(model), rtol=1e-4, atol=1e-4)


def test_a_groups_keys_and_values_are_its_own() -> None:
    model = tiny_model(**VARIANTS["biased"])
    pruned = cut_model(model, Kept(heads=GROUPS))
    for i, rows in enumerate((slice(0, 8), slice(8, 16), slice(0, 8), slice(8, 16))):
        for name in ("k_proj", "v_proj"):
            whole, cut = (m.model.layers[i].self_attn.get_submodule(name) for m in (model, pruned))
            assert torch.equal(cut.weight, whole.weight[rows])
            assert torch.equal(cut.bias, whole.bias[rows])


# Blocks and channels at once


@each_variant
def test_blocks_and_channels_cut_at_once_equal_those_cut_in_turn(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    heads = None if variant == "head_dim 2" else HEADS[:3]
    at_once = cut_model(model, Kept([0, 2, 3], HIDDEN, FFN[:3], heads))
    depth_first = cut_model(cut_model(model, Kept([0, 2, 3])), Kept(None, HIDDEN, FFN[:3], heads))
    spread = [None if heads is None else heads[i] for i in (0, 0, 1, 2)]
    width_first = cut_model(
        cut_model(model, Kept(None, HIDDEN, [FFN[0], FFN[0], FFN[1], FFN[2]], None if heads is None else spread)),
        Kept([0, 2, 3]),
    )
    assert same_tensors(weights_of(at_once), weights_of(depth_first))
    assert same_tensors(weights_of(at_once), weights_of(width_first))
    assert shape_of(at_once.config) == kept_shape(shape_of(model.config), Kept([0, 2, 3], HIDDEN, FFN[:3], heads))


def test_the_kept_shape_is_that_of_the_indices() -> None:
    assert kept_shape(SHAPE, Kept()) == kept_shape(SHAPE, keep_all(SHAPE)) == SHAPE
    smaller = replace(SHAPE, layers=3, hidden_size=12, ffn_size=30, heads=4)
    assert kept_shape(SHAPE, DEPTH_AND_WIDTH) == smaller
    assert kept_shape(SHAPE, Kept(heads=GROUPS)) == replace(SHAPE, heads=3, kv_heads=1)
    assert kept_blocks(SHAPE, Kept()) == [0, 1, 2, 3]
    assert kept_blocks(SHAPE, DEPTH_AND_WIDTH) == [0, 2, 3]


@pytest.mark.parametrize("kept", [Kept(), Kept([1]), WIDTH, DEPTH_AND_WIDTH, Kept(heads=GROUPS)])
def test_what_is_kept_survives_json(kept: Kept) -> None:
    values = json.loads(json.dumps(kept.to_dict()))
    again = Kept.from_dict(values)
    model = tiny_model()
    assert again.to_dict() == values
    assert same_tensors(weights_of(cut_model(model, again)), weights_of(cut_model(model, kept)))


def test_what_is_kept_whole_is_not_written_and_dropped_blocks_are_the_others() -> None:
    assert Kept().to_dict() == {} == Kept().dropped(SHAPE)
    assert WIDTH.to_dict().keys() == {"hidden", "ffn", "heads"}
    assert WIDTH.dropped(SHAPE) == {}
    assert DEPTH_AND_WIDTH.to_dict()["heads"] == [[0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5]]
    assert DEPTH_AND_WIDTH.dropped(SHAPE) == {"blocks": [1]}


@each_variant
@pytest.mark.parametrize("training", [False, True])
def test_the_model_that_is_cut_is_left_alone(variant: str, training: bool) -> None:
    model = tiny_model(**VARIANTS[variant]).train(training)
    before, config = weights_of(model), model.config.to_dict()
    for kept in (Kept(), Kept([1, 2]), Kept(hidden=HIDDEN, ffn=FFN)):
        pruned = cut_model(model, kept)
        assert pruned.training == model.training == training
        with torch.no_grad():
            for parameter in pruned.parameters():
                parameter.zero_()
    assert same_tensors(weights_of(model), before)
    assert model.config.to_dict() == config


# The exported checkpoint


@pytest.mark.parametrize("variant", ["tied", "untied", "biased"])
def test_an_exported_model_loads_as_a_plain_checkpoint_with_equal_logits(variant: str, tmp_path: Path) -> None:
    pruned = cut_model(tiny_model(**VARIANTS[variant]), DEPTH_AND_WIDTH)
    save_model(pruned, tmp_path, tokenizer=tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True).eval()
    assert type(loaded) is LlamaForCausalLM
    assert torch.equal(logits_of(loaded), logits_of(pruned))


def test_an_exported_configuration_keeps_what_pruning_does_not_touch(tmp_path: Path) -> None:
    model = tiny_model(attention_bias=True, norm_eps=3e-6, rope_theta=500_000.0)
    model.config.update({"eos_token_id": 7, "max_position_embeddings": 321, "attention_dropout": 0.25})
    before = model.config.to_dict()
    save_model(cut_model(model, WIDTH), tmp_path, tokenizer=tmp_path)
    after = json.loads((tmp_path / "config.json").read_text())
    changed = {"hidden_size": 12, "intermediate_size": 30, "num_attention_heads": 4}
    assert after["head_dim"] == SHAPE.head_dim
    assert {key: after[key] for key in changed} == changed
    kept = after.keys() & before.keys() - changed.keys() - {"architectures", "transformers_version", "dtype"}
    assert {"eos_token_id", "max_position_embeddings", "attention_dropout", "attention_bias", "rope_parameters"} <= kept
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
