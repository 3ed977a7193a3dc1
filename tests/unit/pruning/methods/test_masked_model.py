"""A masked Llama is that of the paper's equations, and the plain one that its masks fold into."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from mask_goals import (
    FEWER_GROUPS,
    FEWER_HEADS,
    GOALS,
    PARENT,
    both_heads,
    each_goal,
    each_variant,
    seeded,
    shape_masks,
    tensors_of,
)
from models import VARIANTS, tiny_config
from pruning_vs_scratch.models.decoder import shape_of
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.methods.sheared_llama.masked_model import folded, masking
from pruning_vs_scratch.pruning.methods.sheared_llama.shape_masks import Masks
from pruning_vs_scratch.pruning.surgery import cut_model, kept_shape
from pruning_vs_scratch.study.shape import ModelShape


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def randomised(model: Any) -> Any:
    """A model in which no weight, norm or bias is at a neutral value."""
    generator = seeded(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.3 * noise if "norm" in name else 0.15 * noise)
    return model.eval()


def tiny_model(**changes: Any) -> Any:
    return randomised(AutoModelForCausalLM.from_config(tiny_config(norm_eps=PARENT.norm_eps, **changes)))


TOKENS = torch.randint(PARENT.vocab_size, (3, 11), generator=seeded(1))


def logits_of(model: Any) -> torch.Tensor:
    return model(input_ids=TOKENS, use_cache=False).logits


def masked_logits(model: Any, masks: Masks) -> torch.Tensor:
    with torch.no_grad(), masking(model, masks):
        return logits_of(model)


def folded_and_cut(model: Any, masks: Masks, kept: Kept) -> Any:
    whole = copy.deepcopy(model)
    whole.load_state_dict(folded(model.state_dict(), masks, shape_of(model.config)))
    return cut_model(whole, kept)


def close(left: torch.Tensor, right: torch.Tensor) -> None:
    assert left.abs().mean() > 0.05
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


def all_ones(shape: ModelShape) -> Masks:
    ffn, heads = torch.ones(shape.layers, shape.ffn_size), torch.ones(shape.layers, shape.heads)
    return Masks(torch.ones(shape.hidden_size), ffn, heads, torch.ones(shape.layers))


@each_variant
@pytest.mark.parametrize("masks", [Masks(), all_ones(PARENT)], ids=["none", "ones"])
@torch.no_grad()
def test_masks_of_ones_change_no_bit(variant: str, masks: Masks) -> None:
    model = tiny_model(**VARIANTS[variant])
    assert torch.equal(masked_logits(model, masks), logits_of(model))


@each_variant
@each_goal
@torch.no_grad()
def test_the_folded_and_cut_model_has_the_masked_models_logits(variant: str, goal: str) -> None:
    model, learned = tiny_model(**VARIANTS[variant]), shape_masks(GOALS[goal])
    masks = learned.deterministic()
    cut = folded_and_cut(model, masks, learned.kept())
    assert kept_shape(PARENT, learned.kept()) == replace(PARENT, **GOALS[goal])
    close(logits_of(cut), masked_logits(model, masks))
    assert (masked_logits(model, masks) - logits_of(model)).abs().mean() > 0.01


@each_variant
@each_goal
@torch.no_grad()
def test_masks_of_0_and_1_only_cut(variant: str, goal: str) -> None:
    model, learned = tiny_model(**VARIANTS[variant]), shape_masks(GOALS[goal])
    masks = Masks(**{name: (values > 0).float() for name, values in tensors_of(learned.deterministic()).items()})
    close(logits_of(cut_model(model, learned.kept())), masked_logits(model, masks))


def by_the_book(model: LlamaForCausalLM, masks: Masks) -> torch.Tensor:
    """Logits by the equations, head by head, over the open channels of the residual stream alone."""
    shape, inner = PARENT, model.model
    is_open = masks.hidden != 0
    hidden, positions = masks.hidden[is_open], torch.arange(TOKENS.shape[1])
    cos, sin = (values[0] for values in inner.rotary_emb(torch.zeros(1), positions[None]))

    def norm(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        """All channels of the normalised stream, the closed ones 0."""
        y = x / (x.square().mean(-1, keepdim=True) + shape.norm_eps).sqrt()
        wide = torch.zeros(*x.shape[:-1], len(is_open))
        wide[..., is_open] = y * module.weight[is_open] * hidden
        return wide

    def rotated(x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-second, first], dim=-1) * sin

    def attention(module: Any, x: torch.Tensor, heads: torch.Tensor) -> torch.Tensor:
        query, key, value = module.q_proj(x), module.k_proj(x), module.v_proj(x)
        outputs, size = [], shape.head_dim
        for head in range(shape.heads):
            group = head // (shape.heads // shape.kv_heads)
            q = rotated(query[..., head * size : (head + 1) * size])
            k, v = rotated(key[..., group * size : (group + 1) * size]), value[..., group * size : (group + 1) * size]
            scores = (q @ k.transpose(-1, -2)) / math.sqrt(size)
            scores = scores.masked_fill(positions[:, None] < positions, -math.inf)
            outputs.append(scores.softmax(-1) @ v * heads[head])
        return module.o_proj(torch.cat(outputs, dim=-1))

    x = inner.embed_tokens(TOKENS)[..., is_open] * hidden
    for i, block in enumerate(inner.layers):
        written = attention(block.self_attn, norm(block.input_layernorm, x), masks.heads[i])
        x = x + written[..., is_open] * hidden * masks.layers[i]
        y = norm(block.post_attention_layernorm, x)
        neurons = torch.nn.functional.silu(block.mlp.gate_proj(y)) * block.mlp.up_proj(y) * masks.ffn[i]
        x = x + block.mlp.down_proj(neurons)[..., is_open] * hidden * masks.layers[i]
    return norm(inner.norm, x) @ model.lm_head.weight.T


@each_variant
@both_heads
@torch.no_grad()
def test_the_masked_model_is_the_one_of_the_equations(variant: str, goal: dict[str, Any]) -> None:
    model, learned = tiny_model(**VARIANTS[variant]), shape_masks(goal)
    for masks in (learned.sample(seeded(5)), learned.deterministic(), all_ones(PARENT)):
        close(masked_logits(model, masks), by_the_book(model, masks))


def test_a_model_without_an_open_channel_outputs_nothing() -> None:
    closed = Masks(hidden=torch.zeros(PARENT.hidden_size))
    assert not masked_logits(tiny_model(), closed).any()


def gradients(logits: Callable[[Masks], torch.Tensor], goal: dict[str, Any]) -> dict[str, torch.Tensor]:
    learned = shape_masks(goal)
    (logits(learned.sample(seeded(6))) * torch.randn(3, 11, PARENT.vocab_size, generator=seeded(7))).sum().backward()
    return {name: values.grad for name, values in learned.log_alpha.items()}


@both_heads
def test_gradients_reach_every_mask_and_are_those_of_the_equations(goal: dict[str, Any]) -> None:
    model = tiny_model(**VARIANTS["biased"])

    def masked(masks: Masks) -> torch.Tensor:
        with masking(model, masks):
            return logits_of(model)

    found, expected = gradients(masked, goal), gradients(lambda masks: by_the_book(model, masks), goal)
    assert found.keys() == {"hidden", "ffn", "heads", "layers"}
    for name, gradient in found.items():
        assert gradient.count_nonzero() > gradient.numel() / 4
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-4)


def test_gradients_survive_checkpointing() -> None:
    model, goal = tiny_model(), FEWER_HEADS

    def masked(masks: Masks) -> torch.Tensor:
        with masking(model, masks):
            return logits_of(model)

    expected = gradients(masked, goal)
    model.activation_checkpointing_enable()
    model.train()
    learned = shape_masks(goal)
    masks = learned.sample(seeded(6))
    with masking(model, masks):
        loss = (logits_of(model) * torch.randn(3, 11, PARENT.vocab_size, generator=seeded(7))).sum()
        loss.backward()
    for name, values in learned.log_alpha.items():
        torch.testing.assert_close(values.grad, expected[name])


def hooks_of(model: Any) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@torch.no_grad()
def test_the_model_is_as_before_after_the_masks() -> None:
    model, learned = tiny_model(), shape_masks(FEWER_HEADS)
    before, weights = logits_of(model), copy.deepcopy(model.state_dict())
    assert not torch.equal(masked_logits(model, learned.deterministic()), before)
    assert torch.equal(logits_of(model), before)
    assert hooks_of(model) == 0
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


def test_hooks_go_after_an_exception_too() -> None:
    model, masks = tiny_model(), shape_masks(FEWER_HEADS).deterministic()
    with pytest.raises(KeyError), masking(model, masks):
        assert hooks_of(model) > 0
        raise KeyError
    assert hooks_of(model) == 0
    too_few = replace(masks, ffn=masks.ffn[:2])
    with pytest.raises(IndexError), masking(model, too_few):
        pass
    assert hooks_of(model) == 0


# Folding


@torch.no_grad()
def test_folding_changes_only_what_masks_scale_and_no_tensor_in_place() -> None:
    model, masks = tiny_model(tie_embeddings=False, **VARIANTS["biased"]), shape_masks(FEWER_HEADS).deterministic()
    tensors = copy.deepcopy(model.state_dict())
    found = folded(model.state_dict(), masks, replace(PARENT, tie_embeddings=False))
    assert all(torch.equal(tensors[name], tensor) for name, tensor in model.state_dict().items())
    changed = {name for name, tensor in tensors.items() if not torch.equal(found[name], tensor)}
    scaled = {f"model.layers.{i}.{name}" for i in range(4) for name in (
        "input_layernorm.weight", "post_attention_layernorm.weight", "self_attn.o_proj.weight",
        "self_attn.o_proj.bias", "mlp.down_proj.weight", "mlp.down_proj.bias",
    )}  # fmt: skip
    assert changed == scaled | {"model.embed_tokens.weight", "model.norm.weight"}


@torch.no_grad()
def test_tied_weights_stay_tied_and_a_part_folds_like_the_whole() -> None:
    tensors, masks = tiny_model().state_dict(), shape_masks(FEWER_GROUPS).sample(seeded(0))
    whole = folded(tensors, masks, PARENT)
    assert torch.equal(whole["lm_head.weight"], whole["model.embed_tokens.weight"])
    assert torch.equal(whole["model.norm.weight"], tensors["model.norm.weight"])
    name = "model.layers.2.self_attn.o_proj.weight"
    assert torch.equal(folded({name: tensors[name]}, masks, PARENT)[name], whole[name])
    scale = (masks.hidden * masks.layers[2])[:, None] * masks.heads[2].repeat_interleave(8)
    torch.testing.assert_close(whole[name], tensors[name] * scale)


@torch.no_grad()
def test_folding_keeps_the_weights_dtype_and_rounds_once() -> None:
    masks = shape_masks(FEWER_HEADS).sample(seeded(0))
    tensors = {name: tensor.bfloat16() for name, tensor in tiny_model().state_dict().items()}
    exact = folded({name: tensor.float() for name, tensor in tensors.items()}, masks, PARENT)
    for name, tensor in folded(tensors, masks, PARENT).items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, exact[name].bfloat16())


@torch.no_grad()
def test_a_bf16_model_runs_masked_in_bf16() -> None:
    model, masks = tiny_model(), shape_masks(FEWER_HEADS).deterministic()
    exact = masked_logits(model, masks)
    rounded = masked_logits(model.bfloat16(), masks)
    assert rounded.dtype == torch.bfloat16
    assert (rounded - exact).norm() < 0.03 * exact.norm()
