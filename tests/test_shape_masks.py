"""Learned masks lead to the goal's shape, and a masked Llama is the plain one that its masks fold into."""

import copy
import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM, MistralConfig, MistralForCausalLM

from models import SHAPE, VARIANTS
from pruning_vs_scratch.models.llama import llama_config
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.methods.masked_llama import folded, masking
from pruning_vs_scratch.pruning.methods.shape_masks import Masks, ShapeMasks
from pruning_vs_scratch.pruning.surgery import cut_model, kept_shape
from pruning_vs_scratch.study.shape import ModelShape

PARENT = replace(SHAPE, norm_eps=1e-2)
"""Three query heads a key-value head; an eps that is felt."""
FEWER_HEADS: dict[str, Any] = {"hidden_size": 15, "ffn_size": 23, "heads": 4, "layers": 3}
"""Of each group one query head goes."""
FEWER_GROUPS: dict[str, Any] = {"hidden_size": 15, "ffn_size": 23, "heads": 3, "kv_heads": 1, "layers": 3}
"""One of the two groups goes."""
GOALS: dict[str, dict[str, Any]] = {
    "all, query heads": FEWER_HEADS,
    "all, groups": FEWER_GROUPS,
    "hidden": {"hidden_size": 10},
    "ffn": {"ffn_size": 9},
    "query heads": {"heads": 2},
    "groups": {"heads": 3, "kv_heads": 1},
    "layers": {"layers": 2},
}
each_goal = pytest.mark.parametrize("goal", GOALS)
each_variant = pytest.mark.parametrize("variant", ["tied", "untied", "biased"])
both_heads = pytest.mark.parametrize("goal", [FEWER_HEADS, FEWER_GROUPS], ids=["query heads", "groups"])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shape_masks(goal: dict[str, Any], **changes: Any) -> ShapeMasks:
    """Masks from ``PARENT`` to a goal, with log alphas far apart."""
    parent = replace(PARENT, **changes)
    masks = ShapeMasks(parent, replace(parent, **goal), seed=0)
    with torch.no_grad():
        for position, log_alpha in enumerate(masks.mask_parameters()):
            log_alpha.copy_(torch.randn(log_alpha.shape, generator=seeded(position)))
    return masks


def tensors_of(masks: Masks) -> dict[str, torch.Tensor]:
    """The masks that there are, by dimension."""
    values = {field.name: getattr(masks, field.name) for field in fields(masks)}
    return {name: value for name, value in values.items() if value is not None}


def same(left: Masks, right: Masks) -> bool:
    pairs = tensors_of(left), tensors_of(right)
    return pairs[0].keys() == pairs[1].keys() and all(torch.equal(pairs[0][name], pairs[1][name]) for name in pairs[0])


# Shapes and counts


def test_only_dimensions_that_shrink_have_masks() -> None:
    shapes = {
        goal: {name: tuple(values.shape) for name, values in shape_masks(GOALS[goal]).log_alpha.items()}
        for goal in GOALS
    }
    outside = {"hidden": (24,), "ffn": (4, 40), "layers": (4,)}
    assert shapes == {
        "all, query heads": outside | {"heads": (4, 2, 3)},
        "all, groups": outside | {"heads": (4, 2)},
        "hidden": {"hidden": (24,)},
        "ffn": {"ffn": (4, 40)},
        "query heads": {"heads": (4, 2, 3)},
        "groups": {"heads": (4, 2)},
        "layers": {"layers": (4,)},
    }


@both_heads
def test_masks_have_the_shapes_of_the_model(goal: dict[str, Any]) -> None:
    learned = shape_masks(goal)
    expected = {"hidden": (24,), "ffn": (4, 40), "heads": (4, 6), "layers": (4,)}
    for masks in (learned.sample(seeded(0)), learned.deterministic()):
        assert {name: tuple(values.shape) for name, values in tensors_of(masks).items()} == expected


@each_goal
def test_deterministic_masks_have_the_goals_counts(goal: str) -> None:
    masks = tensors_of(shape_masks(GOALS[goal]).deterministic())
    wanted = {"hidden": "hidden_size", "ffn": "ffn_size", "heads": "heads", "layers": "layers"}
    assert masks.keys() == {name for name, size in wanted.items() if size in GOALS[goal]}
    for name, values in masks.items():
        counts = (values > 0).sum(dim=-1)
        assert (counts == GOALS[goal][wanted[name]]).all()


