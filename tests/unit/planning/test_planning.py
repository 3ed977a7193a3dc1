"""A plan counts what a study will do: operations, jobs, chains, sharing; and it refuses what it cannot know."""

import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from figure_world import texts
from job_graphs import graph_of
from program import pvs
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.figures import plan as figure
from pruning_vs_scratch.figures import style
from pruning_vs_scratch.figures.catalogue import figures_of
from pruning_vs_scratch.planning.estimate import Load
from pruning_vs_scratch.planning.jobs import Job, JobGraph, job_graph
from pruning_vs_scratch.planning.measure import merged
from pruning_vs_scratch.planning.plan import Plan
from pruning_vs_scratch.planning.schedule import longest_chain
from pruning_vs_scratch.planning.text import hours, markdown, size, span
from pruning_vs_scratch.planning.throughput import COLUMNS, SHIPPED, Rate, ThroughputTable, read_rates, write_rates
from pruning_vs_scratch.pruning.catalogue import methods
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.costs import calibration_flops, planned_costs
from pruning_vs_scratch.study.plan import PruningPlan
from pruning_vs_scratch.tables.published.catalogue import PAGES
from studies import studies

Values = dict[str, Any]
BILLION = 10**9


def plan_of(values: Values, device: str | None = None) -> Plan:
    study = Study(values)
    throughput = ThroughputTable.read([REPOSITORY / SHIPPED])
    return Plan(study, throughput, device or study.config.cluster.device, figures_of(study), PAGES)


def rate(**changes: Any) -> Rate:
    values = {"device": "x1", "precision": "bf16", "work": "train", "rate": 100.0, "unit": "TFLOP/s"}
    return Rate(**values | {"kind": "measured", "source": "a test"} | changes)


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
    from models import SHAPE, Case, blockwise, stream_of, tiny_llama
    from pruning_vs_scratch.pruning.catalogue import facts_of, implementation_of
    from pruning_vs_scratch.pruning.scores import score
    from pruning_vs_scratch.pruning.sparse import sparse_blocks

    facts = facts_of(method)
    settings = facts.options(**options)
    stream = stream_of(blockwise(tiny_llama()))
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
    graph = job_graph(study, figures_of(study), PAGES)
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


# The throughput table


def test_every_shipped_rate_names_its_source_and_kind() -> None:
    rates = read_rates(REPOSITORY / SHIPPED)
    assert {rate.kind for rate in rates} == {"measured", "published", "assumed"}
    assert all(len(rate.source) > 20 for rate in rates)
    keys = [(rate.device, rate.precision, rate.work, rate.params_from) for rate in rates]
    assert len(set(keys)) == len(keys)


def test_rates_of_your_own_go_before_those_that_are_shipped(tmp_path: Path) -> None:
    own, shipped = tmp_path / "own.csv", tmp_path / "shipped.csv"
    write_rates([rate(rate=7.0, params_from=10, params_below=20)], own)
    write_rates([rate(rate=3.0)], shipped)
    table = ThroughputTable.read([own, tmp_path / "missing.csv", shipped])
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
        ("x2", "bf16", 10, ["'x2'", "devices with rates: x1"]),
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
    [("rate", "-1", "greater than 0"), ("rate", "fast", "valid number"), ("kind", "guessed", "'published'"),
     ("source", "", "Field required"), ("work", "sleep", "'train'")],
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


