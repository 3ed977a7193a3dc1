"""Every rung of the ladder keeps the paper's proportions, decides its claims, and is priced as it would be run."""

import random
import re
import resource
import subprocess
from fractions import Fraction
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from job_graphs import graph_of
from program import PVS
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.config.strict_yaml import read_yaml
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.ladder import page
from pruning_vs_scratch.ladder.machine import Machine
from pruning_vs_scratch.ladder.overlay import rung_overlay
from pruning_vs_scratch.ladder.price import Price, ladder, largest_within
from pruning_vs_scratch.ladder.proportions import CORE_METHODS, EARLY_SHARES, MATRICES, MatrixName, Proportions
from pruning_vs_scratch.ladder.rungs import LEAST_STEPS, RUNGS, Parent, Rung, nearest_parent, parents, parse_params
from pruning_vs_scratch.ladder.shapes import TOLERANCE, width_targets
from pruning_vs_scratch.ladder.text import MOST_PASSES, PLAYS_TOKENS, passes_over_plays
from pruning_vs_scratch.ladder.write import write_rung
from pruning_vs_scratch.planning.estimate import Load
from pruning_vs_scratch.planning.schedule import longest_chain, makespan
from pruning_vs_scratch.planning.throughput import SHIPPED, ThroughputTable
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.runs import Pair
from pruning_vs_scratch.tables.claims import state_claims
from pruning_vs_scratch.tables.gaps import GapGroup

PAPER = Proportions.read(REPOSITORY / "config")
THROUGHPUT = ThroughputTable.read([REPOSITORY / SHIPPED])
EVERY = [pytest.param(rung, matrix, id=f"{rung.name}-{matrix}") for rung in RUNGS for matrix in MATRICES]
SMALLEST = parents(PAPER)[0]


def machine(count: int = 8, device: str = "h100") -> Machine:
    return Machine(device, count, THROUGHPUT)


@cache
def price(rung: Rung, matrix: MatrixName) -> Price:
    return Price(Parent(rung, PAPER), matrix, machine())


@cache
def papers_study() -> Study:
    return PAPER.study(PAPER.overlay)


def kept(study: Study) -> dict[str, float]:
    """Of each target, the share of the parent's decoder."""
    whole = study.targets["parent"].shape.params_nonembedding
    return {name: target.shape.params_nonembedding / whole for name, target in study.targets.items()}


# Proportions


@pytest.mark.parametrize(("rung", "matrix"), EVERY)
def test_tokens_are_the_papers_shares(rung: Rung, matrix: MatrixName) -> None:
    study, paper = price(rung, matrix).study, papers_study()
    parent = next(run.plan for run in study.runs.values() if run.role == "parent")
    assert parent is not None
    params = study.targets["parent"].shape.params_total
    assert parent.tokens / params == pytest.approx(209_715_200_000 / 8_030_261_248, rel=0.05)

    def shares(of: Study, tokens: int) -> set[tuple[str, float, Fraction]]:
        """Of equal budgets, exact: the retrained tokens by target."""
        return {(pair.method, pair.ratio, Fraction(pair.budget, tokens)) for pair in of.pairs}

    wanted = {share for _, _, share in shares(paper, 209_715_200_000)}
    found = {share for _, _, share in shares(study, parent.tokens)}
    assert found == (wanted if matrix == "full" else {Fraction(1, 20), Fraction(1, 4)})
    for pair in study.pairs:
        if pair.setting == "full":
            plan = study.run(pair.scratch).plan
            assert plan is not None
            whole = 1 + pair.budget / parent.tokens
            mask_learning = 0.002 if pair.method == "sheared_llama" else 0.0
            assert plan.tokens / parent.tokens == pytest.approx(whole + mask_learning, rel=0.02)
    options = study.config.pruning.options("sheared_llama")
    assert options.tokens / parent.tokens == pytest.approx(0.002, rel=0.02)
    assert options.target_warmup_fraction == 0.2
    assert study.config.sweep is not None
    assert Fraction(study.config.sweep.tokens, parent.tokens) == Fraction(1, 20)


@pytest.mark.parametrize(("rung", "matrix"), EVERY)
def test_targets_keep_the_papers_share_of_the_decoder(rung: Rung, matrix: MatrixName) -> None:
    found, wanted = kept(price(rung, matrix).study), kept(papers_study())
    assert set(found) <= set(wanted)
    for name, share in found.items():
        assert share == pytest.approx(wanted[name], rel=TOLERANCE), name
    if matrix == "full":
        assert set(wanted) - set(found) == ({"depth-0.813"} if rung.layers == 8 else set())


