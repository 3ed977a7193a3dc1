"""Schedules with a warmup in steps, against plain lists of their three parts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pruning_vs_scratch.config.training import ConstantSchedule, CosineSchedule, ScheduleConfig, WsdSchedule
from pruning_vs_scratch.training.schedule import learning_rate

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
    assert parse({"kind": "constant", "warmup_steps": 3}) == ConstantSchedule(kind="constant", warmup_steps=3)


def test_labels_name_every_number_that_changes_a_weight() -> None:
    wsd = WsdSchedule(kind="wsd", warmup_steps=2, decay_fraction=0.25)
    assert wsd.label == "wsd(warmup=2 steps, decay=0.25, floor=0.1)"
    assert wsd.trunk.label == "constant(warmup=2 steps)"
    assert CosineSchedule().label == "cosine(warmup=0.05, floor=0.1)"


def test_the_cosine_is_what_it_was() -> None:
    schedule = CosineSchedule(warmup_fraction=0.2, floor_ratio=0.1)
    expected = [0.15, 0.3] + [0.03 + 0.27 * 0.5 * (1 + math.cos(math.pi * i / 7)) for i in range(8)]
    assert rates(10, schedule) == pytest.approx(expected)
