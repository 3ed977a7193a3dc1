"""Runs take processes by their size, by rules or so that a study fills its devices; their nodes follow."""

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruning_vs_scratch.cluster.allocation import Allocation
from pruning_vs_scratch.cluster.site import Site
from pruning_vs_scratch.config.load import parse_config
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.planning.plan import Plan
from pruning_vs_scratch.planning.text import markdown
from pruning_vs_scratch.planning.throughput import SHIPPED, ThroughputTable
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.possible_processes import device_bytes, possible_processes
from pruning_vs_scratch.study.processes import LONGER, Filling, TimedStep

Values = dict[str, Any]
NUMBERS = (1, 2, 4)


def with_processes(values: Values, cluster: Values | None = None, **training: Any) -> Values:
    """A study whose global batch of 8 sequences any number up to 8 can share."""
    values["training"] |= {"micro_batch_size": 1, **training}
    return values | {"cluster": cluster or {}}


def test_the_first_rule_that_fits_a_runs_size_counts(smoke: Values) -> None:
    study = Study(smoke)
    sizes = {name: study.run(name).target.shape.params_total for name in study.trained_by_plan}
    middle = max(sizes.values())
    assert min(sizes.values()) < middle
    rules = [
        {"below_parameters": min(sizes.values()) + 1, "processes": 2},
        {"below_parameters": middle, "processes": 4},
    ]
    study = Study(with_processes(smoke, processes=8, process_rules=rules))
    for name, size in sizes.items():
        expected = 8 if size >= middle else 4 if size > min(sizes.values()) else 2
        assert study.processes.training(name) == expected


@st.composite
def steps(draw: st.DrawFn) -> list[TimedStep]:
    """A few runs that speed up with their processes, some behind others."""
    found: list[TimedStep] = []
    for i in range(draw(st.integers(1, 4))):
        work = draw(st.integers(1, 40))
        numbers = draw(st.sampled_from([NUMBERS, NUMBERS[1:], NUMBERS[:1]]))
        needs = draw(st.lists(st.sampled_from([step.name for step in found]), max_size=2, unique=True)) if found else []
        found.append(TimedStep(str(i), tuple(needs), {number: work / number for number in numbers}))
    return found


@settings(deadline=None, max_examples=60)
@given(steps())
def test_no_choice_of_processes_is_much_shorter(chosen: list[TimedStep]) -> None:
    """The bound of list scheduling for each choice; with ideal speed-up, no choice is more than twice as short here."""
    filling = Filling(chosen, devices=4)
    found = filling.seconds(filling.processes)
    names = [step.name for step in chosen]
    every = (dict(zip(names, numbers, strict=True)) for numbers in itertools.product(*(s.seconds for s in chosen)))
    assert found <= 2 * min(map(filling.seconds, every))


def test_equal_runs_in_parallel_take_one_process_each_and_one_alone_takes_all() -> None:
    many = [TimedStep(f"run{i}", (), {number: 60 / number for number in NUMBERS}) for i in range(40)]
    assert set(Filling(many, devices=4).processes.values()) == {1}
    assert Filling(many[:1], devices=4).processes == {"run0": 4}


def test_what_many_wait_for_takes_more_processes_than_they_do() -> None:
    parent = TimedStep("parent", (), {number: 60 / number for number in NUMBERS})
    others = [TimedStep(f"run{i}", ("parent",), {number: 20 / number for number in NUMBERS}) for i in range(16)]
    processes = Filling([parent, *others], devices=4).processes
    assert processes["parent"] == 4
    assert {processes[step.name] for step in others} == {1}


def test_fewer_processes_are_taken_where_the_study_is_hardly_longer() -> None:
    """With ideal speed-up all of them in turn is as short as can be."""
    filling = Filling([TimedStep(f"run{i}", (), {n: 10 / n for n in NUMBERS}) for i in range(41)], devices=4)
    assert filling.seconds(dict.fromkeys(filling.processes, 4)) == pytest.approx(41 * 10 / 4)
    assert filling.seconds(filling.processes) <= (1 + LONGER) * 41 * 10 / 4
    assert set(filling.processes.values()) < {1, 2}


def test_the_papers_runs_fit_into_their_gpus_and_share_their_batch(study_values: Callable[[str], Values]) -> None:
    study = Study(study_values("paper"))
    sizes: dict[int, set[int]] = {}
    for name in study.trained_by_plan:
        processes, run = study.processes.training(name), study.run(name)
        assert 256 % processes == 0
        assert device_bytes(study.config, run, processes) <= 80e9
        sizes.setdefault(processes, set()).add(run.target.shape.params_total)
    assert study.processes.training("P210B-seed0") == 64
    # Of the 8B parent's state alone 128 GB: no fewer than four have room for it.
    assert min(possible_processes(study.config, study.run("P210B-seed0"))) == 4
    assert len(sizes) > 3
    assert max(sizes[2]) < 5e9 < max(sizes[64])


