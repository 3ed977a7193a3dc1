"""Which runs share a trunk, and what the trunks read: by example, and for any study (hypothesis)."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_vs_scratch.config.training import ConstantSchedule
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.progress import job_seconds
from pruning_vs_scratch.study import Run, Study, TrainingPlan
from pruning_vs_scratch.study.inputs import starting_point
from pruning_vs_scratch.study.priority import priority_of, training_flops
from studies import BATCH, Values, block, plan, studies, with_matrix

WSD = {"kind": "wsd", "warmup_steps": 1, "decay_fraction": 0.5}


def shared(values: Values, *blocks: Values, **schedule: object) -> Study:
    """A study of some blocks, by WSD."""
    values["training"]["schedule"] = WSD | schedule
    return with_matrix(values, *blocks)


@st.composite
def wsd_studies(draw: st.DrawFn) -> tuple[Study, Study]:
    """Any study by WSD with shared trunks, and the same without; a warmup of one step fits every budget."""
    schedule = WSD | {"decay_fraction": draw(st.sampled_from([0.1, 0.3, 0.45]))}
    values = draw(studies()).config.model_dump(mode="json")
    on, off = (
        values | {"training": values["training"] | {"schedule": schedule, "share_trunks": share}}
        for share in (True, False)
    )
    return Study(on), Study(off)


def decay_steps(found: TrainingPlan) -> int:
    """How many of a WSD run's steps decay."""
    return round(found.steps * found.model_dump()["schedule"]["decay_fraction"])


def start_of(run: Run) -> tuple[object, ...]:
    """What decides the weights of a run's first steps."""
    assert run.plan is not None
    where = (run.plan.window_start, run.plan.init_seed)
    return (run.target, run.seed, run.start, run.mask, run.redrawn, run.rewound, *where)


def test_the_trunks_of_one_start_are_a_chain(smoke: Values) -> None:
    """Budgets of 4, 6 and 8 steps of 1,024 tokens; half of each decays."""
    study = shared(smoke, block(["magnitude"], [8192, 4096, 6144]))
    first, second, third = (f"P16.4k-magnitude-0.5-R{label}-trunk-seed0" for label in ("4.1k", "6.14k", "8.19k"))
    assert [study.run(name).trunk for name in (first, second, third)] == [None, first, second]
    assert [plan(study, name).steps for name in (first, second, third)] == [2, 3, 4]
    for label, trunk in (("4.1k", first), ("6.14k", second), ("8.19k", third)):
        assert study.run(f"P16.4k-magnitude-0.5-R{label}-seed0").trunk == trunk
    assert plan(study, third).schedule == ConstantSchedule(kind="constant", warmup_steps=1)


def test_a_run_continues_from_its_trunks_state_and_curve(smoke: Values) -> None:
    study = shared(smoke, block(["magnitude"], [4096, 8192]))
    pruned = study.paths.model("P16.4k-magnitude-0.5-seed0")
    trunk = "P16.4k-magnitude-0.5-R4.1k-trunk-seed0"
    alone = {"model": pruned, "mask": pruned}
    assert starting_point(study, trunk) == alone
    assert starting_point(study, "P16.4k-magnitude-0.5-R4.1k-seed0") == alone | {
        "state": study.paths.runs / trunk / "state",
        "state-metrics": study.paths.runs / trunk / "metrics.jsonl",
    }


def test_full_baselines_of_one_target_share_and_each_start_has_separate_trunks(smoke: Values) -> None:
    study = shared(smoke, block(["minitron_depth"], [4096, 8192], full=[4096, 8192]))
    names = {run.trunk for run in study.recorded_runs.values() if run.trunk}
    starts = ("P16.4k-minitron_depth-0.5-R{}", "S{}-depth-0.5", "S{}-depth-0.5-full")
    labels = (("4.1k", "8.19k"), ("4.1k", "8.19k"), ("21.5k", "25.6k"))
    wanted = {f"{s.format(n)}-trunk-seed0" for s, pair in zip(starts, labels, strict=True) for n in pair}
    assert set(study.trunks) == names == wanted
    full = plan(study, "S25.6k-depth-0.5-full-trunk-seed0")
    assert (full.window_start, full.init_seed) == (0, plan(study, "S25.6k-depth-0.5-full-seed0").init_seed)


def test_a_larger_budget_changes_nothing_of_the_runs_that_were_there(smoke: Values) -> None:
    small = shared(smoke, block(["magnitude"], [4096, 8192]))
    large = shared(smoke, block(["magnitude"], [4096, 8192, 16384]))
    assert small.recorded_runs.items() <= large.recorded_runs.items()


def test_budgets_whose_decays_begin_at_one_step_share_one_trunk(smoke: Values) -> None:
    """Of 4 and 5 steps, 2 and 3 decay (0.55 of them, rounded)."""
    study = shared(smoke, block(["magnitude"], [4096, 5120]), decay_fraction=0.55)
    trunks = {study.run(f"P16.4k-magnitude-0.5-R{label}-seed0").trunk for label in ("4.1k", "5.12k")}
    assert trunks == {"P16.4k-magnitude-0.5-R4.1k-trunk-seed0"}


