"""Numbers, intervals and counts in words, for the sentences above figures and on the report."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd

MOST_DECIMALS = 3
MOST_NAMES = 3
"""Most names that a sentence lists; for more, it gives the number."""


class Interval(NamedTuple):
    """A value and the ends of its interval, which are NaN where there is none."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval is on one side of zero, else 0; without an interval, that of the value."""
        low, high = (self.value if math.isnan(end) else end for end in (self.low, self.high))
        return (low > 0) - (high < 0)


def intervals(rows: pd.DataFrame, value: str = "gap") -> list[Interval]:
    """The value of each row with its interval, from the columns ``low`` and ``high``."""
    return [Interval(*map(float, row)) for row in rows[[value, "low", "high"]].itertuples(index=False)]


def mean(rows: pd.DataFrame, value: str = "gap") -> Interval:
    """The mean value and the mean ends of its intervals, which are at least as far apart as those of the mean."""
    return Interval(*(float(rows[column].mean(skipna=False)) for column in (value, "low", "high")))


def number(value: float) -> str:
    """Two significant digits, and at most three decimals: '12', '1.2', '0.063', '0'."""
    decimals = 0 if value == 0 else min(MOST_DECIMALS, max(0, 1 - math.floor(math.log10(abs(value)))))
    text = f"{value:.{decimals}f}"
    return text if float(text) else "0"


def span(values: Iterable[float]) -> str:
    """'0.48 to 0.65', or one number if both ends read the same."""
    ordered = sorted(values)
    ends = dict.fromkeys(number(value) for value in (ordered[0], ordered[-1]))
    return " to ".join(ends)


def change(first: Interval, last: Interval) -> str:
    """'falls from 1.2 to 0.63'; 'stays near 0.6' where the intervals overlap, or both numbers read the same."""
    overlap = first.low <= last.high and last.low <= first.high
    if overlap or number(first.value) == number(last.value):
        return f"stays near {number((first.value + last.value) / 2)}"
    verb = "falls" if last.value < first.value else "rises"
    return f"{verb} from {number(first.value)} to {number(last.value)}"


def tally(found: Sequence[Interval], noun: str = " comparisons") -> str:
    """In how many of some comparisons each side leads: 'pruned leads in 4 of 8 comparisons, scratch in 1'."""
    signs, count = [interval.sign for interval in found], len(found)
    pruned, scratch = signs.count(1), signs.count(-1)
    leader = "pruned" if pruned == count else "scratch" if scratch == count else "neither side"
    if count == 1:
        return f"{leader} leads"
    if pruned == scratch == 0:
        return f"neither side leads in any of {count}{noun}"
    if leader != "neither side":
        return f"{leader} leads in all {count}{noun}"
    return f"pruned leads in {pruned or 'none'} of {count}{noun}, scratch in {scratch or 'none'}"


def listed(names: Iterable[str], conjunction: str = "and") -> str:
    """'depth, width and sparse'."""
    *others, last = names
    return f"{', '.join(others)} {conjunction} {last}" if others else last


def named(names: Sequence[str], many: str) -> str:
    """A list of a few different names, or a phrase for many."""
    return listed(names) if len(names) <= MOST_NAMES and len(set(names)) == len(names) else many


def inflected(noun: str, count: int) -> str:
    """'seed' of one, 'seeds' of more; 'studies'."""
    if count == 1:
        return noun
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"


def plural(count: int, noun: str) -> str:
    """'1 seed', '2 seeds'."""
    return f"{count} {inflected(noun, count)}"


def capital(sentence: str) -> str:
    """The sentence with a capital first letter."""
    return sentence[:1].upper() + sentence[1:]


def runs_of(blocks: Iterable[int]) -> str:
    """'3-6, 9', the numbers of some blocks."""
    runs: list[list[int]] = []
    for block in sorted(set(blocks)):
        if runs and block == runs[-1][-1] + 1:
            runs[-1].append(block)
        else:
            runs.append([block])
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