@pytest.mark.parametrize(("rung", "matrix"), EVERY)
def test_every_run_has_enough_steps(rung: Rung, matrix: MatrixName) -> None:
    study = price(rung, matrix).study
    assert min(run.plan.steps for run in study.recorded_runs.values() if run.plan) >= LEAST_STEPS
    learning = [run.pruning.training for run in study.runs.values() if run.pruning and run.pruning.training]
    assert all(plan.steps >= 64 for plan in learning)  # in eight, no mask closes


def test_the_largest_rung_is_the_papers_study() -> None:
    parent = parents(PAPER)[-1]
    values = rung_overlay("paper", parent, "full", machine(64))
    paper = load_config([REPOSITORY / "config" / f"{name}.yaml" for name in ("config", "paper")])
    assert values["training"]["processes"] == 64
    # Its own runs take processes by their size.
    values["training"]["processes"] = paper.training.processes
    values["cluster"] |= paper.cluster.model_dump(include={"nodes", "devices", "devices_per_node", "device_gigabytes"})
    assert PAPER.config(values) == paper


def test_what_follows_from_the_size_follows_it_up_the_ladder() -> None:
    known = parents(PAPER)
    for smaller, larger in pairwise(known):
        assert smaller.params < larger.params
        assert smaller.shape.vocab_size <= larger.shape.vocab_size
        assert smaller.sequence_length <= larger.sequence_length
        assert smaller.batch_tokens < larger.batch_tokens
        assert smaller.peak_learning_rate > larger.peak_learning_rate
    assert (known[0].batch_tokens, known[0].sequence_length, known[0].peak_learning_rate) == (1024, 128, 6.7e-3)
    for parent in known:
        assert parse_params(parent.rung.name) == pytest.approx(parent.params, rel=0.06)
        assert nearest_parent(PAPER, parent.params * 1.2) == parent
        embeddings = parent.shape.embedding_params / parent.params
        assert 0.09 < embeddings < 0.2  # the paper's: 0.131


# Claims


@pytest.mark.parametrize("rung", RUNGS, ids=[rung.name for rung in RUNGS])
def test_the_core_decides_every_claim_and_no_part_of_it_can_go(rung: Rung) -> None:
    """Losses as the paper claims support all claims; without a budget, a ratio or the sparse method they do not."""
    pairs = price(rung, "core").study.pairs
    groups = [_group(pair, place, max(other.budget for other in pairs)) for place, pair in enumerate(pairs)]
    assert set(_verdicts(groups).values()) == {"supported"}
    without = {
        "C2": [group for group in groups if group.budget == max(other.budget for other in groups)],
        "C3": [group for group in groups if group.ratio == 0.5],
        "C4": [group for group in groups if group.granularity != "sparse"],
    }
    for claim, fewer in without.items():
        assert _verdicts(fewer)[claim] == "inconclusive"