def test_every_group_keeps_equally_many_query_heads() -> None:
    heads = shape_masks({"heads": 4}).deterministic().heads.view(4, 2, 3)
    assert ((heads > 0).sum(dim=2) == 2).all()
    assert len({tuple(row.tolist()) for row in (heads > 0).flatten(1)}) > 1


def test_groups_go_as_a_whole_and_query_heads_share_their_mask() -> None:
    learned = shape_masks({"heads": 3, "kv_heads": 1})
    for masks in (learned.deterministic(), learned.sample(seeded(0))):
        groups = masks.heads.view(4, 2, 3)
        assert (groups == groups[..., :1]).all()
        assert not torch.equal(groups[:, 0], groups[:, 1])
    assert ((learned.deterministic().heads.view(4, 2, 3) > 0).all(dim=2).sum(dim=1) == 1).all()


def test_without_groups_a_head_is_a_group() -> None:
    learned = shape_masks({"heads": 3, "kv_heads": 3}, kv_heads=6)
    assert learned.log_alpha["heads"].shape == (4, 6)
    assert ((learned.deterministic().heads > 0).sum(dim=1) == 3).all()


def test_a_query_heads_mask_is_at_its_own_place() -> None:
    learned = shape_masks({"heads": 2})
    with torch.no_grad():
        learned.log_alpha["heads"][0] = torch.tensor([[0.0, 9.0, 0.0], [0.0, 0.0, 9.0]])
    assert learned.deterministic().heads[0].nonzero().flatten().tolist() == [1, 5]


@each_goal
def test_kept_is_what_the_deterministic_masks_leave_open(goal: str) -> None:
    learned = shape_masks(GOALS[goal])
    kept, masks = learned.kept(), learned.deterministic()
    blocks = list(range(4)) if kept.blocks is None else kept.blocks
    found = {"hidden": None if kept.hidden is None else kept.hidden.tolist(), "layers": kept.blocks}
    for name in ("ffn", "heads"):
        rows = getattr(kept, name)
        found[name] = None if rows is None else [row.tolist() for row in rows]
    expected: dict[str, Any] = dict.fromkeys(found)
    for name, values in tensors_of(masks).items():
        if values.ndim == 1:
            expected[name] = [i for i, value in enumerate(values.tolist()) if value > 0]
        else:
            expected[name] = [[i for i, value in enumerate(values[b].tolist()) if value > 0] for b in blocks]
    assert found == expected
    assert kept_shape(PARENT, kept) == replace(PARENT, **GOALS[goal])


# Noise and log alphas


@each_goal
def test_a_seed_gives_the_same_masks_and_another_seed_others(goal: str) -> None:
    learned = shape_masks(GOALS[goal])
    assert same(learned.sample(seeded(3)), learned.sample(seeded(3)))
    assert not same(learned.sample(seeded(3)), learned.sample(seeded(4)))


def test_a_generator_gives_new_masks_each_time() -> None:
    learned, generator = shape_masks(FEWER_HEADS), seeded(3)
    assert not same(learned.sample(generator), learned.sample(generator))


def test_initial_masks_are_open_and_come_from_the_seed() -> None:
    goal = replace(PARENT, **FEWER_HEADS)
    first, again, other = (ShapeMasks(PARENT, goal, seed) for seed in (1, 1, 2))
    for name, values in first.log_alpha.items():
        assert (values - 5).abs().max() < 0.06
        assert values.unique().numel() > 1
        assert torch.equal(values, again.log_alpha[name])
        assert not torch.equal(values, other.log_alpha[name])
    assert min(first.expected_shares().values()) > 0.99


def test_clamping_holds_log_alphas_in_their_range() -> None:
    learned = shape_masks(FEWER_HEADS)
    with torch.no_grad():
        learned.log_alpha["hidden"][:3] = torch.tensor([-50.0, 0.5, 50.0])
        learned.log_alpha["heads"][0] = 70.0
    learned.clamp_()
    assert learned.log_alpha["hidden"][:3].tolist() == pytest.approx([math.log(0.01), 0.5, math.log(100)])
    assert learned.log_alpha["heads"][0].flatten().tolist() == pytest.approx([math.log(100)] * 6)
    assert learned.log_alpha["hidden"].requires_grad


def test_parameters_are_masks_or_multipliers() -> None:
    learned = shape_masks(FEWER_HEADS)
    masks, multipliers = list(learned.mask_parameters()), list(learned.multiplier_parameters())
    assert [id(p) for p in masks] == [id(p) for p in learned.log_alpha.values()]
    assert [tuple(p.shape) for p in multipliers] == [(4,), (4,)]
    assert not any(p.any() for p in multipliers)
    assert {id(p) for p in learned.parameters()} == {id(p) for p in masks + multipliers}


