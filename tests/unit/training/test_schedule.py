"""Schedules with a warmup in steps, against plain lists of their three parts; the authors', against its numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pruning_vs_scratch.config.training import (
    ConstantSchedule,
    CosineSchedule,
    FmsSchedule,
    PartSchedule,
    RelativeSchedule,
    ScheduleConfig,
    WsdSchedule,
)
from pruning_vs_scratch.training.schedule import learning_rate, warmup_steps

PEAK = 0.3


def rates(steps: int, schedule: ScheduleConfig) -> list[float]:
    """The learning rates of a whole run."""
    return [learning_rate(step, steps, PEAK, schedule) for step in range(steps)]


@st.composite
def wsd_schedules(draw: st.DrawFn) -> WsdSchedule:
    """Any warmup-stable-decay schedule of a short warmup."""
    return WsdSchedule(
        kind="wsd",
        warmup_steps=draw(st.integers(1, 40)),
        decay_fraction=draw(st.floats(0.01, 0.95)),
        floor_ratio=draw(st.floats(0, 1)),
    )


@given(schedule=wsd_schedules(), more=st.integers(0, 300))
def test_wsd_is_a_line_up_a_level_and_a_line_down_to_the_floor(schedule: WsdSchedule, more: int) -> None:
    steps = schedule.least_steps + more
    decay = round(steps * schedule.decay_fraction)
    up = np.linspace(0, PEAK, schedule.warmup_steps + 1)[1:]
    level = np.full(steps - decay - schedule.warmup_steps, PEAK)
    down = np.linspace(PEAK, schedule.floor_ratio * PEAK, decay + 1)[1:]
    assert rates(steps, schedule) == pytest.approx(np.concatenate([up, level, down]), abs=1e-12)


@given(schedule=wsd_schedules(), budgets=st.lists(st.integers(0, 300), min_size=2, max_size=2))
def test_before_the_decay_all_budgets_and_their_trunk_have_the_same_rates_to_the_bit(
    schedule: WsdSchedule, budgets: list[int]
) -> None:
    short, long = (schedule.least_steps + more for more in sorted(budgets))
    end = schedule.decay_start(short)
    assert end <= schedule.decay_start(long)
    assert rates(short, schedule)[:end] == rates(long, schedule)[:end] == rates(end, schedule.trunk)


@given(wsd_schedules())
def test_the_least_steps_are_the_first_that_hold_the_warmup_and_all_more_do(schedule: WsdSchedule) -> None:
    least = schedule.least_steps
    holds = [steps - round(steps * schedule.decay_fraction) >= schedule.warmup_steps for steps in range(least + 200)]
    assert holds == [False] * least + [True] * 200


@given(warmup=st.integers(1, 40), more=st.integers(0, 100))
def test_constant_is_a_line_up_and_the_peak(warmup: int, more: int) -> None:
    schedule = ConstantSchedule(kind="constant", warmup_steps=warmup)
    expected = [PEAK * min(1, (step + 1) / warmup) for step in range(warmup + more)]
    assert rates(schedule.least_steps + more, schedule) == pytest.approx(expected)
    assert rates(warmup + more, schedule)[warmup - 1 :] == [PEAK] * (more + 1)


def test_numbers_by_hand() -> None:
    schedule = WsdSchedule(kind="wsd", warmup_steps=2, decay_fraction=0.4, floor_ratio=0.2)
    found = [learning_rate(step, 10, 1.0, schedule) for step in range(10)]
    assert found == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


def test_a_schedule_without_a_kind_is_the_cosine() -> None:
    parse = TypeAdapter(ScheduleConfig).validate_python
    cosine = CosineSchedule(warmup_fraction=0.2)
    assert parse({"warmup_fraction": 0.2}) == parse(cosine) == cosine
    assert TypeAdapter(RelativeSchedule).validate_python({"warmup_fraction": 0.2}) == cosine
    assert parse({"kind": "constant", "warmup_steps": 3}) == ConstantSchedule(kind="constant", warmup_steps=3)


def test_labels_name_every_number_that_changes_a_weight() -> None:
    wsd = WsdSchedule(kind="wsd", warmup_steps=2, decay_fraction=0.25)
    assert wsd.label == "wsd(warmup=2 steps, decay=0.25, floor=0.1)"
    assert wsd.trunk.label == "constant(warmup=2 steps)"
    assert FmsSchedule(kind="fms").label == "fms(warmup=0.05, at most 2000 steps, floor=0.1)"
    assert CosineSchedule().label == "cosine(warmup=0.05, floor=0.1)"


def test_the_cosine_is_what_it_was() -> None:
    schedule = CosineSchedule(warmup_fraction=0.2, floor_ratio=0.1)
    expected = [0.15, 0.3] + [0.03 + 0.27 * 0.5 * (1 + math.cos(math.pi * i / 7)) for i in range(8)]
    assert rates(10, schedule) == pytest.approx(expected)


FMS: dict[int, tuple[int, dict[int, float]]] = {
    12_500: (625, {
        0: 0.0, 1: 9.592320e-07, 156: 1.310700e-04, 312: 2.247598e-04, 625: 2.983379e-04, 1250: 2.933926e-04,
        3125: 2.604594e-04, 6250: 1.65e-04, 9375: 6.954058e-05, 12_499: 3.000000e-05, 582: 2.985584e-04,
    }),
    50_000: (2000, {
        0: 0.0, 1: 2.999250e-07, 500: 1.3125e-04, 1000: 2.25e-04, 2000: 2.989355e-04, 5000: 2.933926e-04,
        12_500: 2.604594e-04, 25_000: 1.65e-04, 37_500: 6.954058e-05, 49_999: 3.000000e-05, 1888: 2.990512e-04,
    }),
    125_000: (2000, {
        0: 0.0, 1: 2.999250e-07, 500: 1.3125e-04, 1000: 2.25e-04, 2000: 2.998295e-04, 12_500: 2.933926e-04,
        31_250: 2.604594e-04, 62_500: 1.65e-04, 93_750: 6.954058e-05, 124_999: 3.000000e-05, 1954: 2.998372e-04,
    }),
}  # fmt: skip
"""By steps: warmup, and the rates at a peak of 3e-4, computed apart from this code; the last one is the largest."""


@pytest.mark.parametrize("steps", FMS)
def test_the_authors_schedule_has_the_authors_rates(steps: int) -> None:
    schedule = FmsSchedule(kind="fms")
    warmup, expected = FMS[steps]
    assert warmup_steps(steps, schedule) == warmup
    found = [learning_rate(step, steps, 3e-4, schedule) for step in range(steps)]
    assert {step: found[step] for step in expected} == pytest.approx(expected, rel=1e-6)
    assert found.index(max(found)) == list(expected)[-1]


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (19, 0), (20, 1), (39, 1), (40, 2)])
def test_a_run_too_short_to_warm_up_follows_the_authors_cosine(steps: int, warmup: int) -> None:
    schedule = FmsSchedule(kind="fms")
    assert warmup_steps(steps, schedule) == warmup
    cosine = [PEAK * (0.1 + 0.9 * (1 + math.cos(math.pi * step / steps)) / 2) for step in range(steps)]
    up = [PEAK * (1 - (1 - step / warmup) ** 2) for step in range(warmup)]
    assert rates(steps, schedule) == pytest.approx([*up, *cosine[warmup:]])


@pytest.mark.parametrize(
    "schedule",
    [
        CosineSchedule(),
        FmsSchedule(kind="fms"),
        WsdSchedule(kind="wsd", warmup_steps=3),
        ConstantSchedule(kind="constant", warmup_steps=3),
    ],
    ids=lambda schedule: schedule.kind,
)
@pytest.mark.parametrize("border", [1, 40, 95, 119])
def test_the_parts_of_a_schedule_together_are_the_whole(schedule: ScheduleConfig, border: int) -> None:
    first = PartSchedule(whole=schedule, start=0, steps=120)
    second = first.model_copy(update={"start": border})
    parts = [learning_rate(step, border, PEAK, first) for step in range(border)]
    parts += [learning_rate(step, 120 - border, PEAK, second) for step in range(120 - border)]
    assert parts == rates(120, schedule)
    assert second.label == f"{schedule.label}, from step {border} of 120"