# The command


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return pvs(folder, "plan", *arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with the project's configuration and nothing else."""
    (tmp_path / "config").mkdir()
    for file in (REPOSITORY / "config").glob("*.*"):
        (tmp_path / "config" / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.slow
def test_the_command_writes_the_plan_and_its_figure_and_prints_it(folder: Path) -> None:
    result = call(folder, "paper")
    assert result.returncode == 0, result.stderr
    written = (folder / "results/paper/plan.md").read_text()
    assert result.stdout.startswith(written)
    long = pd.read_csv(folder / "results/paper/plan.csv", dtype=str)
    assert set(long["part"]) == {
        "job", "stage", "ledger", "run", "study", "budget", "chain", "shared", "storage", "rate",
    }  # fmt: skip
    exact = long[(long["part"] == "ledger") & (long["item"] == "pretrain") & (long["quantity"] == "flops")]
    assert exact["value"].tolist() == ["12145205440413696000000"]
    assert {path.suffix for path in (folder / "figures/paper").iterdir()} == {".csv", ".pdf", ".png"}
    assert str(folder) not in written + long.to_csv()


def test_a_plan_is_of_a_study_and_what_goes_over_it(folder: Path) -> None:
    result = call(folder, "paper", "paper-meta")
    assert result.stdout.startswith("# Plan of study paper-meta on h100"), result.stderr
    assert "train Meta-" in result.stdout
    assert "pretrain" not in result.stdout


def test_the_command_needs_no_torch(folder: Path) -> None:
    code = """
import runpy, sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "snakemake"):
            raise ImportError(f"{name} is not needed here")
sys.meta_path.insert(0, NoTorch())
sys.argv = ["pvs", "plan", "smoke"]
runpy.run_module("pruning_vs_scratch", run_name="__main__")
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


OWN_BUDGET = {"study": "own", "parent": {"tokens": 1000}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["papr"], ["no study 'papr'", "did you mean 'paper'? There are: demo, demo-seeds, ", ", own, "]),
        (["paper", "--device", "h1000"], ["'h1000'", "did you mean 'h100'?"]),
        (["paper", "--device", "cpu"], ["in bf16", "'cpu'"]),
        (["own"], ["parent.tokens: 1000 tokens is not a multiple", "nearest: 768 or 1536"]),
        (["smoke", "--throughput", "broken.csv"], ["broken.csv has the columns a, b"]),
    ],
    ids=["study", "device", "precision", "budget", "table"],
)
def test_bad_input_is_answered_in_one_message_and_nothing_is_written(
    folder: Path, arguments: list[str], words: list[str]
) -> None:
    (folder / "config/own.yaml").write_text(yaml.safe_dump(OWN_BUDGET))
    (folder / "broken.csv").write_text("a,b\n1,2\n")
    result = call(folder, *arguments)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert [word for word in words if word not in result.stderr] == []
    assert not (folder / "results").exists()


# Words and the figure


def test_hours_and_bytes_are_told_in_three_digits() -> None:
    assert [hours(value) for value in (279_471.2, 12.345, 0.02, 0.0004, 0)] == ["279,471", "12.3", "0.02", "<0.01", "0"]
    assert [span(value) for value in (1182.4, 2.834, 0.57, 0.01, 0.0003, 1e-9, 0)] == [
        "1,182 h", "2.83 h", "34 min", "36 s", "1 s", "<1 s", "0",
    ]  # fmt: skip


def test_more_devices_end_sooner_and_the_longest_chain_is_the_least(folder: Path) -> None:
    found = {}
    for devices in (1, 2, 1000):
        result = call(folder, "smoke", "--devices", str(devices))
        assert f"on {devices} core{'s' * (devices > 1)}: " in result.stdout
        table = pd.read_csv(folder / "results/smoke/plan.csv", dtype=str).set_index(["part", "quantity"])
        found[devices] = float(table.loc[("study", "hours"), "value"])
        chain = table.loc[("chain", "hours"), "value"].astype(float).sum()
    assert found[1] > found[2] > found[1000] == pytest.approx(chain)
    assert [size(value) for value in (5.876e12, 193e9, 999)] == ["5.88 TB", "193 GB", "999 B"]


@pytest.mark.parametrize("study", ["demo", "smoke", "demo-wsd", "paper"])
def test_the_stages_are_drawn_without_overlap_and_with_their_jobs(
    study: str, study_values: Callable[[str], Values]
) -> None:
    plan = plan_of(study_values(study))
    with style.settings("column"):
        drawn = figure.draw(plan)
        FigureCanvasAgg(drawn).draw()
    drawn.set_label("column")
    boxes = texts(drawn)
    width, height = drawn.canvas.get_width_height()
    for text, box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()
    for (one, first), (other, second) in combinations(boxes, 2):
        assert not first.overlaps(second), f"{one.get_text()!r} overlaps {other.get_text()!r}"
    shown = {text.get_text().split("\n")[0]: text.get_text() for text, _ in boxes}
    for stage in plan.stages.itertuples():
        assert f"\n{stage.jobs} job" in shown[str(stage.stage)]


def test_a_study_in_which_pruned_models_are_scored_again_is_drawn_too(smoke: Values) -> None:
    chain = {"chains": [["minitron_depth@0.5", "minitron_width@0.5"]], "retrain": [4096]}
    plan = plan_of(smoke | {"matrix": [chain]})
    assert {("score", "prune"), ("prune", "score")} <= set(zip(plan.links["stage"], plan.links["next"], strict=True))
    assert figure.data(plan).set_index("stage")["column"]["prune"] > 0
    assert [stage for stage in plan.chain["stage"] if stage in ("score", "prune")] == ["score", "prune"] * 2


def test_an_arrow_that_a_chain_of_arrows_replaces_is_left_out() -> None:
    assert figure.direct({"a": {"b", "c"}, "b": {"c"}}) == {"a": {"b"}, "b": {"c"}}
    assert figure.depths("abc", {"a": {"b", "c"}, "b": {"c"}}) == {"a": 0, "b": 1, "c": 2}
