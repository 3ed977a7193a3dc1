"""Windows are read part by part: a text of more parts begins as one of fewer, and ends as its last ones do."""

from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_vs_scratch.config.corpus import HubFilesSource, Splits
from pruning_vs_scratch.data.reading_order import Block
from pruning_vs_scratch.data.tokens import TokenArray
from pruning_vs_scratch.data.windows import Windows, permuted
from pruning_vs_scratch.study.parts import PartedSource

LENGTH = 3
WIDTH = LENGTH + 1
GOLDEN = [32, 28, 4, 8, 12, 16, 0, 36, 24, 20, 48, 56, 44, 52, 60, 68, 40, 64]
"""Of two parts of 40 and 33 tokens."""
seeds = st.integers(0, 2**31 - 1)
sizes = st.lists(st.integers(0, 60), min_size=1, max_size=6)


class PartedArray(TokenArray):
    """Tokens that are their own positions, in named blocks."""

    def __init__(self, blocks: dict[str, int]) -> None:
        super().__init__(np.arange(sum(blocks.values())), "parts")
        self._blocks = blocks

    @property
    def blocks(self) -> list[Block]:
        ends = accumulate(self._blocks.values())
        return [Block(name, end - size, size) for (name, size), end in zip(self._blocks.items(), ends, strict=True)]


def windows_of(numbered: dict[int, int], seed: int) -> Windows:
    """Windows of parts: their tokens by their places in the source."""
    return Windows(PartedArray({f"part-{number:05d}": size for number, size in numbered.items()}), LENGTH, seed)


def starts(windows: Windows) -> list[int]:
    return windows.starts(np.arange(windows.count)).tolist()


@given(st.integers(0, 500), seeds)
def test_a_text_of_one_block_is_read_under_the_permutation_of_its_seed(tokens: int, seed: int) -> None:
    windows = Windows(TokenArray(np.arange(tokens), "text"), LENGTH, seed)
    count = tokens // WIDTH
    assert windows.count == count
    assert starts(windows) == (permuted(np.arange(count), count, seed) * WIDTH).tolist()


@given(sizes, seeds)
def test_every_window_of_every_part_is_read_once_and_no_window_spans_two_parts(sizes: list[int], seed: int) -> None:
    windows = windows_of(dict(enumerate(sizes)), seed)
    found = starts(windows)
    ends = [0, *accumulate(sizes)]
    for start, stop in pairwise(ends):
        expected = list(range(start, stop - WIDTH + 1, WIDTH))
        part, found = found[: len(expected)], found[len(expected) :]
        assert sorted(part) == expected
    assert found == []


@given(sizes, sizes, seeds)
def test_a_text_of_more_parts_begins_as_one_of_fewer(first: list[int], more: list[int], seed: int) -> None:
    shorter, longer = windows_of(dict(enumerate(first)), seed), windows_of(dict(enumerate(first + more)), seed)
    assert starts(longer)[: shorter.count] == starts(shorter)
    rows = np.arange(shorter.count)
    if shorter.count:
        np.testing.assert_array_equal(longer.read(rows), shorter.read(rows))


@given(st.integers(0, 4), st.integers(0, 4), st.lists(st.integers(8, 60), min_size=9, max_size=9), seeds)
def test_the_last_parts_are_read_alike_whatever_precedes_them(few: int, many: int, sizes: list[int], seed: int) -> None:
    numbered = list(enumerate(sizes))
    last = sum(size // WIDTH for size in sizes[-2:])
    texts = [dict(numbered[:first] + numbered[-2:]) for first in (few, many)]
    found = [[start - sum(text.values()) for start in starts(windows_of(text, seed))[-last:]] for text in texts]
    assert found[0] == found[1]


@st.composite
def budgets(draw: st.DrawFn) -> tuple[PartedSource, list[int], int, int]:
    """A source, what its parts really hold, and two budgets that it has files for."""
    files, size = draw(st.integers(2, 12)), draw(st.integers(1, 3))
    source = HubFilesSource(
        kind="hub_files", dataset="a/b", revision="a" * 40, files=f"p_{{00..{files - 1}}}.jsonl",
        tokens_per_file=40, files_per_part=size, held_out_files=draw(st.integers(1, files)),
    )  # fmt: skip
    parted = PartedSource(source, Splits.model_validate({name: {"fraction": 0.1} for name in Splits.model_fields}))
    held = draw(st.lists(st.integers(40, 90), min_size=parted.count, max_size=parted.count))
    most = int(files * 40 * 0.7)
    small = draw(st.integers(1, most))
    return parted, held, small, draw(st.integers(small, most))


@given(budgets(), seeds)
def test_a_larger_budget_reads_first_what_a_smaller_one_reads(
    case: tuple[PartedSource, list[int], int, int], seed: int
) -> None:
    parted, held, *both = case
    read = []
    for budget in both:
        names = parted.names(parted.text(budget))
        assert names == [f"part-{number:05d}" for number in range(len(names))]
        read.append(starts(windows_of(dict(enumerate(held[: len(names)])), seed)))
    assert read[1][: len(read[0])] == read[0]


def test_the_order_of_a_part_never_changes() -> None:
    windows = windows_of({0: 40, 3: 33}, seed=0)
    assert starts(windows) == GOLDEN


def test_parts_of_one_size_are_read_in_different_orders() -> None:
    windows = windows_of(dict.fromkeys(range(20), 400), seed=1)
    orders = np.reshape(starts(windows), (20, 100)) - 400 * np.arange(20)[:, None]
    assert len({tuple(order) for order in orders.tolist()}) == 20


@pytest.mark.parametrize("sequence", [-1, 18, 1000])
def test_a_sequence_that_is_not_there_is_refused(sequence: int) -> None:
    windows = windows_of({0: 40, 1: 3, 2: 33, 3: 2}, seed=0)
    assert windows.count == 18
    with pytest.raises(ValueError, match=r"no text is left|are not in"):
        windows.starts(np.array([sequence]))
