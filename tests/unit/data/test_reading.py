"""Text read in passes, against a plain list of everything that is read."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_vs_scratch.data.reading import READ_ONCE, Reading
from pruning_vs_scratch.data.tokens import TokenArray
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import Study

LENGTH = 3


def text(windows: int) -> TokenArray:
    return TokenArray(np.arange(windows * (LENGTH + 1), dtype=np.int64), "some text")


def read(windows: Windows, start: int, stop: int) -> list[int]:
    """Windows of sequences [start, stop), by the tokens that are read."""
    return (windows.read(np.arange(start, stop, dtype=np.int64))[:, 0] // (LENGTH + 1)).tolist() if stop > start else []


@st.composite
def repeated_texts(draw: st.DrawFn) -> tuple[Windows, Reading, int]:
    """Windows read in passes, and the number of sequences that can be read of them."""
    passes, parent = draw(st.integers(1, 4)), draw(st.integers(0, 40))
    rest = draw(st.integers(1, 20))
    reading = Reading(passes=passes, parent_sequences=parent)
    windows = Windows(text(reading.parent_windows + rest), LENGTH, draw(st.integers(0, 9)), reading)
    return windows, reading, parent + passes * rest


@given(repeated_texts())
def test_windows_of_the_parent_and_of_the_rest_never_meet_in_any_pass(case: tuple[Windows, Reading, int]) -> None:
    windows, reading, sequences = case
    border = reading.parent_sequences
    parent, rest = read(windows, 0, border), read(windows, border, sequences)
    assert not set(parent) & set(rest)
    assert set(parent) | set(rest) == set(range(windows.count))
    learned = read(windows.read_by(reading.model_copy(update={"backwards": True})), 0, sequences - border)
    assert set(learned) == set(rest)


@given(repeated_texts())
def test_each_pass_reads_the_whole_of_its_part_once(case: tuple[Windows, Reading, int]) -> None:
    windows, reading, sequences = case
    size = windows.count - reading.parent_windows
    for first in range(reading.parent_sequences, sequences, size):
        assert len(set(read(windows, first, first + size))) == size
    for first in range(0, reading.parent_sequences, max(reading.parent_windows, 1)):
        found = read(windows, first, min(first + reading.parent_windows, reading.parent_sequences))
        assert len(set(found)) == len(found)


def test_passes_differ_in_their_order_and_the_seed_decides_it() -> None:
    reading = Reading(passes=3, parent_sequences=60)
    orders = {
        (seed, number): tuple(read(Windows(text(100), LENGTH, seed, reading), 20 * number, 20 * (number + 1)))
        for seed in (0, 1)
        for number in range(3)
    }
    assert len(set(orders.values())) == 6
    assert len({frozenset(orders[0, number]) for number in range(3)}) == 1


def test_the_first_pass_is_the_order_of_a_text_that_is_read_once() -> None:
    once, repeated = Windows(text(50), LENGTH, 7), Windows(text(50), LENGTH, 7, Reading(passes=4, parent_sequences=80))
    assert read(repeated, 0, 20) == read(once, 0, 20)
    assert read(repeated, 80, 110) == read(once, 20, 50)
    backwards = once.read_by(Reading(backwards=True))
    assert read(backwards, 0, 50) == read(once, 0, 50)[::-1]


@given(repeated_texts(), st.data())
def test_distinct_windows_equal_a_brute_force_count(case: tuple[Windows, Reading, int], data: st.DataObject) -> None:
    windows, reading, sequences = case
    start = data.draw(st.integers(0, sequences))
    stop = data.draw(st.integers(start, sequences))
    assert reading.distinct(start, stop, windows.count, windows.seed) == len(set(read(windows, start, stop)))
    learned = reading.model_copy(update={"backwards": True})
    stop = data.draw(st.integers(0, sequences - reading.parent_sequences))
    found = set(read(windows.read_by(learned), 0, stop))
    assert learned.distinct(0, stop, windows.count, windows.seed) == len(found)


@given(st.integers(1, 5), st.integers(0, 60), st.integers(0, 60))
def test_the_windows_needed_are_just_enough(passes: int, parent: int, rest: int) -> None:
    reading = Reading(passes=passes, parent_sequences=parent)
    needed = reading.windows_needed(parent + rest)
    windows = Windows(text(needed), LENGTH, 0, reading)
    windows.require(parent + rest, "a plan")
    assert len(read(windows, 0, parent + rest)) == parent + rest
    if rest and needed:
        fewer = Windows(text(needed - 1), LENGTH, 0, reading)
        with pytest.raises(UserError, match="are missing"):
            fewer.require(parent + rest, "a plan")
        with pytest.raises(ValueError, match=r"are not in|no text is left|outside of range"):
            read(fewer, 0, parent + rest)


@given(st.integers(1, 80), st.integers(0, 80), st.integers(2, 40))
def test_the_passes_that_suffice_are_the_least_ones(parent: int, rest: int, windows: int) -> None:
    def fits(passes: int) -> bool:
        return Reading(passes=passes, parent_sequences=parent).windows_needed(parent + rest) <= windows

    found = Reading(parent_sequences=parent).passes_that_suffice(parent + rest, windows)
    assert found == next(passes for passes in range(1, 200) if fits(passes))
    assert READ_ONCE.passes_that_suffice(5, 1) is None


def test_passes_below_one_are_refused(smoke: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"corpus\.passes"):
        Study(smoke | {"corpus": smoke["corpus"] | {"passes": 0}})
