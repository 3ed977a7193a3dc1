"""A plan counts what a study will do: operations, jobs, chains, sharing; and it refuses what it cannot know."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job_graphs import graph_of, plan_of
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.figures.catalogue import figures_of
from pruning_vs_scratch.planning.estimate import Load
from pruning_vs_scratch.planning.jobs import Job, JobGraph, job_graph
from pruning_vs_scratch.planning.schedule import longest_chain
from pruning_vs_scratch.planning.text import markdown
from pruning_vs_scratch.planning.throughput import SHIPPED, read_rates
from pruning_vs_scratch.pruning.catalogue import methods
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.costs import calibration_flops, planned_costs
from pruning_vs_scratch.study.plan import PruningPlan
from pruning_vs_scratch.tables.published.catalogue import pages_of
from studies import studies

Values = dict[str, Any]
BILLION = 10**9


# Operations


METHODS: list[tuple[str, dict[str, Any]]] = [
    *((method, {}) for method, facts in methods().items() if method != "sparsegpt" and not facts.learns_masks),
    ("minitron_depth", {"criterion": "closest"}),
    ("wanda", {"order": "dense"}),
    ("sparsegpt", {"block_size": 4}),
]


@pytest.mark.parametrize(("method", "options"), METHODS, ids=lambda value: str(value))
def test_passes_over_calibration_text_take_the_operations_that_are_counted_while_they_run(
    method: str, options: dict[str, Any]
) -> None:
    from models import SHAPE, Case, blockwise, stream_of, tiny_model
    from pruning_vs_scratch.pruning.catalogue import facts_of, implementation_of
    from pruning_vs_scratch.pruning.scores import score
    from pruning_vs_scratch.pruning.sparse import sparse_blocks

    facts = facts_of(method)
    settings = facts.options(**options)
    stream = stream_of(blockwise(tiny_model()))
    goals = [replace(SHAPE, layers=layers) for layers in (2, 3)]
    if facts.reads == "nothing":
        counted = 0
    elif facts.scored_once(settings):
        score(stream, method, goals, settings)
        counted = stream.flops
    elif facts.granularity != "sparse":
        implementation_of(method).score(stream, [Case(method).target(SHAPE).shape], settings)
        counted = stream.flops
    else:
        spec = Case(method, pattern="unstructured", options=options).spec(SHAPE)
        assert list(sparse_blocks(stream.model, implementation_of(method), spec, stream))
        counted = stream.flops
    sequences = 0 if facts.reads == "nothing" else stream.sequences
    plan = PruningPlan(
        method=method, options=options, seed=0, sequences=sequences, sequence_length=stream.length, batch_size=2,
        threads=1, low_memory=False, host_buffer_gib=1.0, device_buffer_gib=1.0, precision="auto",
    )  # fmt: skip
    assert calibration_flops(plan, settings, SHAPE, goals) == counted
    assert (counted > 0) == (facts.reads == "calibration")


def test_operations_of_any_size_are_exact_integers(study_values: Callable[[str], Values]) -> None:
    """Beyond 64 bits, and where a float would drop digits: two multiply-adds a weight, thrice, and attention."""
    study = Study(study_values("paper"))
    parent = next(costs for costs in planned_costs(study) if costs.phase == "pretrain")
    linear = 32 * (4096 * 128 * (2 * 32 + 2 * 8) + 3 * 4096 * 14336) + 128256 * 4096
    attention = 32 * 4 * 8192 * 4096
    assert parent.flops == 3 * (2 * linear + attention) * 209_715_200_000 > 2**64
    assert sum(plan_of(study_values("paper")).ledger["flops"]) == sum(costs.flops for costs in planned_costs(study))


def test_the_smallest_studys_tokens_are_those_of_its_configuration(smoke: Values) -> None:
    """docs/planning.md has both numbers; the first is summed by hand: parent, calibration, then by budget."""
    costs = planned_costs(Study(smoke))
    assert sum(row.tokens_planned for row in costs) == 16384 + 3 * 1024 + 2 * 4096 + 6 * 8192 + 2 * 25600 == 128_000
    assert sum(row.flops for row in costs) == 52_432_994_304


# Jobs and their longest chain


@given(st.integers(1, 7), st.randoms(use_true_random=False))
def test_the_longest_chain_is_that_of_all_chains_which_takes_most(jobs: int, draw: random.Random) -> None:
    links = {(i, j) for i, j in combinations(range(jobs), 2) if draw.random() < 0.4}
    graph = graph_of(links, jobs)
    seconds = {job: float(draw.randrange(1, 20)) for job in graph.jobs}
    by_number = {int(job.subject): job for job in graph.jobs}
    chains = (c for n in range(1, jobs + 1) for c in combinations(range(jobs), n))
    whole = [c for c in chains if all(link in links for link in pairwise(c))]
    longest = max(sum(seconds[by_number[i]] for i in c) for c in whole)
    found = longest_chain(graph, {job: Load(seconds=spent) for job, spent in seconds.items()})
    assert sum(seconds[job] for job in found) == longest
    assert tuple(int(job.subject) for job in found) in whole


def test_only_jobs_that_the_results_need_are_counted() -> None:
    graph = graph_of([(0, 1), (2, 3)], 4)
    assert [job.subject for job in JobGraph(graph.jobs, [Path("1")]).jobs] == ["0", "1"]


@given(studies())
def test_every_file_that_a_job_reads_is_made_by_another_and_every_run_by_one(study: Study) -> None:
    graph = job_graph(study, figures_of(study), pages_of(bool(study.arms)))
    made = [path for job in graph.jobs for path in job.outputs]
    assert len(set(made)) == len(made)
    assert {path for job in graph.jobs for path in job.inputs} <= set(made)
    assert {study.paths.manifest(run) for run in study.recorded_runs} <= set(made)
    before: set[Job] = set()
    for job in graph.in_order:
        assert set(graph.needs(job)) <= before
        before.add(job)


# Sharing


def executed(values: Values) -> int:
    """Operations of training and pruning that a study really does."""
    stages = plan_of(values).stages
    return sum(stages.loc[~stages["stage"].isin(["evaluate", "text"]), "flops"])


def test_what_sharing_saves_is_what_separate_studies_would_cost_more(smoke: Values) -> None:
    smoke["targets"]["depth"].append({"ratio": 0.75, "layers": 1})
    block = {"methods": ["minitron_depth", "shortgpt"], "ratios": [0.5], "retrain": [4096, 8192]}
    together = plan_of(smoke | {"matrix": [block]})
    # Minitron-depth scores all depths that the targets know, with one study or with four.
    apart = [
        executed(smoke | {"matrix": [block | {"methods": [method], "retrain": [budget]}]})
        for method in block["methods"]
        for budget in block["retrain"]
    ]
    shared = together.shared.set_index("what")["flops_saved"]
    assert executed(smoke | {"matrix": [block]}) + sum(shared) == sum(apart)
    assert shared["baselines from scratch, shared by methods of one shape"] > 0


def test_shared_trunks_save_an_eighth_of_the_demos_training(study_values: Callable[[str], Values]) -> None:
    """docs/training.md: by WSD, runs of two budgets take 88% of the FLOPs that they take alone."""
    shared = plan_of(study_values("demo-wsd")).shared.set_index("what").loc["trunks, shared by budgets"]
    assert shared["uses"] == 20
    assert shared["flops"] / shared["flops_alone"] == pytest.approx(0.88, abs=0.005)
    alone = study_values("demo-wsd")
    alone["training"]["share_trunks"] = False
    assert executed(alone) - executed(study_values("demo-wsd")) == shared["flops_saved"]


# The paper's study


STEPS = {10: 2_500, 30: 7_500, 50: 12_500, 200: 50_000, 250: 62_500, 500: 125_000}
"""The paper's budgets in billions of tokens, and their steps."""