def test_too_few_devices_for_a_model_are_named(study_values: Callable[[str], Values]) -> None:
    values = study_values("paper")
    values["cluster"] |= {"devices": 2}
    with pytest.raises(
        UserError, match=r"auto finds none for run P210B-seed0 on 2 devices of 80 GB \(\d+ GB per device"
    ):
        Study(values).processes.training("P210B-seed0")


def test_a_run_requests_as_many_nodes_as_its_processes_need(study_values: Callable[[str], Values]) -> None:
    study = Study(study_values("paper"))
    resources = Allocation(study, Site()).training
    seen = set()
    for name in study.trained_by_plan:
        run, processes = SimpleNamespace(run=name), study.processes.training(name)
        keys = ("nodes", "processes", "gres", "mpi", "tasks", "cpus_per_task")
        asked = {key: resources[key](run) for key in keys}
        nodes = -(-processes // 8)
        assert (asked["nodes"], asked["processes"], asked["gres"]) == (nodes, processes, f"gpu:{processes // nodes}")
        # Steps of several nodes are started by the job itself, and only these.
        assert (asked["mpi"], asked["tasks"]) == (("srun", nodes) if nodes > 1 else (None, None))
        assert asked["cpus_per_task"] == (8 * processes // nodes if nodes > 1 else None)
        seen.add(nodes)
    assert seen == {1, 2, 4, 8}


def test_what_is_checked_beforehand_is_the_longest_time_and_the_most_memory(
    study_values: Callable[[str], Values],
) -> None:
    """On eight nodes the longest run is smaller than the parent."""
    study = Study(study_values("paper"))
    allocation = Allocation(study, Site())
    [request] = [each for each in allocation.requests if each.kind == "training" and each.nodes == 8]
    runs = [SimpleNamespace(run=name) for name in study.trained_by_plan if study.processes.training(name) == 64]
    asked = {key: [allocation.training[key](run, attempt=1) for run in runs] for key in ("runtime", "mem_mb")}
    assert (request.minutes, request.megabytes) == (max(asked["runtime"]), max(asked["mem_mb"]))
    assert asked["runtime"].index(request.minutes) != asked["mem_mb"].index(request.megabytes)


def test_a_number_for_all_runs_requests_the_same_as_before(smoke: Values) -> None:
    resources = Allocation(Study(with_processes(smoke, {"nodes": 2, "gpus": True}, processes=4)), Site()).training
    expected = {"mpi": "srun", "tasks": 2, "cpus_per_task": 2, "gres": "gpu:2", "tasks_per_gpu": 0}
    assert resources.items() >= expected.items()


MISTAKES: dict[str, tuple[Values, Values, str]] = {
    "auto without devices": ({"processes": "auto"}, {"gpus": True}, "auto needs cluster.devices; add it"),
    "auto without GPUs": ({"processes": "auto"}, {"devices": 4}, "auto needs cluster.gpus: true; add it"),
    "nodes twice": ({"processes": 4}, {"nodes": 2, "devices_per_node": 2}, "follows from devices_per_node"),
    "a batch that cannot be shared": (
        {"process_rules": [{"below_parameters": 1e9, "processes": 3}]},
        {},
        "training.process_rules.0.processes: 3 processes cannot share a global batch of 8 sequences",
    ),
    "machines that cannot share": (
        {"processes": 8},
        {"devices_per_node": 3, "gpus": True},
        "cluster.devices_per_node: 3 nodes cannot share training.processes = 8 evenly; make it a multiple of 3",
    ),
    "a rule that no run can meet": (
        {"process_rules": [{"below_parameters": 2e9, "processes": 1}, {"below_parameters": 1e9, "processes": 2}]},
        {},
        "training.process_rules.1: below_parameters 1e+09 is not above the 2e+09 of the rule before",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_place(smoke: Values, mistake: str) -> None:
    training, cluster, words = MISTAKES[mistake]
    with pytest.raises(UserError) as error:
        parse_config(with_processes(smoke, cluster, **training))
    assert words in str(error.value)


def test_the_plan_says_how_long_the_devices_take_and_which_processes_runs_have(
    study_values: Callable[[str], Values],
) -> None:
    plan = Plan(Study(study_values("paper")), ThroughputTable.read([SHIPPED]), "h100", (), ())
    assert plan.hours is not None
    used = plan.stages["gpu_hours"].sum() / (256 * plan.hours)
    assert 0.9 < used <= 1
    runs = plan.runs.set_index("run")
    assert list(runs.loc["P210B-seed0", ["processes", "nodes"]]) == [64, 8]
    assert (runs["device_hours"] - runs["processes"] * runs["hours"]).abs().max() < 1e-6
    text = markdown(plan)
    assert f"on 256 devices: {plan.hours:,.0f} h\n" in text
    assert "## Processes" in text
    assert "| 8.03B        | 64          | 8 " in text
