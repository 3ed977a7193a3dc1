"""Splits are disjoint, depend on names alone, and have the shares that were asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus_parts import glob_splits
from pruning_vs_scratch.config.corpus import SplitRule, Splits
from pruning_vs_scratch.data.splits import HELD_OUT, TRAIN, Divider, hash_position
from pruning_vs_scratch.errors import UserError

FRACTIONS = st.floats(0.01, 0.3)
IDS = st.sets(st.text("abcdefgh/.", min_size=1, max_size=8), min_size=1, max_size=60)


def fraction_splits(*fractions: float) -> Splits:
    return Splits(**{name: SplitRule(fraction=f) for name, f in zip(HELD_OUT, fractions, strict=True)})


@given(IDS, FRACTIONS, FRACTIONS, FRACTIONS, st.randoms())
def test_a_split_depends_on_the_name_only(ids: set[str], a: float, b: float, c: float, random: object) -> None:
    splits = fraction_splits(a, b, c)
    forward, backward = Divider(splits), Divider(splits)
    first = {i: forward.split_of(i) for i in sorted(ids)}
    second = {i: backward.split_of(i) for i in sorted(ids, reverse=True)}
    assert first == second
    assert set(first.values()) <= {TRAIN, *HELD_OUT}


@given(IDS, FRACTIONS, FRACTIONS)
def test_growing_a_later_split_moves_nothing_between_the_earlier_ones(ids: set[str], a: float, b: float) -> None:
    small, large = Divider(fraction_splits(a, b, 0.01)), Divider(fraction_splits(a, b, 0.3))
    for i in ids:
        before, after = small.split_of(i), large.split_of(i)
        assert before == after or (before, after) == (TRAIN, "test")


def test_fractions_come_out_as_asked() -> None:
    divider = Divider(fraction_splits(0.1, 0.2, 0.3))
    found = [divider.split_of(f"document {i}") for i in range(20_000)]
    divider.check_complete()
    shares = [found.count(name) / len(found) for name in (*HELD_OUT, TRAIN)]
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.015)
    assert 0 <= min(map(hash_position, map(str, range(1000)))) < 0.01


def test_a_document_in_two_splits_is_refused() -> None:
    divider = Divider(glob_splits(test="*a*"))
    with pytest.raises(UserError, match="calibration and test"):
        divider.split_of("calibration a")


def test_an_empty_split_or_an_unused_pattern_is_refused() -> None:
    divider = Divider(glob_splits())
    for name in ("calibration", "validation", "other"):
        divider.split_of(name)
    with pytest.raises(UserError, match=r"'test\*'"):
        divider.check_complete()
    divider.split_of("test")
    divider.check_complete()
    empty = Divider(fraction_splits(0.1, 0.1, 0.1))
    empty.split_of("only one")
    with pytest.raises(UserError, match="split is empty"):
        empty.check_complete()


def test_fractions_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(UserError, match=r"add up to 1\.2"):
        Divider(fraction_splits(0.4, 0.4, 0.4))