def test_the_papers_study_has_the_papers_steps_and_both_counts_of_tokens(
    study_values: Callable[[str], Values],
) -> None:
    budgets = plan_of(study_values("paper")).budgets
    exact = {steps * 512 * 8192: (steps, billions * BILLION) for billions, steps in STEPS.items()}
    found = {row.tokens: (row.steps, row.tokens_by_the_paper) for row in budgets.itertuples()}
    assert {tokens: found[tokens] for tokens in exact} == exact
    # Besides, the full budget: 200B, 50B and what pruning read, rounded up to whole steps.
    full = {tokens: steps for tokens, (steps, _) in found.items() if tokens not in exact}
    assert sorted(full.values()) == [62_501, 62_500 + 419_430_400 / (512 * 8192)]


def test_the_papers_models_have_the_papers_sizes(study_values: Callable[[str], Values]) -> None:
    targets = Study(study_values("paper")).targets
    billions = {name: target.shape.params_total / BILLION for name, target in targets.items()}
    assert billions["parent"] == pytest.approx(8.03, abs=0.005)
    depth = [billions[f"depth-{ratio}"] for ratio in (0.5, 0.625, 0.75, 0.813)]
    assert [round(count, 1) for count in depth] == [4.5, 2.8, 1.9, 1.5]
    width = [billions[f"width-{ratio}"] for ratio in (0.5, 0.625, 0.75, 0.813)]
    assert [round(count, 1) for count in width] == [4.5, 2.9, 2.1, 1.6]


def test_gpu_hours_are_operations_by_the_rate_of_their_row(study_values: Callable[[str], Values]) -> None:
    plan = plan_of(study_values("paper"))
    stage = plan.stages.set_index("stage").loc["pretrain"]
    (row,) = (r for r in read_rates(REPOSITORY / SHIPPED) if r.serves("h100", "bf16", "train", 8 * BILLION))
    assert stage["gpu_hours"] == pytest.approx(stage["flops"] / row.rate / 1e12 / 3600, rel=0.001)
    assert stage["longest_hours"] * 64 == pytest.approx(stage["gpu_hours"])
    assert "torchtitan" in row.source
    assert row.source in markdown(plan)


def test_the_same_study_takes_longer_on_a_slower_device(study_values: Callable[[str], Values]) -> None:
    fast, slow = (plan_of(study_values("paper"), device).stages for device in ("h100", "a100"))
    trained = fast["stage"].isin(["pretrain", "retrain", "scratch"])
    assert (slow["gpu_hours"] > 1.8 * fast["gpu_hours"])[trained].all()
    assert list(slow["flops"]) == list(fast["flops"])