# The penalty


def log_alpha_of(share: float) -> float:
    """The log alpha that is open with a probability."""
    return math.log(share / (1 - share)) + 2 / 3 * math.log(0.1 / 1.1)


def set_shares(learned: ShapeMasks, shares: dict[str, float]) -> None:
    with torch.no_grad():
        for name, share in shares.items():
            learned.log_alpha[name].fill_(log_alpha_of(share))


GOAL_SHARES = {"hidden": 15 / 24, "ffn": 23 / 40, "layers": 3 / 4}
HEAD_SHARES = {"query heads": 4 / 6, "groups": 1 / 2}


def with_multipliers(learned: ShapeMasks, linear: float, square: float) -> ShapeMasks:
    with torch.no_grad():
        learned.linear.fill_(linear)
        learned.square.fill_(square)
    return learned


@pytest.mark.parametrize("heads", HEAD_SHARES)
def test_the_penalty_is_0_at_the_target(heads: str) -> None:
    learned = with_multipliers(shape_masks(GOALS[f"all, {heads}"]), 3.0, 5.0)
    shares = GOAL_SHARES | {"heads": HEAD_SHARES[heads]}
    set_shares(learned, shares)
    assert {name: share.item() for name, share in learned.expected_shares().items()} == pytest.approx(shares)
    assert learned.penalty(1.0).item() == pytest.approx(0, abs=1e-5)
    set_shares(learned, {name: 1 - 0.25 * (1 - share) for name, share in shares.items()})
    assert learned.penalty(0.25).item() == pytest.approx(0, abs=1e-5)


def test_the_penalty_is_its_formula() -> None:
    learned = shape_masks(FEWER_HEADS)
    shares = {"hidden": 0.9, "ffn": 0.3, "heads": 0.8, "layers": 0.6}
    set_shares(learned, shares)
    order = list(learned.expected_shares())
    linear = dict(zip(order, (1.0, -2.0, 3.0, 0.5), strict=True))
    square = dict(zip(order, (4.0, 7.0, 2.0, 9.0), strict=True))
    with torch.no_grad():
        learned.linear.copy_(torch.tensor(list(linear.values())))
        learned.square.copy_(torch.tensor(list(square.values())))
    for progress in (0.0, 0.4, 1.0):
        expected = 0.0
        for name, goal in (GOAL_SHARES | {"heads": 4 / 6}).items():
            excess = shares[name] - (1 + progress * (goal - 1))
            expected += linear[name] * excess + square[name] * excess**2
        assert learned.penalty(progress).item() == pytest.approx(expected, abs=1e-5)


def test_the_linear_term_has_the_sign_of_the_excess_and_the_square_term_none() -> None:
    learned = shape_masks({"hidden_size": 12})
    for share, sign in ((0.8, 1), (0.2, -1)):
        set_shares(learned, {"hidden": share})
        assert with_multipliers(learned, 1.0, 0.0).penalty(1.0).item() == pytest.approx(sign * 0.3, abs=1e-5)
        assert with_multipliers(learned, 0.0, 1.0).penalty(1.0).item() == pytest.approx(0.09, abs=1e-5)


def test_a_block_with_too_few_open_does_not_make_up_for_one_with_too_many() -> None:
    learned = with_multipliers(shape_masks({"ffn_size": 20}), 0.0, 1.0)
    with torch.no_grad():
        learned.log_alpha["ffn"][::2].fill_(log_alpha_of(0.7))
        learned.log_alpha["ffn"][1::2].fill_(log_alpha_of(0.3))
    assert learned.penalty(1.0).item() == pytest.approx(0.04, abs=1e-5)


def test_the_target_falls_linearly_from_the_whole_parent() -> None:
    learned = with_multipliers(shape_masks({"hidden_size": 12}), 1.0, 0.0)
    set_shares(learned, {"hidden": 0.5})
    found = [learned.penalty(progress).item() for progress in (0.0, 0.25, 0.5, 1.0)]
    assert found == pytest.approx([-0.5, -0.375, -0.25, 0.0], abs=1e-5)


