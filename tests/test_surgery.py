"""Cutting a model down changes nothing but what was cut."""

import json
import math
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from models import SHAPE, VARIANTS, keep_all, logits_of, same_tensors, tiny_llama, weights_of
from pruning_vs_scratch.models.checkpoint import save_llama
from pruning_vs_scratch.models.llama import shape_of
from pruning_vs_scratch.pruning.surgery import KeptWidth, head_channels, keep_blocks, keep_width

each_variant = pytest.mark.parametrize("variant", VARIANTS)

HIDDEN = torch.tensor([1, 2, 4, 7, 8, 11, 13, 14, 16, 19, 20, 23])
FFN = [torch.tensor([i for i in range(SHAPE.ffn_size) if i % 4 != layer]) for layer in range(SHAPE.layers)]
HEADS = [torch.tensor(heads) for heads in ([0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5], [0, 1, 4, 5])]


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
    model = tiny_llama(**VARIANTS[variant])
    same = keep_width(model, keep_all(shape_of(model.config)))
    assert same_tensors(weights_of(same), weights_of(model))
    assert torch.equal(logits_of(same), logits_of(model))


@each_variant
def test_keeping_every_block_keeps_the_model(variant: str) -> None:
    model = tiny_llama(**VARIANTS[variant])
    same = keep_blocks(model, list(range(SHAPE.layers)))
    assert same_tensors(weights_of(same), weights_of(model))
    assert torch.equal(logits_of(same), logits_of(model))


# Silent parts can go without a trace