@pytest.mark.parametrize("rung", RUNGS, ids=[rung.name for rung in RUNGS])
def test_the_arms_vary_a_comparison_of_the_core_on_every_rung(rung: Rung) -> None:
    """In whole batches of two steps of pruning, a quarter of the parent's tokens as in the paper."""
    arms, core = (price(rung, matrix).study for matrix in ("arms", "core"))
    budget = max(pair.budget for pair in core.pairs)
    found = {(pair.arm, pair.match): pair.budget for pair in arms.arms}
    matched = ("distilled", "gradual", "joint", "early")
    assert found.keys() == {("distilled", "flops"), *((arm, "tokens") for arm in matched)}
    assert {pair.method for pair in arms.arms} == set(CORE_METHODS)
    assert {pair.share for pair in arms.arms if pair.arm == "early"} == set(EARLY_SHARES)
    two = 2 * arms.config.training.global_batch_size * arms.config.training.sequence_length
    assert set(found.values()) == {budget // two * two}
    for granularity in ("depth", "width"):
        half, quarter = (
            next(t for t in getattr(arms.config.targets, granularity) if t.ratio == ratio) for ratio in (0.5, 0.25)
        )
        parent = arms.config.parent.shape
        for key in ("layers", "hidden_size", "ffn_size"):
            sizes = [getattr(shape, key, None) for shape in (half, quarter, parent)]
            assert None in sizes or sizes == sorted(sizes)


def _group(pair: Pair, place: int, largest: int) -> GapGroup:
    """A comparison whose gap falls with budget and ratio and nearly vanishes; in full, sparse models keep one."""
    if pair.setting == "full":
        gap = 0.3 if pair.granularity == "sparse" else -0.3
    else:
        gap = 0.01 if pair.ratio > 0.5 else 0.3 if pair.budget == largest else 0.6
    noise = np.random.default_rng(place).normal(0, 1e-3, (1, 64))
    scratch = np.full((1, 64), 5.0)
    names = (pair.retrained,), (pair.scratch,)
    return GapGroup(
        pair.setting, pair.method, pair.granularity, pair.pattern, pair.ratio, pair.budget, (0,), *names,
        scratch - gap + noise, scratch, scratch,
    )  # fmt: skip


def _verdicts(groups: list[GapGroup]) -> dict[str, str]:
    claims = state_claims("core", groups, papers_study().config.claims)["claims"]
    return {claim["id"]: claim["verdict"] for claim in claims}


# Text


@given(st.integers(1, 120))
def test_the_plays_are_read_as_often_as_needed_and_no_more(behind: int) -> None:
    """By hand: the first passes whose windows suffice; the plays of 1,893,418 tokens are 14,677 windows of 129."""
    first = SMALLEST.tokens // 128
    tokens = SMALLEST.tokens + behind * 10 * 1280
    enough = [
        k for k in range(1, MOST_PASSES + 1)
        if -(-first // k) <= 14_677 and behind * 100 <= k * (14_677 - -(-first // k))
    ]  # fmt: skip
    assert passes_over_plays(SMALLEST, tokens) == (enough[0] if enough else None)


def test_small_rungs_read_the_plays_and_larger_ones_the_papers_corpus() -> None:
    assert f"{PLAYS_TOKENS:,} tokens" in (REPOSITORY / SHIPPED).read_text()
    for rung in RUNGS:
        core, full = (price(rung, matrix).study.config for matrix in MATRICES)
        if rung.name == "0.2M":
            assert (core.corpus.passes, full.corpus.passes) == (4, 11)
            assert core.corpus.numbered_source is None
        else:
            assert core.corpus.numbered_source is not None
            assert core.corpus.passes == full.corpus.passes == 1
        assert (core.tokenizer.kind == "bpe") == (rung.name != "8B")


def test_what_is_held_out_is_enough_for_the_windows_that_are_scored() -> None:
    for rung in RUNGS[1:]:
        study = price(rung, "core").study
        source = study.config.corpus.numbered_source
        assert source is not None
        divided = source.held_out_files * source.tokens_per_file
        for split in ("calibration", "validation", "test"):
            fraction = getattr(study.config.corpus.splits, split).fraction
            needed = max(windows * (length + 1) for windows, length in study.text.windows_needed(split))
            assert fraction * divided > 1.5 * needed, (rung.name, split)


# Prices


@given(st.integers(1, 8), st.integers(1, 3), st.randoms(use_true_random=False))
def test_a_schedule_is_within_the_bounds_of_every_schedule(jobs: int, gpus: int, draw: random.Random) -> None:
    """At least the longest chain and the work divided; at most both together (Graham, 1966)."""
    graph = graph_of({(i, j) for i, j in combinations(range(jobs), 2) if draw.random() < 0.3}, jobs)
    loads = {job: Load(seconds=float(draw.randrange(1, 20)), gpus=1) for job in graph.jobs}
    work = sum(load.seconds for load in loads.values())
    chain = sum(loads[job].seconds for job in longest_chain(graph, loads))
    found = makespan(graph, loads, gpus=gpus, cores=1)
    assert max(chain, work / gpus) <= found <= work / gpus + chain
    assert makespan(graph, loads, gpus=1, cores=1) == work
    assert makespan(graph, loads, gpus=jobs, cores=1) == chain


def test_gpus_and_cores_are_counted_apart() -> None:
    graph = graph_of([], 3)
    takes = {0: Load(seconds=5, gpus=2), 1: Load(seconds=3, cores=2), 2: Load(seconds=3, cores=1)}
    loads = {job: takes[int(job.subject)] for job in graph.jobs}
    assert makespan(graph, loads, gpus=2, cores=3) == 5
    assert makespan(graph, loads, gpus=1, cores=2) == 6  # a job that requests too many takes all


def test_a_price_equals_that_of_make_plan() -> None:
    known = price(RUNGS[3], "core")
    assert known.flops == sum(known.plan.stages["flops"])
    assert known.chain_hours <= known.hours <= known.device_hours
    assert known.rates == "assumed"
    assert price(RUNGS[-1], "full").flops == pytest.approx(3.467e23, rel=1e-3)  # docs/planning.md


def test_the_largest_that_fits_is_recommended() -> None:
    known = [price(rung, matrix) for rung in RUNGS[:4] for matrix in MATRICES]
    hours = sorted(each.hours for each in known)
    assert largest_within(known, hours[-1]) is known[-1]
    least = largest_within(known, hours[0])
    assert least.hours == hours[0]
    with pytest.raises(UserError, match=r"fits into 0\.001 hours on 8 x h100: the smallest, 0\.2M core, takes 0\.1"):
        largest_within(known, 0.001)


def test_rungs_without_a_rate_are_named() -> None:
    known = ladder(parents(PAPER), machine(2, "cpu"))
    assert set(known.unpriced) == {"1B", "3B", "8B"}
    assert all("no rate for" in reason for reason in known.unpriced.values())
    with pytest.raises(UserError, match="no rate for"):
        ladder(parents(PAPER)[-1:], machine(2, "cpu"))


def test_devices_and_sizes_that_are_not_known_are_refused() -> None:
    with pytest.raises(UserError, match=r"unknown device 'rtx'; there are: a100, cpu, h100"):
        machine(device="rtx")
    for params in (20_000_000_000, 10_000):
        with pytest.raises(UserError, match=r"outside of the ladder; its rungs: 0\.2M, 1M"):
            nearest_parent(PAPER, params)
    for text in ("many", "-1M", "1T", ""):
        with pytest.raises(UserError, match="is not a number of parameters; write it as 45M"):
            parse_params(text)
    assert [parse_params(text) for text in ("200k", "1.1B", "45e6")] == [2e5, 1.1e9, 4.5e7]


def test_a_rung_that_no_shape_fits_is_refused() -> None:
    tiny = Parent(Rung("tiny", 8, 8, 4, 2), PAPER)
    with pytest.raises(UserError, match=r"no width keeps 0\.\d+ of the decoder.*choose a larger rung"):
        width_targets(PAPER, tiny.shape)


@pytest.mark.parametrize("gpus", [1, 3, 8, 100])
def test_processes_share_each_step_as_the_papers_do(gpus: int) -> None:
    for parent in parents(PAPER):
        study = PAPER.study(rung_overlay("x", parent, "core", machine(gpus)))
        processes = study.config.training.processes
        assert processes <= gpus
        assert processes == 1 or parent.batch_tokens / processes >= 4_194_304 / 64


# Files


def test_a_rung_is_written_once_and_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known, file = price(RUNGS[3], "core"), Path("small.yaml")
    write_rung(known, file)
    assert read_yaml(file) == rung_overlay("small", known.parent, "core", known.machine)
    text = file.read_text()
    assert "pvs ladder --params 37M --core --gpus 8 --device h100 --write small.yaml" in text
    assert str(REPOSITORY) not in text and str(tmp_path) not in text
    with pytest.raises(UserError, match=r"small\.yaml already exists"):
        write_rung(known, file)
    assert file.read_text() == text
    for name in ("Small.yaml", "small.txt"):
        with pytest.raises(UserError, match=r"a study's file is NAME\.yaml"):
            write_rung(known, Path(name))


def test_a_target_that_is_left_out_is_said() -> None:
    values = rung_overlay("x", SMALLEST, "core", machine(2, "cpu"))
    assert [block["ratios"] for block in values["matrix"]] == [[0.5], [0.75], [0.813]]
    assert values["matrix"][1]["methods"] == ["minitron_depth"]


def test_the_study_of_one_gpu_is_a_rung_of_the_ladder() -> None:
    """config/one-gpu.yaml, as written by the command given in it."""
    parent = nearest_parent(PAPER, 45e6)
    found = read_yaml(REPOSITORY / "config/one-gpu.yaml")
    assert found == rung_overlay("one-gpu", parent, "core", machine(1, "a100"))
    for device, hours in (("a100", 13), ("h100", 10)):
        assert Price(parent, "core", machine(1, device)).hours < hours


@pytest.mark.slow
def test_the_question_is_answered_in_ten_seconds() -> None:
    """Of a processor; what can be run in a day on eight GPUs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [*PVS, "ladder", "--hours=24", "--gpus=8", "--device=h100"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 10
    lines = result.stdout.splitlines()
    assert lines[0] == "Recommended: 150M core, 10.5 of your 24 hours on 8 x h100."
    assert "The paper's study at 147,874,560 parameters, core matrix: 28 models." in lines
    assert [line for line in lines if len(line) > 100] == []
    costs = [line.split() for line in lines if re.match(r"[\d.]+[MB] +(core|full) ", line)]
    assert [line[:2] for line in costs] == [[rung.name, matrix] for rung in RUNGS for matrix in MATRICES]
    fitting = {" ".join(line[:2]) for line in costs if line[-1] == "yes"}
    assert fitting == {" ".join(line[:2]) for line in costs if float(line[5].replace(",", "")) <= 24}
    assert "150M core" in fitting and "150M full" not in fitting


def test_a_page_fits_into_100_columns_whatever_the_devices() -> None:
    """Two cores take the most hours, have rates of two kinds, and have none for the largest rungs."""
    shown = page.ladder(ladder(parents(PAPER), machine(2, "cpu")), 1.0).splitlines()
    assert [line for line in shown if len(line) > 100] == []
    assert sum(line.startswith("No price for ") for line in shown) == 3
    heading, *rows = shown[3:16]
    assert heading.split() == [
        "rung",
        "matrix",
        "models",
        "FLOP",
        "device-hours",
        "hours",
        "longest",
        "chain",
        "rates",
        "fits",
    ]
    assert [row.endswith("yes") for row in rows[:3]] == [True, False, False]