@both_heads
def test_the_penaltys_gradients_are_those_of_finite_differences(goal: dict[str, Any]) -> None:
    learned = with_multipliers(shape_masks(goal), 1.5, 4.0).double()
    learned.penalty(0.7).backward()
    step = 1e-5
    for parameter in learned.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.flatten()
        for i in (0, len(flat) - 1):
            before = flat[i].item()
            ends = []
            for moved in (before + step, before - step):
                flat[i] = moved
                ends.append(learned.penalty(0.7).item())
            flat[i] = before
            assert gradient[i].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-9)


# Goals that no masks lead to


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ({}, "nothing to mask"),
        ({"hidden_size": 25}, "hidden_size is 25.*24"),
        ({"ffn_size": 41, "hidden_size": 12}, "ffn_size is 41.*40"),
        ({"layers": 5}, "layers is 5.*4"),
        ({"heads": 8}, "heads is 8.*6"),
        ({"kv_heads": 3}, "kv_heads is 3.*2"),
        ({"layers": 0}, "layers is 0"),
        ({"heads": 3}, "3 query heads do not divide among 2"),
        ({"heads": 2, "kv_heads": 1}, "1 of 2 key-value heads and 2 instead of 3 query heads"),
        ({"kv_heads": 1}, "1 of 2 key-value heads and 6 instead of 3 query heads"),
        ({"hidden_size": 12, "head_dim": 4}, "head_dim is 4"),
    ],
)
def test_a_goal_that_no_masks_lead_to_is_refused(goal: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ShapeMasks(PARENT, replace(PARENT, **goal), seed=0)


def test_a_parent_whose_heads_do_not_divide_is_refused() -> None:
    parent = replace(PARENT, heads=5)
    with pytest.raises(ValueError, match="5 query heads do not divide among 2"):
        ShapeMasks(parent, replace(parent, heads=4), seed=0)


# The masked forward pass


def randomised(model: Any) -> Any:
    """A model in which no weight, norm or bias is at a neutral value."""
    generator = seeded(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.3 * noise if "norm" in name else 0.15 * noise)
    return model.eval()


def tiny_llama(**changes: Any) -> LlamaForCausalLM:
    return randomised(LlamaForCausalLM(llama_config(replace(PARENT, **changes), positions=64)))


def tiny_mistral() -> MistralForCausalLM:
    values = llama_config(PARENT, positions=64).to_dict()
    names = (
        "vocab_size", "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads",
        "num_key_value_heads", "head_dim", "tie_word_embeddings", "rope_parameters", "rms_norm_eps",
    )  # fmt: skip
    return randomised(MistralForCausalLM(MistralConfig(**{name: values[name] for name in names})))


TOKENS = torch.randint(PARENT.vocab_size, (3, 11), generator=seeded(1))


def logits_of(model: Any) -> torch.Tensor:
    return model(input_ids=TOKENS, use_cache=False).logits


def masked_logits(model: Any, masks: Masks) -> torch.Tensor:
    with torch.no_grad(), masking(model, masks):
        return logits_of(model)


def folded_and_cut(model: Any, masks: Masks, kept: Kept) -> Any:
    whole = copy.deepcopy(model)
    whole.load_state_dict(folded(model.state_dict(), masks, model.config.tie_word_embeddings))
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
    model = tiny_llama(**VARIANTS[variant])
    assert torch.equal(masked_logits(model, masks), logits_of(model))


@each_variant
@each_goal
@torch.no_grad()
def test_the_folded_and_cut_model_has_the_masked_models_logits(variant: str, goal: str) -> None:
    model, learned = tiny_llama(**VARIANTS[variant]), shape_masks(GOALS[goal])
    masks = learned.deterministic()
    cut = folded_and_cut(model, masks, learned.kept())
    assert kept_shape(PARENT, learned.kept()) == replace(PARENT, **GOALS[goal])
    close(logits_of(cut), masked_logits(model, masks))
    assert (masked_logits(model, masks) - logits_of(model)).abs().mean() > 0.01


@both_heads
@torch.no_grad()
def test_a_mistral_folds_and_cuts_alike(goal: dict[str, Any]) -> None:
    model, learned = tiny_mistral(), shape_masks(goal)
    cut = folded_and_cut(model, learned.deterministic(), learned.kept())
    assert type(cut) is MistralForCausalLM
    close(logits_of(cut), masked_logits(model, learned.deterministic()))


@each_variant
@each_goal
@torch.no_grad()
def test_masks_of_0_and_1_only_cut(variant: str, goal: str) -> None:
    model, learned = tiny_llama(**VARIANTS[variant]), shape_masks(GOALS[goal])
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
    model, learned = tiny_llama(**VARIANTS[variant]), shape_masks(goal)
    for masks in (learned.sample(seeded(5)), learned.deterministic(), all_ones(PARENT)):
        close(masked_logits(model, masks), by_the_book(model, masks))


def test_a_model_without_an_open_channel_says_nothing() -> None:
    closed = Masks(hidden=torch.zeros(PARENT.hidden_size))
    assert not masked_logits(tiny_llama(), closed).any()


def gradients(logits: Callable[[Masks], torch.Tensor], goal: dict[str, Any]) -> dict[str, torch.Tensor]:
    learned = shape_masks(goal)
    (logits(learned.sample(seeded(6))) * torch.randn(3, 11, PARENT.vocab_size, generator=seeded(7))).sum().backward()
    return {name: values.grad for name, values in learned.log_alpha.items()}


@both_heads
def test_gradients_reach_every_mask_and_are_those_of_the_equations(goal: dict[str, Any]) -> None:
    model = tiny_llama(**VARIANTS["biased"])

    def masked(masks: Masks) -> torch.Tensor:
        with masking(model, masks):
            return logits_of(model)

    found, expected = gradients(masked, goal), gradients(lambda masks: by_the_book(model, masks), goal)
    assert found.keys() == {"hidden", "ffn", "heads", "layers"}
    for name, gradient in found.items():
        assert gradient.count_nonzero() > gradient.numel() / 4
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-4)


