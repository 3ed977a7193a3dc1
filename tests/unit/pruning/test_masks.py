"""Masks drop exactly what they should, and their files give back every bit or an error."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors import safe_open
from safetensors.torch import save_file

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.masks import (
    PackedMask,
    has_pattern,
    keep_largest,
    keep_largest_per_row,
    keep_n_of_m,
    mask_by_row,
    read_masks,
    write_masks,
)

MATRICES = arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=30).flatmap(
    lambda shape: arrays.arrays(np.float32, shape, elements=st.integers(0, 5).map(float))
)
"""Scores of few values, so that ties are the rule."""
PERCENT = st.integers(0, 99)
SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


def without_lowest(scores: list[float], dropped: int) -> list[bool]:
    """The oracle: drop the lowest scores one by one, the earliest of equal ones first."""
    kept = [True] * len(scores)
    for _ in range(dropped):
        left = [i for i, stays in enumerate(kept) if stays]
        kept[min(left, key=lambda i: scores[i])] = False
    return kept


@settings(deadline=None, max_examples=60)
@given(MATRICES, PERCENT)
def test_each_row_loses_exactly_its_share_and_the_earliest_of_equals(scores: np.ndarray, percent: int) -> None:
    mask = keep_largest_per_row(torch.from_numpy(scores), percent / 100)
    dropped = percent * scores.shape[1] // 100
    assert mask.tolist() == [without_lowest(row, dropped) for row in scores.tolist()]


@settings(deadline=None, max_examples=60)
@given(MATRICES, PERCENT)
def test_a_matrix_loses_exactly_its_share_and_the_earliest_of_equals(scores: np.ndarray, percent: int) -> None:
    mask = keep_largest(torch.from_numpy(scores), percent / 100)
    assert mask.shape == scores.shape
    assert mask.flatten().tolist() == without_lowest(scores.flatten().tolist(), percent * scores.size // 100)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(1, 6), st.integers(1, 6), st.integers(1, 8))
def test_each_group_keeps_exactly_n_and_drops_the_earliest_of_equals(
    data: st.DataObject, rows: int, groups: int, group: int
) -> None:
    kept = data.draw(st.integers(0, group))
    scores = data.draw(arrays.arrays(np.float32, (rows, groups * group), elements=st.integers(0, 3).map(float)))
    mask = keep_n_of_m(torch.from_numpy(scores), kept, group)
    expected = [without_lowest(part, group - kept) for part in scores.reshape(-1, group).tolist()]
    assert mask.view(-1, group).tolist() == expected


@pytest.mark.parametrize("ratio", [0.29, 0.57, 0.58, 0.07, 0.14])
def test_a_ratio_is_the_decimal_that_was_written_and_not_its_binary_neighbour(ratio: float) -> None:
    assert int((~keep_largest_per_row(torch.rand(1, 100), ratio)).sum()) == round(100 * ratio)


def test_the_scale_of_a_row_does_not_matter_to_its_mask() -> None:
    scores = torch.rand(6, 16, generator=torch.Generator().manual_seed(0))
    scaled = scores * torch.tensor([1e-6, 1.0, 1e6, 3.0, 0.5, 2.0])[:, None]
    assert torch.equal(keep_largest_per_row(scores, 0.5), keep_largest_per_row(scaled, 0.5))
    assert not torch.equal(keep_largest(scores, 0.5), keep_largest(scaled, 0.5))


def test_a_matrix_that_does_not_divide_into_groups_is_refused() -> None:
    with pytest.raises(UserError, match="10 columns does not divide into groups of 4 for 2:4"):
        mask_by_row(torch.rand(2, 10), 0.5, "2:4")


@pytest.mark.parametrize(
    ("pattern", "expected"), [("2:4", [0, 0, 1, 1, 1, 1, 0, 0]), ("4:8", [0, 0, 0, 1, 1, 1, 1, 0])]
)
def test_a_pattern_is_kept_of_group(pattern: str, expected: list[int]) -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0, 7.0, 6.0, 5.0, 4.0, 0.0]])
    assert mask_by_row(scores, 0.5, pattern).int().tolist() == [expected]


@SHARED_FOLDER
@given(
    st.dictionaries(
        st.text("abc.", min_size=1, max_size=5),
        arrays.arrays(np.bool_, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)),
        min_size=1,
        max_size=3,
    )
)
def test_a_mask_file_gives_back_masks_of_any_shape(tmp_path: Path, masks: dict[str, np.ndarray]) -> None:
    expected = {name: torch.from_numpy(np.asarray(mask)) for name, mask in masks.items()}
    write_masks(expected, tmp_path / "mask.safetensors")
    found = read_masks(tmp_path / "mask.safetensors")
    assert found.keys() == expected.keys()
    for name, mask in expected.items():
        assert found[name].dtype == torch.bool
        assert torch.equal(found[name], mask)


@settings(deadline=None, max_examples=60)
@given(st.data(), arrays.arrays(np.bool_, arrays.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=9)))
def test_rows_of_a_packed_mask_are_those_of_the_mask(data: st.DataObject, mask: np.ndarray) -> None:
    end = data.draw(st.integers(0, len(mask)))
    first = data.draw(st.integers(0, end))
    assert PackedMask.of(torch.from_numpy(mask)).rows(first, end).tolist() == mask[first:end].tolist()


def test_no_more_of_a_mask_is_unpacked_than_is_asked_for() -> None:
    mask = PackedMask.of(torch.ones(4096, 1024, dtype=torch.bool))
    tracemalloc.start()
    rows = mask.rows(64, 128)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows.numel() == 64 * 1024
    assert peak < 1.5 * 64 * 1024


def test_a_mask_takes_one_bit_per_entry_lowest_bit_first(tmp_path: Path) -> None:
    mask = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 1, 1]], dtype=torch.bool)
    write_masks({"w": mask}, tmp_path / "mask.safetensors")
    with safe_open(tmp_path / "mask.safetensors", framework="pt") as file:
        assert file.get_tensor("w").tolist() == [0b00000101, 0b00000011]
        assert file.metadata() == {"shapes": '{"w":[2,5]}'}


def test_equal_masks_are_equal_files(tmp_path: Path) -> None:
    masks = {f"w{i}": torch.arange(i + 9) % 2 == 0 for i in range(12)}
    write_masks(masks, tmp_path / "one")
    write_masks(dict(reversed(masks.items())), tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_transposed_mask_is_written_in_its_own_row_order(tmp_path: Path) -> None:
    mask = (torch.arange(12).view(3, 4) % 5 == 0).T
    write_masks({"w": mask}, tmp_path / "mask.safetensors")
    assert torch.equal(read_masks(tmp_path / "mask.safetensors")["w"], mask)


@SHARED_FOLDER
@given(st.floats(0, 1, exclude_max=True))
def test_a_mask_file_cut_short_is_an_error(tmp_path: Path, part: float) -> None:
    path = tmp_path / "mask.safetensors"
    write_masks({"w": torch.ones(9, 9, dtype=torch.bool)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(UserError, match=r"mask\.safetensors"):
        read_masks(path)


@pytest.mark.parametrize(
    ("tensor", "shapes"),
    [
        pytest.param(torch.zeros(2, dtype=torch.uint8), '{"w": [3, 7]}', id="too few bits for the shape"),
        pytest.param(torch.zeros(4, dtype=torch.uint8), '{"w": [3, 7]}', id="too many bits for the shape"),
        pytest.param(torch.zeros(3, dtype=torch.uint8), "not JSON", id="a shape that is not JSON"),
        pytest.param(torch.zeros(3, dtype=torch.uint8), '{"w": "37"}', id="a shape that is no list"),
        pytest.param(torch.zeros(3, dtype=torch.uint8), '{"w": [-3, -7]}', id="a negative shape"),
        pytest.param(torch.zeros(3, dtype=torch.float32), '{"w": [3, 7]}', id="weights instead of bits"),
        pytest.param(torch.zeros(3, dtype=torch.uint8), '{"v": [3, 7]}', id="the shape of another mask"),
        pytest.param(torch.zeros(3, dtype=torch.uint8), None, id="no shapes"),
    ],
)
def test_a_file_that_is_not_a_mask_is_an_error(tmp_path: Path, tensor: torch.Tensor, shapes: str | None) -> None:
    path = tmp_path / "mask.safetensors"
    save_file({"w": tensor}, path, metadata=None if shapes is None else {"shapes": shapes})
    with pytest.raises(UserError, match=r"mask\.safetensors"):
        read_masks(path)


def test_a_missing_mask_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.safetensors"):
        read_masks(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("pattern", ["2:4", "4:8"])
def test_a_pattern_is_recognised_and_one_weight_more_or_elsewhere_is_not(pattern: str) -> None:
    scores = torch.rand(6, 16, generator=torch.Generator().manual_seed(1))
    mask = mask_by_row(scores, 0.5, pattern)
    assert has_pattern(mask, pattern)
    assert has_pattern(mask, "unstructured")
    more = mask.clone()
    more[3, int((~mask[3]).nonzero()[0])] = True
    shifted = mask.roll(1, dims=1)
    assert not has_pattern(more, pattern)
    assert not has_pattern(shifted, pattern) or shifted.equal(mask)
    assert not has_pattern(mask[:, :3], pattern)
