"""Whether a remade file equals the archived one."""

import math
from enum import StrEnum
from pathlib import Path
from typing import Any

import pandas as pd

from pruning_vs_scratch.config.strict_yaml import read_yaml
from pruning_vs_scratch.files import read_json, sha256_of_file

TOLERANCE = 1e-9
"""Relative: processors differ in the last digits of a sum."""
PICTURES = {".pdf", ".png"}


class Match(StrEnum):
    """How two files compare."""

    IDENTICAL = "identical"
    ROUNDING = "the same up to rounding"
    DRAWN_OTHERWISE = "restyled"
    """A picture of the same numbers, with other fonts or another version of the drawing library."""
    EXTENDED = "the same, plus settings added since"
    """A configuration whose newer settings have their defaults, by which the archive was read."""
    DIFFERENT = "different"
    NEW = "not in the archive"
    """A figure that was added to this project later."""


def compare(archived: Path, made: Path) -> Match:
    """Compare a file with the archived one of its name."""
    if sha256_of_file(archived) == sha256_of_file(made):
        return Match.IDENTICAL
    if archived.suffix in PICTURES:
        return Match.DRAWN_OTHERWISE
    match archived.suffix:
        case ".csv":
            close = _close_tables(pd.read_csv(archived), pd.read_csv(made))
        case ".parquet":
            close = _close_tables(pd.read_parquet(archived), pd.read_parquet(made))
        case ".yaml" if _extends(read_yaml(made), read_yaml(archived)):
            return Match.EXTENDED
        case ".json":
            close = _close(read_json(archived), read_json(made))
        case _:
            close = False
    return Match.ROUNDING if close else Match.DIFFERENT


def _extends(newer: Any, older: Any) -> bool:
    """Whether settings include all older ones, with their values."""
    if isinstance(newer, dict) and isinstance(older, dict):
        return all(key in newer and _extends(newer[key], older[key]) for key in older)
    if isinstance(newer, list) and isinstance(older, list):
        return len(newer) == len(older) and all(map(_extends, newer, older))
    return bool(newer == older)


def _close_tables(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    try:
        pd.testing.assert_frame_equal(one, other, rtol=TOLERANCE, atol=TOLERANCE)
    except AssertionError:
        return False
    return True


def _close(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_close, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)