def test_gradients_survive_checkpointing() -> None:
    model, goal = tiny_llama(), FEWER_HEADS

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
    model, learned = tiny_llama(), shape_masks(FEWER_HEADS)
    before, weights = logits_of(model), copy.deepcopy(model.state_dict())
    assert not torch.equal(masked_logits(model, learned.deterministic()), before)
    assert torch.equal(logits_of(model), before)
    assert hooks_of(model) == 0
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


def test_hooks_go_after_an_exception_too() -> None:
    model, masks = tiny_llama(), shape_masks(FEWER_HEADS).deterministic()
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
    model, masks = tiny_llama(tie_embeddings=False, **VARIANTS["biased"]), shape_masks(FEWER_HEADS).deterministic()
    tensors = copy.deepcopy(model.state_dict())
    found = folded(model.state_dict(), masks, tied=False)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in model.state_dict().items())
    changed = {name for name, tensor in tensors.items() if not torch.equal(found[name], tensor)}
    scaled = {f"model.layers.{i}.{name}" for i in range(4) for name in (
        "input_layernorm.weight", "post_attention_layernorm.weight", "self_attn.o_proj.weight",
        "self_attn.o_proj.bias", "mlp.down_proj.weight", "mlp.down_proj.bias",
    )}  # fmt: skip
    assert changed == scaled | {"model.embed_tokens.weight", "model.norm.weight"}


@torch.no_grad()
def test_tied_weights_stay_tied_and_a_part_folds_like_the_whole() -> None:
    tensors, masks = tiny_llama().state_dict(), shape_masks(FEWER_GROUPS).sample(seeded(0))
    whole = folded(tensors, masks, tied=True)
    assert torch.equal(whole["lm_head.weight"], whole["model.embed_tokens.weight"])
    assert torch.equal(whole["model.norm.weight"], tensors["model.norm.weight"])
    name = "model.layers.2.self_attn.o_proj.weight"
    assert torch.equal(folded({name: tensors[name]}, masks, tied=True)[name], whole[name])
    scale = (masks.hidden * masks.layers[2])[:, None] * masks.heads[2].repeat_interleave(8)
    torch.testing.assert_close(whole[name], tensors[name] * scale)


@torch.no_grad()
def test_folding_keeps_the_weights_dtype_and_rounds_once() -> None:
    masks = shape_masks(FEWER_HEADS).sample(seeded(0))
    tensors = {name: tensor.bfloat16() for name, tensor in tiny_llama().state_dict().items()}
    exact = folded({name: tensor.float() for name, tensor in tensors.items()}, masks, tied=True)
    for name, tensor in folded(tensors, masks, tied=True).items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, exact[name].bfloat16())


@torch.no_grad()
def test_a_bf16_model_runs_masked_in_bf16() -> None:
    model, masks = tiny_llama(), shape_masks(FEWER_HEADS).deterministic()
    exact = masked_logits(model, masks)
    rounded = masked_logits(model.bfloat16(), masks)
    assert rounded.dtype == torch.bfloat16
    assert (rounded - exact).norm() < 0.03 * exact.norm()