@pytest.mark.parametrize(
    "training",
    [{}, {"schedule": {"kind": "constant", "warmup_steps": 1}}, {"schedule": WSD, "share_trunks": False}],
    ids=["cosine", "constant", "off"],
)
def test_nothing_is_shared_by_other_schedules_or_when_switched_off(smoke: Values, training: Values) -> None:
    smoke["training"] |= training
    study = with_matrix(smoke, block(["magnitude"], [4096, 8192]))
    assert study.trunks == {}
    assert all(run.trunk is None for run in study.runs.values())


def test_a_warmup_that_reaches_into_the_decay_is_refused_with_the_smallest_budget(smoke: Values) -> None:
    """Of 8 steps 4 are left, of 9 steps 5: half of 9 is rounded to 4."""
    with pytest.raises(UserError) as error:
        shared(smoke, block(["magnitude"], [9216, 8192]), warmup_steps=5)
    (line,) = str(error.value).splitlines()[1:]
    assert line.startswith("  matrix.0.retrain.1: 8192 tokens are 8 steps, and training.schedule.warmup_steps (5)")
    assert line.endswith("reaches into their decay; smallest valid: 9216")
    assert plan(shared(smoke, block(["magnitude"], [9216]), warmup_steps=5), "S9.22k-magnitude-0.5-seed0").steps == 9


def test_a_parent_shorter_than_its_warmup_is_named(smoke: Values) -> None:
    smoke["training"]["schedule"] = {"kind": "constant", "warmup_steps": 17}
    with pytest.raises(UserError, match=r"parent.tokens: 16384 tokens are 16 steps.*their end; smallest valid: 17408"):
        with_matrix(smoke, block(["magnitude"], [18432]))


@pytest.mark.slow
@given(wsd_studies())
def test_sharing_changes_only_the_start_of_runs(both: tuple[Study, Study]) -> None:
    on, off = both
    assert on.pairs == off.pairs
    assert list(on.runs) == list(off.runs)
    assert off.trunks == {}
    for name, run in on.runs.items():
        alone = off.run(name)
        assert {field for field in vars(run) if getattr(run, field) != getattr(alone, field)} <= {"trunk"}


@pytest.mark.slow
@given(wsd_studies())
def test_a_trunk_is_the_beginning_of_every_run_that_continues_from_it(both: tuple[Study, Study]) -> None:
    study = both[0]
    own = {"run", "phase", "window_end", "schedule"}
    for run in study.recorded_runs.values():
        if run.trunk:
            trunk, mine = study.run(run.trunk), plan(study, run.name)
            begun = plan(study, trunk.name)
            assert begun.model_dump(exclude=own) == mine.model_dump(exclude=own)
            assert (trunk.role, begun.phase, begun.run) == ("trunk", "trunk", trunk.name)
            assert start_of(trunk) == start_of(run)
            assert 0 < begun.steps < mine.steps or run.role != "trunk"
            if run.role != "trunk":
                assert mine.window_end - begun.window_end == decay_steps(mine) * BATCH


@pytest.mark.slow
@given(wsd_studies())
def test_a_start_costs_its_longest_run_and_the_decays_of_the_others(both: tuple[Study, Study]) -> None:
    on, off = both
    spent, decays, longest = (Counter[tuple[object, ...]]() for _ in range(3))
    for run in on.recorded_runs.values():
        if run.plan is None:
            continue
        start, shape, length = start_of(run), run.target.shape, run.plan.sequence_length
        spent[start] += training_flops(on.recorded_runs, run.name)
        if run.role != "trunk":
            decay = decay_steps(run.plan) * BATCH
            decays[start] += shape.training_flops(decay, length)
            longest[start] = max(longest[start], shape.training_flops(run.plan.sequences - decay, length))
    assert spent == decays + longest
    assert sum(spent.values()) <= sum(training_flops(off.recorded_runs, name) for name in off.trained_runs)


@pytest.mark.slow
@given(wsd_studies())
def test_trunks_are_made_and_recorded_but_neither_evaluated_nor_compared(both: tuple[Study, Study]) -> None:
    study = both[0]
    evaluated = {run for group in study.evaluation_groups.values() for run in group}
    compared = {name for pair in study.pairs for name in (pair.retrained, pair.scratch, pair.parent)}
    assert not set(study.trunks) & (evaluated | compared | set(study.trained_runs) | set(study.runs))
    assert set(study.recorded_runs) == set(study.runs) | set(study.trunks)
    assert {f"Train {name}" for name in study.trunks} <= set(job_seconds(study))
    assert study.targets == both[1].targets
    assert study.text.windows_needed("train") == both[1].text.windows_needed("train")
    assert {run.trunk for run in study.recorded_runs.values()} - {None} == set(study.trunks)


@given(wsd_studies())
def test_a_trunk_comes_before_everything_that_depends_on_it(both: tuple[Study, Study]) -> None:
    study = both[0]
    for run in study.recorded_runs.values():
        if run.trunk:
            assert priority_of(study.recorded_runs, run.trunk) >= priority_of(study.recorded_runs, run.name)
