"""Learned masks lead to the goal's shape."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from mask_goals import FEWER_HEADS, GOALS, PARENT, both_heads, each_goal, same, seeded, shape_masks, tensors_of
from pruning_vs_scratch.pruning.methods.sheared_llama.shape_masks import ShapeMasks
from pruning_vs_scratch.pruning.surgery import kept_shape


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


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
