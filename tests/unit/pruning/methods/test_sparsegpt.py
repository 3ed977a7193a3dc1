"""SparseGPT does what optimal brain surgery does with explicit inverses, and never prunes on a Hessian that broke."""

import logging
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.masks import keep_largest, keep_n_of_m, mask_by_row, parse_pattern
from pruning_vs_scratch.pruning.methods.sparsegpt.method import InputHessian, dead_columns, inverse_factor, prune_weight

DAMPING = 0.01
PATTERNS = ["unstructured", "2:4", "4:8"]
FEW = settings(max_examples=25)
PERCENT = st.integers(0, 99)

Masks = Callable[[int, torch.Tensor], torch.Tensor | None]
"""From a column and the scores from there on to the mask of the columns that are chosen there, if any are."""


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(columns: int, seed: int = 0, tokens: int = 400) -> torch.Tensor:
    """Correlated channels of unequal size, shape (windows, length, channels)."""
    mixing = torch.randn(columns, columns, generator=generator(seed + 1)) / columns**0.5 + 0.5
    scale = torch.linspace(0.3, 3, columns)[torch.randperm(columns, generator=generator(seed))]
    return (torch.randn(4, tokens // 4, columns, generator=generator(seed)) @ mixing + 0.2) * scale


def weights(rows: int, columns: int, seed: int = 7) -> torch.Tensor:
    return torch.randn(rows, columns, generator=generator(seed))


def hessian_of(activation: torch.Tensor) -> torch.Tensor:
    hessian = InputHessian()
    hessian.see(activation)
    return hessian.value


def sparsegpt(
    weight: torch.Tensor, hessian: torch.Tensor, ratio: float, pattern: str, block_size: int = 128
) -> tuple[torch.Tensor, torch.Tensor]:
    factor, _ = inverse_factor(hessian, DAMPING)
    return prune_weight(weight, factor, dead_columns(hessian), ratio, pattern, block_size)


def brain_surgery(weight: torch.Tensor, hessian: torch.Tensor, masks: Masks) -> tuple[torch.Tensor, torch.Tensor]:
    """The oracle: mask and weights by the inverse of each trailing submatrix of the Hessian, row by row, in fp64."""
    damped = hessian.double() + DAMPING * hessian.double().diagonal().mean() * torch.eye(len(hessian))
    inverses = [torch.linalg.inv(damped[j:, j:]) for j in range(len(damped))]
    smallest = torch.stack([inverse[0, 0] for inverse in inverses])
    weight, kept = weight.double().clone(), torch.ones_like(weight, dtype=torch.bool)
    for j, inverse in enumerate(inverses):
        chosen = masks(j, weight[:, j:] ** 2 / smallest[j:])
        if chosen is not None:
            kept[:, j : j + chosen.shape[1]] = chosen
        for row, stays in zip(weight, kept[:, j].tolist(), strict=True):
            if not stays:
                row[j:] -= row[j] / inverse[0, 0] * inverse[:, 0]
                row[j] = 0
    return kept, weight


def adaptive_masks(ratio: float, pattern: str, block_size: int) -> Masks:
    """The lowest scores of each block of columns, or of each group of M."""
    step = block_size if pattern == "unstructured" else parse_pattern(pattern)[1]

    def masks(column: int, scores: torch.Tensor) -> torch.Tensor | None:
        if column % step:
            return None
        if pattern == "unstructured":
            return keep_largest(scores[:, :step], ratio)
        return keep_n_of_m(scores[:, :step], *parse_pattern(pattern))

    return masks


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.dtype == torch.float32
    difference = (found.double() - expected).norm() / expected.norm()
    assert difference < 1e-4, difference


@pytest.mark.parametrize("block_size", [8, 16, 64])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_updates_are_those_of_brain_surgery_with_the_same_mask(pattern: str, block_size: int) -> None:
    weight, hessian = weights(6, 40), hessian_of(inputs(40))
    mask, pruned = sparsegpt(weight, hessian, 0.5, pattern, block_size)
    _, expected = brain_surgery(weight, hessian, lambda column, scores: None if column else mask)
    assert_close(pruned, expected)
    assert (pruned - weight * mask).norm() > 0.1 * weight.norm()  # the updates are not small


@pytest.mark.parametrize("ratio", [0.3, 0.7])
@pytest.mark.parametrize("block_size", [7, 8, 16, 64])
def test_each_block_is_cut_by_the_scores_of_brain_surgery_with_the_weights_updated_so_far(
    block_size: int, ratio: float
) -> None:
    weight, hessian = weights(6, 40), hessian_of(inputs(40))
    mask, pruned = sparsegpt(weight, hessian, ratio, "unstructured", block_size)
    expected_mask, expected = brain_surgery(weight, hessian, adaptive_masks(ratio, "unstructured", block_size))
    assert torch.equal(mask, expected_mask)
    assert_close(pruned, expected)


@pytest.mark.parametrize("block_size", [8, 16, 64])
@pytest.mark.parametrize("pattern", ["2:4", "4:8"])
def test_each_group_is_cut_by_the_scores_of_brain_surgery_with_the_weights_updated_so_far(
    pattern: str, block_size: int
) -> None:
    weight, hessian = weights(6, 40), hessian_of(inputs(40))
    mask, pruned = sparsegpt(weight, hessian, 0.5, pattern, block_size)
    expected_mask, expected = brain_surgery(weight, hessian, adaptive_masks(0.5, pattern, block_size))
    assert torch.equal(mask, expected_mask)
    assert_close(pruned, expected)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pattern", PATTERNS)
def test_outputs_change_less_than_by_magnitude_or_wanda(pattern: str, seed: int) -> None:
    weight, activation = weights(24, 64, seed), inputs(64, seed)
    tokens = activation.flatten(0, 1)

    def damage(pruned: torch.Tensor) -> float:
        return float((tokens @ (weight - pruned).T).square().sum())

    wanda = mask_by_row(weight.abs() * tokens.norm(dim=0), 0.5, pattern)
    small = keep_largest(weight.abs(), 0.5) if pattern == "unstructured" else mask_by_row(weight.abs(), 0.5, pattern)
    _, pruned = sparsegpt(weight, hessian_of(activation), 0.5, pattern, block_size=16)
    assert damage(pruned) < 0.5 * min(damage(weight * wanda), damage(weight * small))


@FEW
@given(st.integers(1, 9), st.integers(1, 30), st.integers(1, 33), PERCENT, st.integers(0, 3))
def test_each_block_loses_exactly_its_share(rows: int, columns: int, block_size: int, percent: int, seed: int) -> None:
    mask, pruned = sparsegpt(
        weights(rows, columns, seed), hessian_of(inputs(columns)), percent / 100, "unstructured", block_size
    )
    assert mask.shape == pruned.shape == (rows, columns)
    for block in mask.split(block_size, dim=1):
        assert int((~block).sum()) == percent * block.numel() // 100
    assert torch.equal(pruned == 0, ~mask)


@FEW
@given(st.sampled_from(PATTERNS[1:]), st.integers(1, 9), st.integers(1, 5), st.integers(1, 4), PERCENT)
def test_each_group_keeps_exactly_n_whatever_the_ratio(
    pattern: str, rows: int, groups: int, groups_a_block: int, percent: int
) -> None:
    kept, group = parse_pattern(pattern)
    weight, hessian = weights(rows, groups * group), hessian_of(inputs(groups * group))
    mask, pruned = sparsegpt(weight, hessian, percent / 100, pattern, groups_a_block * group)
    assert (mask.reshape(-1, group).sum(dim=1) == kept).all()
    assert torch.equal(pruned == 0, ~mask)


@FEW
@given(st.sampled_from(PATTERNS), st.integers(1, 9), st.integers(1, 4), st.sampled_from([8, 16, 32]), PERCENT)
def test_without_correlation_the_kept_weights_stay_and_the_smallest_go(
    pattern: str, rows: int, groups: int, block_size: int, percent: int
) -> None:
    weight = weights(rows, 8 * groups)
    mask, pruned = sparsegpt(weight, torch.eye(8 * groups), percent / 100, pattern, block_size)
    assert torch.equal(pruned, weight * mask)
    for block, chosen in zip(weight.abs().split(block_size, 1), mask.split(block_size, 1), strict=True):
        smallest = keep_largest(block, percent / 100) if pattern == "unstructured" else mask_by_row(block, 0.5, pattern)
        assert torch.equal(chosen, smallest)


@pytest.mark.parametrize(
    ("pattern", "rows"),
    [
        ("unstructured", [[0] * 8, [0] * 4 + [1] * 4, [1] * 8]),
        ("2:4", [[0, 0, 1, 1, 0, 0, 1, 1]] * 3),
        ("4:8", [[0, 0, 0, 0, 1, 1, 1, 1]] * 3),
    ],
)
def test_of_equal_scores_the_first_in_row_order_is_dropped(pattern: str, rows: list[list[int]]) -> None:
    mask, _ = sparsegpt(torch.ones(3, 8), torch.eye(8), 0.5, pattern)
    assert mask.int().tolist() == rows


@pytest.mark.parametrize("pattern", PATTERNS)
def test_two_runs_are_equal_to_the_last_bit_and_leave_the_weight_as_it_was(pattern: str) -> None:
    weight, hessian = weights(16, 64).T.contiguous().T, hessian_of(inputs(64))  # a layout that needs no transposing
    before = weight.clone()
    first, second = (sparsegpt(weight, hessian, 0.5, pattern, block_size=16) for _ in range(2))
    assert torch.equal(weight, before)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)
        assert one.is_contiguous()


def test_a_weight_of_low_precision_is_updated_in_fp32() -> None:
    weight, hessian = weights(6, 32).bfloat16(), hessian_of(inputs(32))
    mask, pruned = sparsegpt(weight, hessian, 0.5, "unstructured", block_size=8)
    expected_mask, expected = sparsegpt(weight.float(), hessian, 0.5, "unstructured", block_size=8)
    assert torch.equal(mask, expected_mask)
    assert pruned.dtype == torch.float32
    assert torch.equal(pruned, expected)


def test_weights_of_dead_columns_go_first_and_move_no_other_weight() -> None:
    activation = inputs(24)
    activation[..., [3, 4, 17]] = 0
    hessian, alive = hessian_of(activation), [j for j in range(24) if j not in (3, 4, 17)]
    assert dead_columns(hessian).nonzero().flatten().tolist() == [3, 4, 17]
    weight = weights(5, 24)
    weight[:, [3, 4, 17]] = 100.0
    mask, pruned = sparsegpt(weight, hessian, 0.125, "unstructured", block_size=24)
    assert torch.equal(~mask, dead_columns(hessian).expand(5, 24))
    assert torch.equal(pruned[:, alive], weight[:, alive])
    assert not pruned[:, [3, 4, 17]].any()


def test_a_dead_column_that_is_kept_is_zero_too() -> None:
    activation = inputs(8)
    activation[..., :6] = 0
    mask, pruned = sparsegpt(weights(5, 8), hessian_of(activation), 0.5, "2:4")
    assert mask[:, :4].sum() == 10
    assert not pruned[:, :6].any()


def test_dead_columns_count_as_one_before_the_damping() -> None:
    hessian = torch.diag(torch.tensor([0.0, 4.0, 1.0]))
    factor, damping = inverse_factor(hessian, 0.5)
    assert damping == 0.5
    assert torch.allclose(factor, torch.diag(torch.tensor([2.0, 5.0, 2.0]) ** -0.5))


def test_the_factor_is_upper_and_gives_the_inverse_of_the_damped_hessian() -> None:
    hessian = hessian_of(inputs(20))
    before = hessian.clone()
    factor, damping = inverse_factor(hessian, DAMPING)
    damped = hessian.double() + DAMPING * hessian.double().diagonal().mean() * torch.eye(20)
    assert damping == DAMPING
    assert torch.equal(hessian, before)
    assert torch.equal(factor, factor.triu())
    assert torch.allclose(factor.double().T @ factor.double() @ damped, torch.eye(20).double(), atol=1e-3)


@pytest.mark.parametrize(
    ("coupling", "damping", "used"), [(1.05, 0.01, 0.1), (1.5, 0.01, 1.0), (1.5, 0.3, 1.0), (1.05, 0.0, 0.1)]
)
def test_a_failed_factorisation_raises_the_damping_and_says_so(
    coupling: float, damping: float, used: float, caplog: pytest.LogCaptureFixture
) -> None:
    hessian = torch.tensor([[1.0, coupling], [coupling, 1.0]])
    before = hessian.clone()
    with caplog.at_level(logging.WARNING):
        factor, found = inverse_factor(hessian, damping)
    assert found == pytest.approx(used)
    assert factor.isfinite().all()
    assert torch.allclose(factor.T @ factor @ (hessian + used * torch.eye(2)), torch.eye(2), atol=1e-5)
    assert torch.equal(hessian, before)
    assert f"cannot be factorised with damping {damping:g}" in caplog.text
    assert f"trying {used:g}" in caplog.text


def test_an_inverse_that_cannot_be_factorised_raises_the_damping_too(monkeypatch: pytest.MonkeyPatch) -> None:
    inverse, broken = torch.cholesky_inverse, iter([True])
    monkeypatch.setattr(
        torch, "cholesky_inverse", lambda lower: -inverse(lower) if next(broken, False) else inverse(lower)
    )
    factor, damping = inverse_factor(torch.eye(3), DAMPING)
    assert damping == pytest.approx(10 * DAMPING)
    assert torch.allclose(factor, torch.eye(3) * (1 + 10 * DAMPING) ** -0.5)


@pytest.mark.parametrize(
    "hessian",
    [
        pytest.param(torch.tensor([[1.0, 9.0], [9.0, 1.0]]), id="indefinite"),
        pytest.param(torch.diag(torch.tensor([1.0, -5.0])), id="a negative mean"),
        pytest.param(torch.tensor([[1e-42]]), id="an inverse beyond fp32"),
    ],
)
@pytest.mark.parametrize("damping", [0.0, 0.01, 3.0])
def test_a_hopeless_hessian_is_an_error(hessian: torch.Tensor, damping: float) -> None:
    with pytest.raises(ValueError, match="cannot be factorised, even with damping"):
        inverse_factor(hessian, damping)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("entry", [(0, 0), (0, 2), (2, 0)])
def test_a_hessian_that_is_not_finite_is_an_error_that_says_so(value: float, entry: tuple[int, int]) -> None:
    hessian = torch.eye(3)
    hessian[entry] = value
    with pytest.raises(ValueError, match="holds NaN or inf"):
        inverse_factor(hessian, DAMPING)


def test_a_matrix_that_does_not_divide_into_groups_is_refused() -> None:
    with pytest.raises(UserError, match="10 columns does not divide into groups of 4 for 2:4"):
        sparsegpt(weights(2, 10), torch.eye(10), 0.5, "2:4", block_size=8)


def test_a_block_that_does_not_divide_into_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="block of 12 columns does not divide into groups of 8 for 4:8"):
        sparsegpt(weights(2, 24), torch.eye(24), 0.5, "4:8", block_size=12)


def test_the_hessian_is_twice_the_mean_of_the_outer_products() -> None:
    activation = inputs(12)
    outer = [torch.outer(token, token) for token in activation.double().flatten(0, 1)]
    expected = 2 * torch.stack(outer).mean(dim=0)
    found = hessian_of(activation)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), expected, rtol=1e-5)


def test_the_hessian_does_not_depend_on_the_batches() -> None:
    activation = inputs(12)
    hessian = InputHessian()
    for batch in (activation[:1], activation[1:4, :30], activation[1:4, 30:]):
        hessian.see(batch)
    assert torch.allclose(hessian.value, hessian_of(activation), rtol=1e-4)


def test_the_hessian_of_inputs_of_low_precision_is_summed_in_fp32() -> None:
    activation = inputs(12).bfloat16()
    assert torch.equal(hessian_of(activation), hessian_of(activation.float()))
