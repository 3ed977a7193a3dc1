"""Rates of devices: where each is from, which one counts, and what a missing or broken one is answered with."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.planning.measure import merged
from pruning_vs_scratch.planning.throughput import (
    COLUMNS,
    SHIPPED,
    USER,
    Rate,
    ThroughputTable,
    read_rates,
    write_rates,
)


def rate(**changes: Any) -> Rate:
    values = {"device": "x1", "precision": "bf16", "work": "train", "rate": 100.0, "unit": "TFLOP/s"}
    return Rate(**values | {"kind": "measured", "source": "a test"} | changes)


def test_every_shipped_rate_names_its_source_and_kind() -> None:
    rates = read_rates(REPOSITORY / SHIPPED)
    assert {rate.kind for rate in rates} == {"measured", "published", "assumed"}
    assert all(len(rate.source) > 20 for rate in rates)
    keys = [(rate.device, rate.precision, rate.work, rate.params_from) for rate in rates]
    assert len(set(keys)) == len(keys)


def test_rates_of_your_own_go_before_those_that_are_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There need be none in the usual place."""
    monkeypatch.chdir(tmp_path)
    own, shipped = tmp_path / "own.csv", tmp_path / "shipped.csv"
    write_rates([rate(rate=7.0, params_from=10, params_below=20)], own)
    write_rates([rate(rate=3.0)], shipped)
    table = ThroughputTable.read([own, USER, shipped])
    found = [table.find("x1", "bf16", "train", params).rate for params in (9, 10, 19, 20)]
    assert found == [3.0, 7.0, 7.0, 3.0]


def test_a_new_measurement_stands_for_the_earlier_ones_of_its_kind() -> None:
    earlier = [rate(rate=1.0), rate(rate=2.0, params_from=5), rate(rate=3.0, work="forward"), rate(device="x2")]
    found = merged(earlier, [rate(rate=4.0)])
    assert [(r.device, r.work, r.rate) for r in found] == [
        ("x1", "forward", 3.0),
        ("x2", "train", 100.0),
        ("x1", "train", 4.0),
    ]


@pytest.mark.parametrize(
    ("device", "precision", "params", "words"),
    [
        ("x2", "bf16", 10, ["unknown device 'x2'; there are: x1. "]),
        ("x1", "fp32", 10, ["train in fp32", "'x1'", "bf16 1M to 2M", "pvs rates"]),
        ("x1", "bf16", 3_000_000, ["train in bf16 of 3M parameters", "bf16 1M to 2M"]),
    ],
)
def test_a_missing_rate_is_named_with_what_there_is(device: str, precision: str, params: int, words: list[str]) -> None:
    table = ThroughputTable([rate(params_from=1_000_000, params_below=2_000_000)])
    with pytest.raises(UserError) as error:
        table.find(device, precision, "train", params)
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [("rate", "-1", "greater than 0"), ("rate", "fast", "must be a number"), ("kind", "guessed", "known: assumed, "),
     ("source", "", "this key is required"), ("work", "sleep", "known: extract, ")],
)  # fmt: skip
def test_a_broken_row_is_named_by_its_line(tmp_path: Path, column: str, value: str, words: str) -> None:
    write_rates([rate(), rate()], tmp_path / "own.csv")
    table = pd.read_csv(tmp_path / "own.csv", dtype=str)
    table.loc[1, column] = value
    table.to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(UserError, match=r"own\.csv, line 3") as error:
        read_rates(tmp_path / "own.csv")
    assert words in str(error.value)


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("device,speed\nx1,3\n")
    with pytest.raises(UserError) as error:
        read_rates(tmp_path / "own.csv")
    assert ", ".join(COLUMNS) in str(error.value)
