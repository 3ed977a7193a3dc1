"""How a study prunes: chains, learned masks, what baselines take over, and scores that ratios share."""

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest

from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.command_lines import pruning_options, scoring_options
from pruning_vs_scratch.study.inputs import pruning_inputs, starting_point
from pruning_vs_scratch.study.priority import priority_of, training_flops
from studies import (
    Values,
    block,
    chained,
    learning,
    plan,
    pruning,
    runs_of,
    scratch_of,
    with_matrix,
)

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


def test_masks_are_learned_on_the_end_of_the_text_whatever_the_longest_retraining_is(smoke: Values) -> None:
    study = sheared(smoke, block(["sheared_llama"], [4096]), block(["shortgpt"], [1024, 8192]))
    found = learning(study, SHEARED)
    assert (found.window_start, found.window_end, found.reading.backwards) == (0, 768 // 128, True)
    assert (found.run, found.phase, found.tokens, found.steps) == (SHEARED, "prune", 768, 2)
    assert study.text.windows_needed("train") == [((16384 + 8192 + 768) // 128, 128)]
    longer = sheared(smoke, block(["sheared_llama"], [4096]), block(["shortgpt"], [1024, 16384]))
    assert learning(longer, SHEARED) == found


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


def test_mask_learning_has_a_weight_decay_and_the_authors_schedule_if_asked(smoke: Values) -> None:
    options: Values = {"weight_decay": 0.0, "schedule": {"kind": "fms"}}
    study = sheared(smoke, block(["sheared_llama"], [4096]), **options)
    found, retrained = learning(study, SHEARED), plan(study, "P16.4k-sheared_llama-0.5-R4.1k-seed0")
    assert retrained.optimizer.weight_decay == 0.1
    assert found.optimizer == retrained.optimizer.model_copy(update={"weight_decay": 0.0})
    assert (found.schedule.kind, retrained.schedule.kind) == ("fms", "cosine")


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
    smoke["baselines"] = {"full_tolerance": 0}
    study = sheared(smoke, block(["minitron_width", "sheared_llama"], [4096], full=[4096]), tokens=3072)
    full = {pair.method: plan(study, pair.scratch).tokens for pair in study.pairs if pair.setting == "full"}
    assert full == {"minitron_width": 16_384_000 + 4096 + 1024, "sheared_llama": 16_384_000 + 4096 + 3072}


def test_mask_learning_reads_training_text_and_by_domain_validation_text(smoke: Values) -> None:
    study = sheared(smoke, block(["sheared_llama"], [4096]))
    tokens = study.paths.tokens
    assert pruning_inputs(study, SHEARED) == {"calibration": tokens / "train"}
    assert not any(option.startswith("--domains") for option in pruning_options(study, SHEARED))
    assert study.text.domains_of("train") == []
    smoke["corpus"]["domains"] = {
        "prose": {"include": ["*p*", "*q*"], "proportion": 0.75},
        "code": {"include": ["*"], "proportion": 0.25},
    }
    study = Study(smoke)
    assert pruning_inputs(study, SHEARED) == {"calibration": tokens / "train", "validation": tokens / "validation"}
    (option,) = (option for option in pruning_options(study, SHEARED) if option.startswith("--domains="))
    assert json.loads(option.split("=", 1)[1]) == {"prose": 0.75, "code": 0.25}
    for corpus in study.text.corpora:
        wanted = [("prose", ["*p*", "*q*"]), ("code", ["*"])] if corpus in ("train", "validation") else []
        assert study.text.domains_of(corpus) == wanted


def test_learning_masks_costs_training_of_the_model_that_is_pruned(smoke: Values) -> None:
    study = sheared(smoke, {"chains": [["shortgpt@0.5", "sheared_llama@0.5"]], "retrain": [4096]})
    name = "P16.4k-shortgpt-0.5+sheared_llama-0.5-seed0"
    shallow = study.run("P16.4k-shortgpt-0.5-seed0").target.shape
    assert training_flops(study.recorded_runs, name) == shallow.training_flops(6, 128) > 0
    assert training_flops(study.recorded_runs, "P16.4k-shortgpt-0.5-seed0") == 0
    assert priority_of(study.recorded_runs, name) > priority_of(study.recorded_runs, "P16.4k-shortgpt-0.5-seed0")


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


REDRAWS = {"linear": "redraw-linears", "authors": "redraw-linears-and-head"}


@pytest.mark.parametrize("redraw", REDRAWS)
@pytest.mark.parametrize("mask", ["inherited", "random"])
def test_embeddings_and_norms_may_stay_in_sparse_baselines(mask: str, redraw: str, smoke: Values) -> None:
    smoke["baselines"] = {"redraw": redraw, "mask": mask}
    smoke["parent"]["shape"]["tie_embeddings"] = False
    study = with_matrix(smoke, block(["wanda", "sparsegpt"], [4096], full=[4096], rewind=[4096]))
    for method, setting in itertools.product(("wanda", "sparsegpt"), ("equal", "full")):
        scratch = scratch_of(study, f"P16.4k-{method}-0.5-R4.1k-seed0", setting)
        model = study.paths.model(RANDOM if mask == "random" else f"P16.4k-{method}-0.5-seed0")
        assert starting_point(study, scratch) == {REDRAWS[redraw]: model, "mask": model}
    rewound = starting_point(study, "S4.1k-wanda-0.5-rewind-seed0")
    assert set(rewound) == {"target", "cut-like", "mask"}


def test_dense_baselines_are_drawn_anew_as_a_whole(smoke: Values) -> None:
    smoke["baselines"] = {"redraw": "linear", "mask": "random"}
    study = with_matrix(smoke, block(["shortgpt"], [4096]))
    assert starting_point(study, "S4.1k-depth-0.5-seed0") == {"target": study.paths.target("depth-0.5")}
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
    (shapes,) = (o for o in scoring_options(study, "P16.4k-seed0", method) if o.startswith("--shapes="))
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
    assert pruning_options(study, "P16.4k-sparsegpt-0.5-seed0") == [
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


def test_arithmetic_and_device_buffer_reach_the_command_where_they_are_not_the_usual_ones(smoke: Values) -> None:
    """The usual ones add no option, so that finished steps stay finished."""
    name, start = "P16.4k-shortgpt-0.5-seed0", "P16.4k-seed0"
    smoke["pruning"] |= {"precision": "fp32", "device_buffer_gib": 40}
    study = with_matrix(smoke, block(["shortgpt"], [4096]))
    for options in (pruning_options(study, name), scoring_options(study, start, "shortgpt")):
        assert {"--precision=fp32", "--device-buffer-gib=40"} <= set(options)
    smoke["pruning"] |= {"precision": "auto", "device_buffer_gib": 16}
    usual = with_matrix(smoke, block(["shortgpt"], [4096]))
    for options in (pruning_options(usual, name), scoring_options(usual, start, "shortgpt")):
        assert not [option for option in options if option.startswith(("--precision", "--device-buffer-gib"))]