@each_variant
def test_neurons_that_write_nothing_can_go(variant: str) -> None:
    model = tiny_llama(**VARIANTS[variant])
    for block, kept in zip(model.model.layers, FFN, strict=True):
        silence(block.mlp.down_proj.weight, slice(None), without(kept, SHAPE.ffn_size))
    pruned = keep_width(model, replace(keep_all(shape_of(model.config)), ffn=FFN))
    assert shape_of(pruned.config).ffn_size == 30
    torch.testing.assert_close(logits_of(pruned), logits_of(model), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", ["tied", "untied", "biased"])
def test_heads_that_write_nothing_can_go(variant: str) -> None:
    model = tiny_llama(**VARIANTS[variant])
    for block, kept in zip(model.model.layers, HEADS, strict=True):
        columns = head_channels(without(kept, SHAPE.heads), SHAPE.head_dim)
        silence(block.self_attn.o_proj.weight, slice(None), columns)
    pruned = keep_width(model, replace(keep_all(shape_of(model.config)), heads=HEADS))
    assert (shape_of(pruned.config).heads, shape_of(pruned.config).kv_heads) == (4, 2)
    torch.testing.assert_close(logits_of(pruned), logits_of(model), rtol=1e-4, atol=1e-4)


@each_variant
def test_blocks_that_write_nothing_can_go(variant: str) -> None:
    model = tiny_llama(**VARIANTS[variant])
    for i in (1, 2):
        for linear in (model.model.layers[i].self_attn.o_proj, model.model.layers[i].mlp.down_proj):
            silence(linear.weight, slice(None))
            silence(linear.bias, slice(None))
    assert torch.equal(logits_of(keep_blocks(model, [0, 3])), logits_of(model))


def norms_of(model: LlamaForCausalLM) -> list[torch.nn.Module]:
    return [module for name, module in model.named_modules() if name.endswith("norm")]


@each_variant
def test_residual_channels_that_nobody_writes_can_go_once_the_norms_divide_by_fewer(variant: str) -> None:
    """RMSNorm takes its mean over all channels.

    Of d channels k stay and the others are zero, so the mean square grows by d / k. With eps grown alike, the norm's
    output shrinks by sqrt(d / k), which its weights make good.
    """
    model = tiny_llama(**VARIANTS[variant])
    silent = without(HIDDEN, SHAPE.hidden_size)
    silence(model.model.embed_tokens.weight, slice(None), silent)
    for block in model.model.layers:
        for linear in (block.self_attn.o_proj, block.mlp.down_proj):
            silence(linear.weight, silent)
            silence(linear.bias, silent)
    pruned = keep_width(model, replace(keep_all(shape_of(model.config)), hidden=HIDDEN))
    growth = SHAPE.hidden_size / len(HIDDEN)
    for norm in norms_of(pruned):
        norm.variance_epsilon *= growth
        norm.weight.data *= math.sqrt(growth)
    assert len(norms_of(pruned)) == 2 * SHAPE.layers + 1
    torch.testing.assert_close(logits_of(pruned), logits_of(model), rtol=1e-4, atol=1e-4)


# Order


def permutation(size: int, seed: int) -> torch.Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


def permuted_heads(seed: int) -> torch.Tensor:
    """A new order of the query heads inside each of the two key-value groups."""
    return torch.cat([permutation(3, seed), 3 + permutation(3, seed + 1)])


def reordering(seed: int) -> KeptWidth:
    return KeptWidth(
        permutation(SHAPE.hidden_size, seed),
        [permutation(SHAPE.ffn_size, seed + i) for i in range(SHAPE.layers)],
        [permuted_heads(seed + i) for i in range(SHAPE.layers)],
    )


@pytest.mark.parametrize("variant", ["tied", "untied", "biased"])
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_channels_neurons_and_heads_does_not_matter_to_the_model(variant: str, seed: int) -> None:
    model = tiny_llama(**VARIANTS[variant])
    shuffled = keep_width(model, reordering(seed))
    assert not same_tensors(weights_of(shuffled), weights_of(model))
    torch.testing.assert_close(logits_of(shuffled), logits_of(model), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("variant", ["tied", "untied", "biased"])
def test_reordering_then_pruning_gives_the_reordered_pruned_model(variant: str) -> None:
    model, order = tiny_llama(**VARIANTS[variant]), reordering(7)
    pruned_later = keep_width(keep_width(model, order), KeptWidth(HIDDEN, FFN, HEADS))
    at_once = KeptWidth(
        order.hidden[HIDDEN],
        [neurons[kept] for neurons, kept in zip(order.ffn, FFN, strict=True)],
        [heads[kept] for heads, kept in zip(order.heads, HEADS, strict=True)],
    )
    assert same_tensors(weights_of(pruned_later), weights_of(keep_width(model, at_once)))


def test_pruning_blocks_twice_is_pruning_them_once() -> None:
    model = tiny_llama()
    twice = keep_blocks(keep_blocks(model, [0, 2, 3]), [1, 2])
    assert same_tensors(weights_of(twice), weights_of(keep_blocks(model, [2, 3])))


@pytest.mark.parametrize("kept", [[0], [3], [1, 3], [0, 1, 2]])
def test_kept_blocks_are_the_parents_own_in_order(kept: list[int]) -> None:
    model = tiny_llama(tie_embeddings=False)
    expected = deepcopy(model)
    expected.model.layers = torch.nn.ModuleList(expected.model.layers[i] for i in kept)
    expected.config.num_hidden_layers = len(kept)
    pruned = keep_blocks(model, kept)
    assert pruned.config.num_hidden_layers == len(kept)
    assert same_tensors(weights_of(pruned), weights_of(expected))


# Every tensor


def test_every_weight_and_bias_is_cut_along_its_own_axes() -> None:
    model = tiny_llama(tie_embeddings=False, **VARIANTS["biased"])
    parent, pruned = weights_of(model), weights_of(keep_width(model, KeptWidth(HIDDEN, FFN, HEADS)))
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
    model = tiny_llama()
    pruned = keep_width(model, KeptWidth(HIDDEN, FFN, HEADS))
    assert pruned.lm_head.weight is pruned.model.embed_tokens.weight
    assert torch.equal(pruned.lm_head.weight, model.model.embed_tokens.weight[:, HIDDEN])
    save_llama(pruned, tmp_path, tokenizer=tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert "model.embed_tokens.weight" in stored
    assert "lm_head.weight" not in stored
    assert sum(w.numel() for w in stored.values()) == shape_of(pruned.config).params_total


def test_untied_embeddings_stay_two_tensors() -> None:
    pruned = keep_width(tiny_llama(tie_embeddings=False), KeptWidth(HIDDEN, FFN, HEADS))
    assert not torch.equal(pruned.lm_head.weight, pruned.model.embed_tokens.weight)


# The exported checkpoint


@pytest.mark.parametrize("variant", ["tied", "untied", "biased"])
def test_an_exported_model_loads_as_a_plain_checkpoint_with_equal_logits(variant: str, tmp_path: Path) -> None:
    model = keep_blocks(tiny_llama(**VARIANTS[variant]), [0, 2, 3])
    pruned = keep_width(model, KeptWidth(HIDDEN, FFN[:3], HEADS[:3]))
    save_llama(pruned, tmp_path, tokenizer=tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True).eval()
    assert type(loaded) is LlamaForCausalLM
    assert torch.equal(logits_of(loaded), logits_of(pruned))


def test_an_exported_configuration_keeps_what_pruning_does_not_touch(tmp_path: Path) -> None:
    model = tiny_llama(attention_bias=True, norm_eps=3e-6, rope_theta=500_000.0)
    model.config.update({"eos_token_id": 7, "max_position_embeddings": 321, "attention_dropout": 0.25})
    before = model.config.to_dict()
    save_llama(keep_width(model, KeptWidth(HIDDEN, FFN, HEADS)), tmp_path, tokenizer=tmp_path)
    after = json.loads((tmp_path / "config.json").read_text())
    changed = {"hidden_size": 12, "intermediate_size": 30, "num_attention_heads": 4}
    assert after["head_dim"] == SHAPE.head_dim
    assert {key: after[key] for key in changed} == changed
    kept = after.keys() & before.keys() - changed.keys() - {"architectures", "transformers_version", "dtype"}
    assert {"eos_token_id", "max_position_embeddings", "attention_dropout", "attention_bias", "rope_parameters"} <= kept
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
