"""Runs of arms: what they start from, what they read, and what they share with the rest of the study."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pruning_vs_scratch.config.training import PartSchedule
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import ArmPair, Run, Study
from pruning_vs_scratch.study.arms import steps_of_equal_flops
from pruning_vs_scratch.study.inputs import starting_point
from pruning_vs_scratch.study.priority import priority_of
from pruning_vs_scratch.study.sweep import follows_sweep
from studies import BASE, GRANULARITY, LENGTH, Values, block, plan, pruning, studies, with_matrix

DEPTH = "P16.4k-minitron_depth-0.5-seed0"
RETRAINED, SCRATCH = "P16.4k-minitron_depth-0.5-R8.19k-seed0", "S8.19k-depth-0.5-seed0"
QUARTER = {"ratio": 0.25, "layers": 3}
WSD = {"kind": "wsd", "warmup_steps": 1, "decay_fraction": 0.25}
STEP = 1024
"""Tokens of a step of the smoke study."""


def armed(values: Values, *methods: str, **arms: Any) -> Study:
    """Some methods at ratio 0.5, retrained on 8 steps, with arms."""
    values["targets"]["depth"].insert(0, QUARTER)
    return with_matrix(values, block(list(methods), [8 * STEP], **arms))


def only(study: Study) -> ArmPair:
    (pair,) = study.arms
    return pair


def way(study: Study, name: str) -> list[Run]:
    """The trained runs on the way to a model."""
    return [study.run(run) for run in study.way(name) if study.run(run).plan is not None]


def windows(study: Study, name: str) -> list[tuple[int, int]]:
    return [(plan(study, run.name).window_start, plan(study, run.name).window_end) for run in way(study, name)]


# Distillation


@pytest.mark.parametrize("method", ["minitron_depth", "wanda"])
def test_both_distilled_sides_differ_from_theirs_in_the_objective_alone(method: str, smoke: Values) -> None:
    study = armed(smoke, method, distilled={"tokens": [8 * STEP]})
    pair = only(study)
    usual = next(p for p in study.pairs if p.retrained == pair.usual)
    parent = study.paths.model("P16.4k-seed0")
    for name, other in ((pair.run, usual.retrained), (pair.baseline, usual.scratch)):
        ours, theirs = study.run(name), study.run(other)
        assert plan(study, name).distillation == study.config.training.distillation
        assert plan(study, name).model_copy(update={"run": "", "distillation": None}) == plan(study, other).model_copy(
            update={"run": ""}
        )
        assert replace(ours, name="", role="parent", plan=None) == replace(theirs, name="", role="parent", plan=None)
        assert starting_point(study, name) == starting_point(study, other) | {"teacher": parent}
    assert (pair.run, pair.baseline) == (
        pair.usual.replace("-seed0", "-kd-seed0"), usual.scratch.replace("-seed0", "-kd-seed0"),
    )  # fmt: skip


@pytest.mark.parametrize(("method", "steps"), [("minitron_depth", 5), ("wanda", 6)])
def test_distillation_on_equal_flops_takes_as_many_steps_as_fit(method: str, steps: int, smoke: Values) -> None:
    study = armed(smoke, method, distilled={"flops": [8 * STEP]})
    pair = only(study)
    teacher, shape = study.run("P16.4k-seed0").target.shape, study.run(pair.run).target.shape
    whole = shape.training_flops(64, 128)
    spent = [shape.training_flops(8 * n, 128) + teacher.forward_flops(8 * n, 128) for n in range(9)]
    assert steps == max(n for n in range(9) if spent[n] <= whole)
    for name in (pair.run, pair.baseline):
        assert plan(study, name).steps == steps
        assert plan(study, name).window_start == plan(study, pair.usual).window_start
    assert f"R{steps * STEP / 1000:.3g}k-kd" in pair.run


@given(steps=st.integers(0, 500), batch=st.integers(1, 9))
def test_one_more_step_of_distillation_would_exceed_the_flops(steps: int, batch: int) -> None:
    shape = Study(BASE).run("P16.4k-seed0").target.shape
    found = steps_of_equal_flops(shape, shape, steps, batch, LENGTH)
    step = shape.training_flops(batch, LENGTH) + shape.forward_flops(batch, LENGTH)
    assert found * step <= steps * shape.training_flops(batch, LENGTH) < (found + 1) * step


@pytest.mark.parametrize(("schedule", "needed"), [({"kind": "cosine"}, 1), (WSD | {"warmup_steps": 6}, 8)])
def test_flops_that_are_too_few_for_the_schedule_are_refused(schedule: Values, needed: int, smoke: Values) -> None:
    smoke["training"]["schedule"] = schedule
    budget = needed * STEP
    with pytest.raises(
        UserError, match=rf"matrix\.0\.distilled\.flops: the FLOPs of {budget} .* needs {needed}; choose"
    ):
        with_matrix(smoke, block(["wanda"], [budget], distilled={"flops": [budget]}))


# Gradual pruning


@pytest.mark.parametrize("method", ["minitron_depth", "wanda"])
def test_each_step_of_gradual_pruning_reads_the_next_part_of_the_budget(method: str, smoke: Values) -> None:
    study = armed(smoke, method, gradual=[{"ratios": [0.25, 0.5], "retrain": [8 * STEP]}])
    pair = only(study)
    first, halfway, second, last = (study.run(name) for name in study.way(pair.run)[1:])
    assert pair.steps == "0.25+0.5"
    assert [run.target.ratio for run in (first, halfway, second, last)] == [0.25, 0.25, 0.5, 0.5]
    assert last.target == study.run(pair.usual).target
    assert windows(study, pair.run)[1:] == [(128, 160), (160, 192)]
    assert [run.tokens_retrained for run in (halfway, last)] == [0, 4 * STEP]
    calibration = pruning(study, first.name).tokens
    assert (last.tokens_prune, last.tokens_parent) == (2 * calibration, 16384)
    assert {run.role for run in (first, halfway, second, last)} == {"gradual"}
    masks = [run.mask for run in (first, halfway, second, last)]
    sparse = GRANULARITY[method] == "sparse"
    assert masks == ([first.name, first.name, second.name, second.name] if sparse else [None] * 4)


def test_a_first_step_that_the_matrix_has_is_that_run(smoke: Values) -> None:
    smoke["targets"]["depth"].insert(0, QUARTER)
    gradual = {"gradual": [{"ratios": [0.25, 0.5], "retrain": [8 * STEP]}]}
    blocks_ = [block(["shortgpt"], [8 * STEP], **gradual), block(["shortgpt"], [4 * STEP]) | {"ratios": [0.25]}]
    study = with_matrix(smoke, *blocks_)
    assert study.run("P16.4k-shortgpt-0.25-R4.1k-seed0").role == "retrained"
    assert "P16.4k-shortgpt-0.25-R4.1k-seed0" in study.way(only(study).run)


# One schedule


def test_a_joint_schedule_continues_where_the_parent_left_it(smoke: Values) -> None:
    smoke["training"]["learning_rates"] = [{"runs": ["retrained"], "peak": 0.01}]
    study = armed(smoke, "minitron_depth", joint=[8 * STEP])
    pair = only(study)
    parent, retrained = way(study, pair.run)
    assert parent.name == "P16.4kof24.6k-seed0"
    whole = study.config.training.schedule
    assert plan(study, parent.name).schedule == PartSchedule(whole=whole, start=0, steps=24)
    assert plan(study, retrained.name).schedule == PartSchedule(whole=whole, start=16, steps=24)
    assert plan(study, parent.name).init_seed == plan(study, "P16.4k-seed0").init_seed
    rate = study.config.training.peak_learning_rate
    assert {plan(study, run.name).peak_learning_rate for run in (parent, retrained)} == {rate}
    assert plan(study, pair.usual).peak_learning_rate == 0.01


def test_parents_of_joint_and_early_arms_continue_from_trunks_before_their_decay(smoke: Values) -> None:
    smoke["training"]["schedule"] = WSD
    study = armed(smoke, "minitron_depth", joint=[8 * STEP], early=[{"shares": [0.5], "retrain": [8 * STEP]}])
    assert study.run("P8.19k-seed0").trunk == "P8.19k-trunk-seed0"
    assert study.run("P16.4k-seed0").trunk == study.run("P16.4kof24.6k-seed0").trunk == "P16.4k-trunk-seed0"
    assert study.run("P16.4k-trunk-seed0").trunk == "P8.19k-trunk-seed0"
    assert plan(study, "P16.4k-trunk-seed0").steps == 12


@pytest.mark.parametrize("decay", [0.03, 0.25, 0.4])
def test_a_joint_parent_leaves_a_trunk_before_it_ends_or_decays(decay: float, smoke: Values) -> None:
    """With a decay of 3 %, the trunk of 16 steps is the whole parent, which leaves no step."""
    smoke["training"]["schedule"] = WSD | {"decay_fraction": decay}
    study = with_matrix(smoke, block(["magnitude"], [2 * STEP], joint=[2 * STEP]))
    joint, trunk = study.run("P16.4kof18.4k-seed0"), study.trunks["P16.4k-trunk-seed0"]
    if joint.trunk is None:
        assert plan(study, trunk.name).steps == plan(study, joint.name).steps
    else:
        assert joint.trunk == trunk.name
        assert plan(study, trunk.name).steps < min(16, 18 - round(18 * decay) + 1)
    assert (joint.trunk is None) == (decay == 0.03)


# Younger parents


def test_a_parent_pruned_early_leaves_its_tokens_to_retraining(smoke: Values) -> None:
    study = armed(smoke, "wanda", early=[{"shares": [0.25, 0.75], "retrain": [8 * STEP]}])
    for pair, tokens in zip(study.arms, (4096, 12288), strict=True):
        parent, retrained = way(study, pair.run)
        assert pair.share == tokens / 16384
        assert windows(study, pair.run) == [(0, tokens // 128), (tokens // 128, 192)]
        assert retrained.tokens_parent == tokens
        assert plan(study, parent.name).schedule == plan(study, "P16.4k-seed0").schedule
        assert plan(study, retrained.name).peak_learning_rate == plan(study, pair.usual).peak_learning_rate


def test_chains_have_arms_too(smoke: Values) -> None:
    chain = {"chains": [["minitron_depth@0.5", "wanda@0.5"]], "retrain": [8 * STEP]}
    arms = {
        "joint": [8 * STEP],
        "early": [{"shares": [0.5], "retrain": [8 * STEP]}],
        "distilled": {"tokens": [8 * STEP]},
    }
    study = with_matrix(smoke, chain | arms)
    assert [pair.arm for pair in study.arms] == ["distilled", "joint", "early"]
    early = study.arms[2]
    assert study.way(early.run) == [
        "P8.19k-seed0", "P8.19k-minitron_depth-0.5-seed0", "P8.19k-minitron_depth-0.5+wanda-0.5-seed0",
        "P8.19k-minitron_depth-0.5+wanda-0.5-R16.4k-seed0",
    ]  # fmt: skip


# All arms


def test_parents_of_all_kinds_go_first_and_follow_no_sweep(smoke: Values) -> None:
    smoke["training"]["schedule"] = WSD
    study = armed(smoke, "minitron_depth", joint=[8 * STEP], early=[{"shares": [0.5], "retrain": [8 * STEP]}])
    parents = [name for name, run in study.recorded_runs.items() if run.is_parent]
    assert len(parents) == 5
    others = study.recorded_runs.keys() - parents
    first = min(priority_of(study.recorded_runs, name) for name in parents)
    assert first > max(priority_of(study.recorded_runs, name) for name in others)
    following = {name for name, run in study.recorded_runs.items() if follows_sweep(run)}
    assert not following & set(parents)
    assert not any(study.run(name).role == "joint" for name in following)
    assert {RETRAINED, SCRATCH, "P8.19k-minitron_depth-0.5-R16.4k-seed0"} <= following


def test_seeds_have_arms_of_their_own(smoke: Values) -> None:
    smoke["seeds"] = [0, 3]
    study = armed(smoke, "wanda", joint=[8 * STEP], distilled={"tokens": [8 * STEP]})
    assert [(pair.arm, pair.seed) for pair in study.arms] == [
        ("distilled", 0), ("joint", 0), ("distilled", 3), ("joint", 3),
    ]  # fmt: skip
    for pair in study.arms:
        assert {study.run(name).seed for name in (*study.way(pair.run), *study.way(pair.baseline))} == {pair.seed}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(studies(), st.data())
def test_arms_change_no_other_run_and_read_what_they_are_compared_with(study: Study, data: st.DataObject) -> None:
    values = study.config.model_dump(mode="json")
    plain = Study(values)
    matrix = []
    for found in values["matrix"]:
        some = st.lists(st.sampled_from(found["retrain"]), unique=True)
        matrix.append(found | {"joint": data.draw(some), "distilled": {"tokens": data.draw(some)}})
    arms = Study(values | {"matrix": matrix})
    assert {name: arms.runs[name] for name in plain.runs} == plain.runs
    assert arms.pairs == plain.pairs
    for pair in arms.arms:
        ours, theirs = windows(arms, pair.run), windows(arms, pair.baseline)
        assert (ours if pair.arm == "joint" else ours[-1:]) == theirs
