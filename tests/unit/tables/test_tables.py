"""Tables say what the manifests and scores say, and a pair that is not matched fails the study by name."""

import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from finished_studies import (
    FULL,
    MASKED_WEIGHTS,
    PARENT,
    PRUNED,
    RETRAINED,
    SCRATCH,
    SPARSE,
    WEIGHT_BYTES,
    finished,
    refused,
    scores,
)
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import read_json, write_json
from pruning_vs_scratch.ledger import LedgerRow
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.items import CHANCE, HEADLINE, TASK_MEAN
from pruning_vs_scratch.tables.ledger import ledger_table, verified_pairs
from pruning_vs_scratch.tables.provenance import COLUMNS, mixed_sources, provenance_table
from pruning_vs_scratch.tables.results import results_table
from pruning_vs_scratch.tables.runs import EFFICIENCY_LENGTH, efficiency_table, run_table
from pruning_vs_scratch.tables.times import times_table

Edit = Callable[[pd.DataFrame, Any], None]


@pytest.fixture
def study(smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The smallest study with the manifest of every run, as its steps would write them."""
    monkeypatch.chdir(tmp_path)
    return finished(smoke)


def value(table: pd.DataFrame, run: str, dataset: str, metric: str) -> pd.Series:
    chosen = table[(table["run"] == run) & (table["dataset"] == dataset) & (table["metric"] == metric)]
    (row,) = (row for _, row in chosen.iterrows())
    return row


def standard_error(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def test_the_ledger_has_a_row_for_every_run_with_every_column(study: Study) -> None:
    ledger = ledger_table(study)
    assert list(ledger.columns) == [field.name for field in fields(LedgerRow)]
    assert list(ledger["run"]) == list(study.runs)
    assert set(ledger["phase"]) == {"pretrain", "prune", "retrain", "scratch"}


def test_matched_pairs_pass_and_are_listed(study: Study) -> None:
    pairs = verified_pairs(study, ledger_table(study))
    assert list(pairs["scratch"]) == [pair.scratch for pair in study.pairs]
    assert {"equal", "full"} == set(pairs["setting"])


MISMATCHES: dict[str, Any] = {
    "tokens_planned": 4096,
    "tokens_seen": 8064,
    "window_start": 0,
    "window_end": 193,
    "steps": 9,
    "sequence_length": 64,
    "global_batch_size": 16,
    "peak_lr": 0.001,
    "schedule": "cosine(warmup=0, floor=0)",
    "precision": "bf16",
    "seed": 1,
}


@pytest.mark.parametrize("column", MISMATCHES)
def test_a_mismatch_of_an_equal_pair_names_the_column_and_both_runs(column: str, study: Study) -> None:
    message = refused(study, SCRATCH, **{column: MISMATCHES[column]})
    (line,) = (line for line in message.splitlines() if line.strip().startswith(f"{column}:") and FULL not in line)
    assert f"for {RETRAINED}" in line
    assert f"{MISMATCHES[column]} for {SCRATCH}" in line


@pytest.mark.parametrize("column", ["peak_lr", "schedule", "precision", "seed"])
def test_a_full_baseline_shares_the_recipe(column: str, study: Study) -> None:
    message = refused(study, FULL, **{column: MISMATCHES[column]})
    assert f"for {RETRAINED}, {MISMATCHES[column]} for {FULL}" in message


@pytest.mark.parametrize(("column", "wrong", "right"), [
    ("tokens_seen", 24576, 25600), ("window_start", 8, 0), ("window_end", 208, 200),
])  # fmt: skip
def test_a_full_baseline_reads_the_whole_pipelines_tokens(column: str, wrong: int, right: int, study: Study) -> None:
    message = refused(study, FULL, **{column: wrong})
    assert f"{column}: {wrong} for {FULL}, {right} for the full pipeline of {RETRAINED}" in message


def test_a_full_baseline_counts_what_pruning_really_read(study: Study) -> None:
    message = refused(study, PRUNED, tokens_seen=4096, tokens_planned=4096)
    assert f"tokens_seen: 25600 for {FULL}, 28672 for the full pipeline of {RETRAINED}" in message


@pytest.mark.parametrize(("run", "phase"), [(PARENT, "pretrain"), (PRUNED, "prune"), (SCRATCH, "scratch")])
def test_a_short_run_is_named(run: str, phase: str, study: Study) -> None:
    assert f"{run} ({phase}) saw 1 of " in refused(study, run, tokens_seen=1)


def test_both_sides_alike_but_short_of_the_plan_still_fail(study: Study) -> None:
    ledger = ledger_table(study)
    ledger.loc[ledger["run"].isin([RETRAINED, SCRATCH]), "tokens_seen"] = 1
    with pytest.raises(UserError, match=r"saw 1 of 8192 planned tokens"):
        verified_pairs(study, ledger)


def test_results_of_different_code_are_warned_about() -> None:
    phases = ["text", "pretrain", "retrain", "evaluate"]
    provenance = pd.DataFrame({"phase": phases, "jobs": [9, 1, 4, 3], "source_hash": "b" * 64})
    assert mixed_sources(provenance) is None
    text, evaluation = (provenance["phase"] == phase for phase in ("text", "evaluate"))
    assert mixed_sources(provenance.assign(source_hash=provenance["source_hash"].mask(text, "c" * 64))) is None
    warning = mixed_sources(provenance.assign(source_hash=provenance["source_hash"].mask(evaluation, "c" * 64)))
    assert warning is not None
    assert f"(5 jobs by {'b' * 12}, 3 jobs by {'c' * 12})" in warning


@pytest.mark.parametrize("run", [PARENT, PRUNED, SCRATCH])
def test_a_missing_manifest_says_what_to_do(run: str, study: Study) -> None:
    study.paths.manifest(run).unlink()
    message = f"the manifest results/smoke/runs/{run}/manifest.json is missing: its folder is incomplete; delete"
    with pytest.raises(UserError, match=message):
        ledger_table(study)


def test_loss_and_perplexity_agree_with_numpy(study: Study) -> None:
    losses, items = scores(study)
    table = results_table(study, run_table(study), losses, items)
    plain = losses[(losses["run"] == SCRATCH) & (losses["dataset"] == "milton")]["loss"].to_numpy()
    loss, perplexity = (value(table, SCRATCH, "milton", metric) for metric in ("loss", "perplexity"))
    assert (loss["value"], loss["stderr"]) == pytest.approx((plain.mean(), standard_error(plain)))
    expected = np.exp(plain.mean())
    assert (perplexity["value"], perplexity["stderr"]) == pytest.approx((expected, expected * standard_error(plain)))
    assert (loss["n"], perplexity["n"]) == (8, 8)


def test_task_scores_and_their_mean_agree_with_numpy(study: Study) -> None:
    losses, items = scores(study)
    table = results_table(study, run_table(study), losses, items)
    mine = items[items["run"] == RETRAINED]
    by_task = {task: mine[mine["task"] == task]["score"].to_numpy() for task in ("scramble", "last_word")}
    for task, plain in by_task.items():
        found = value(table, RETRAINED, task, "acc")
        assert (found["value"], found["stderr"], found["n"]) == pytest.approx(
            (plain.mean(), standard_error(plain), len(plain))
        )
    mean = value(table, RETRAINED, TASK_MEAN, HEADLINE)
    errors = [standard_error(plain) for plain in by_task.values()]
    assert mean["value"] == pytest.approx(np.mean([plain.mean() for plain in by_task.values()]))
    assert mean["stderr"] == pytest.approx(math.hypot(*errors) / 2)
    assert mean["n"] == 16


def test_validation_losses_come_from_the_manifests_of_trained_runs(study: Study) -> None:
    table = results_table(study, run_table(study), *scores(study))
    validation = table[table["dataset"] == "validation"]
    assert set(validation["run"]) == set(study.trained_runs)
    assert value(table, PARENT, "validation", "loss")["value"] == 4.0


def test_every_run_has_the_same_long_table_of_scores(study: Study) -> None:
    table = results_table(study, run_table(study), *scores(study))
    keys = ["run", "dataset", "metric"]
    assert not table.duplicated(keys).any()
    assert set(table["study"]) == {"smoke"}
    tested = table[table["dataset"] != "validation"]
    assert set(tested.groupby("run").size()) == {2 * 2 + 3}
    assert table["value"].notna().all()
    assert table["n"].notna().all()


def test_guessing_has_a_row_of_every_score(study: Study) -> None:
    table = results_table(study, run_table(study), *scores(study))
    guesses = table[table["role"] == CHANCE].set_index(["dataset", "metric"])["value"]
    vocabulary = study.config.tokenizer.vocab_size
    assert guesses["test", "perplexity"] == vocabulary
    assert guesses["milton", "loss"] == pytest.approx(math.log(vocabulary))
    assert guesses["scramble", "acc"] == guesses["last_word", "acc"] == guesses[TASK_MEAN, HEADLINE] == 0.25
    scored = table[(table["run"] == RETRAINED) & (table["dataset"] != "validation")]
    assert set(guesses.index) == set(zip(scored["dataset"], scored["metric"], strict=True))


def test_text_read_as_the_authors_do_is_labelled_so(study: Study) -> None:
    losses, items = scores(study)
    losses.loc[losses["dataset"] == "milton", "mode"] = "authors"
    table = results_table(study, run_table(study), losses, items)
    of_milton = table[table["dataset"] == "milton"]
    assert set(of_milton["metric"]) == {"loss_authors", "perplexity_authors"}
    assert set(table[table["dataset"] == "test"]["metric"]) == {"loss", "perplexity"}


def test_runs_add_up_the_tokens_of_their_pipeline(study: Study) -> None:
    table = run_table(study).set_index("run")
    columns = ["tokens_parent", "tokens_prune", "tokens_train", "tokens_total"]
    assert list(table.loc[PARENT, columns]) == [0, 0, 16384, 16384]
    assert list(table.loc[PRUNED, columns]) == [16384, 1024, 0, 17408]
    assert list(table.loc[RETRAINED, columns]) == [16384, 1024, 8192, 25600]
    assert list(table.loc[FULL, columns]) == [0, 0, 25600, 25600]


def test_the_achieved_ratio_is_the_share_of_parameters_that_are_gone(study: Study) -> None:
    table = run_table(study).set_index("run")
    parent = study.run(PARENT).target.shape
    removed_blocks = 2 * (parent.block_linear_params + 2 * parent.hidden_size)
    assert table.loc[PARENT, "achieved_ratio"] == 0
    assert table.loc[SCRATCH, "achieved_ratio"] == pytest.approx(removed_blocks / parent.params_total)
    assert table.loc[SPARSE, "achieved_ratio"] == pytest.approx(MASKED_WEIGHTS / parent.params_total)
    assert table.loc[SPARSE, "params_nonzero"] == parent.params_total - MASKED_WEIGHTS
    sparse_runs = table[table["pattern"] == "2:4"]
    assert set(sparse_runs["role"]) == {"pruned", "retrained", "scratch"}
    assert sparse_runs["achieved_ratio"].nunique() == 1


def efficiency(study: Study, run: str) -> dict[str, float]:
    table = efficiency_table(study, run_table(study))
    return dict(table[table["run"] == run].set_index("metric")["value"])


def test_efficiency_of_a_dense_run_is_that_of_its_shape(study: Study) -> None:
    shape = study.run(SCRATCH).target.shape
    found = efficiency(study, SCRATCH)
    attention = 2 * 2 * EFFICIENCY_LENGTH**2 * shape.heads * shape.head_dim * shape.layers
    matrices = shape.layers * shape.block_linear_params + shape.vocab_size * shape.hidden_size
    assert found["forward_flops"] == 2 * EFFICIENCY_LENGTH * matrices + attention
    assert found["forward_flops_theoretical"] == found["forward_flops"]
    assert found["params_nonembedding"] == found["params_total"] - shape.vocab_size * shape.hidden_size
    assert found["checkpoint_bytes"] == WEIGHT_BYTES


def test_a_manifest_without_the_size_of_the_weights_is_refused(study: Study) -> None:
    manifest = read_json(study.paths.manifest(SCRATCH))
    del manifest["facts"]["checkpoint_bytes"]
    write_json(study.paths.manifest(SCRATCH), manifest)
    with pytest.raises(UserError, match=f"{SCRATCH}/manifest.json does not record the size of the weights"):
        efficiency(study, SCRATCH)


def test_a_mask_lowers_the_theoretical_cost_only(study: Study) -> None:
    found, dense = efficiency(study, SPARSE), efficiency(study, PARENT)
    assert found["forward_flops"] == dense["forward_flops"]
    assert dense["forward_flops"] - found["forward_flops_theoretical"] == pytest.approx(
        2 * EFFICIENCY_LENGTH * MASKED_WEIGHTS, rel=1e-6
    )
    assert found["params_nonzero"] == dense["params_total"] - MASKED_WEIGHTS


# Chains, learned masks and rewound baselines

DEPTH, WIDTH, CHAINED = (
    f"P16.4k-{steps}-seed0"
    for steps in (
        "minitron_depth-0.5",
        "minitron_depth-0.5+sheared_llama-0.5",
        "minitron_depth-0.5+sheared_llama-0.5+wanda-0.5",
    )
)
CHAINED_RETRAINED = CHAINED.replace("-seed0", "-R8.19k-seed0")


@pytest.fixture
def chain(smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study of one chain of three steps, of which the second learns its masks."""
    monkeypatch.chdir(tmp_path)
    steps = ["minitron_depth@0.5", "sheared_llama@0.5", "wanda@0.5"]
    smoke["pruning"]["sheared_llama"] = {"tokens": 768, "global_batch_size": 2, "micro_batch_size": 2}
    smoke["matrix"] = [{"chains": [steps], "retrain": [8192], "full": [8192], "rewind": [8192]}]
    return finished(smoke)


def baseline(study: Study, setting: str) -> str:
    (name,) = (pair.scratch for pair in study.pairs if pair.setting == setting)
    return name


def test_pairs_of_a_chain_match(chain: Study) -> None:
    pairs = verified_pairs(chain, ledger_table(chain))
    assert set(pairs["setting"]) == {"equal", "full", "rewind"}
    assert set(pairs["granularity"]) == {"hybrid"}
    assert set(ledger_table(chain)["phase"]) == {"pretrain", "prune", "retrain", "scratch", "rewind"}


@pytest.mark.parametrize(("step", "counted"), [(DEPTH, 4864), (WIDTH, 5120), (CHAINED, 4864)])
def test_a_full_baseline_counts_what_every_step_of_a_chain_read(step: str, counted: int, chain: Study) -> None:
    """The steps read 1,024, 768 and 1,024 tokens: 2,816, in batches of 1,024 it is 3,072."""
    assert chain.pruning_steps(CHAINED_RETRAINED) == [CHAINED, WIDTH, DEPTH]
    full = baseline(chain, "full")
    message = refused(chain, step, tokens_seen=3072, tokens_planned=3072)
    wrong = 16384 + 8192 + -(-counted // 1024) * 1024
    assert f"tokens_seen: 27648 for {full}, {wrong} for the full pipeline of {CHAINED_RETRAINED}" in message


def test_a_full_baseline_that_counts_the_last_step_only_is_refused(chain: Study) -> None:
    full = baseline(chain, "full")
    message = refused(chain, full, tokens_seen=25600, tokens_planned=25600, window_end=200)
    assert f"tokens_seen: 25600 for {full}, 27648 for the full pipeline of {CHAINED_RETRAINED}" in message
    assert f"window_end: 200 for {full}, 216 for the full pipeline of {CHAINED_RETRAINED}" in message


@pytest.mark.parametrize("column", MISMATCHES)
def test_a_rewound_baseline_is_matched_like_one_from_scratch(column: str, chain: Study) -> None:
    rewound = baseline(chain, "rewind")
    message = refused(chain, rewound, **{column: MISMATCHES[column]})
    assert f"{column}: " in message
    assert f"for {CHAINED_RETRAINED}, {MISMATCHES[column]} for {rewound}" in message


def test_runs_add_up_the_tokens_of_all_steps_of_a_chain(chain: Study) -> None:
    table = run_table(chain).set_index("run")
    columns = ["tokens_parent", "tokens_prune", "tokens_train", "tokens_total"]
    assert list(table.loc[DEPTH, columns]) == [16384, 1024, 0, 17408]
    assert list(table.loc[WIDTH, columns]) == [16384, 1792, 0, 18176]
    assert list(table.loc[CHAINED_RETRAINED, columns]) == [16384, 2816, 8192, 27392]
    assert list(table.loc[baseline(chain, "full"), columns]) == [0, 0, 27648, 27648]
    assert list(table.loc[baseline(chain, "rewind"), columns]) == [0, 0, 8192, 8192]


# Shared trunks

SHORT_RETRAINED = "P16.4k-minitron_depth-0.5-R4.1k-seed0"
TRUNKS = {run: run.replace("-seed0", "-trunk-seed0") for run in (SHORT_RETRAINED, RETRAINED)}


@pytest.fixture
def shared(smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The smallest study with trunks: those of 4.1k and 8.19k tokens end after 3 and 6 steps of 1,024 tokens."""
    monkeypatch.chdir(tmp_path)
    smoke["training"]["schedule"] = {"kind": "wsd", "warmup_steps": 2, "decay_fraction": 0.25}
    return finished(smoke)


def test_trunks_have_rows_in_the_ledger_and_are_in_no_other_table(shared: Study) -> None:
    ledger = ledger_table(shared).set_index("run")
    assert list(ledger.index) == [*shared.runs, *shared.trunks]
    assert set(ledger.loc[list(shared.trunks), "phase"]) == {"trunk"}
    columns = ["tokens_planned", "tokens_seen", "tokens_trunk"]
    assert ledger.loc[TRUNKS[SHORT_RETRAINED], columns].tolist() == [3072, 3072, 0]
    assert ledger.loc[TRUNKS[RETRAINED], columns].tolist() == [6144, 6144, 3072]
    assert ledger.loc[RETRAINED, columns].tolist() == [8192, 8192, 6144]
    runs = run_table(shared)
    results = results_table(shared, runs, *scores(shared))
    for table in (runs, results, efficiency_table(shared, runs)):
        assert set(table["run"]) - {CHANCE} == set(shared.runs)


def test_the_tokens_really_spent_are_those_seen_less_those_shared(shared: Study) -> None:
    """Of two budgets of one start, the shorter costs its decay: one step of 4."""
    ledger = ledger_table(shared)
    own = ledger[ledger["run"].isin([SHORT_RETRAINED, RETRAINED, *TRUNKS.values()])]
    assert own["tokens_seen"].sum() - own["tokens_trunk"].sum() == 8192 + 1024


def test_pairs_that_share_trunks_match(shared: Study) -> None:
    pairs = verified_pairs(shared, ledger_table(shared))
    assert not set(pairs[["retrained", "scratch", "parent"]].to_numpy().ravel()) & set(shared.trunks)


WRONG_TRUNKS: dict[str, Any] = {
    "window_start": 0,
    "sequence_length": 64,
    "global_batch_size": 16,
    "peak_lr": 0.001,
    "precision": "bf16",
    "seed": 1,
}


@pytest.mark.parametrize("column", WRONG_TRUNKS)
def test_a_trunk_of_another_recipe_is_named(column: str, shared: Study) -> None:
    trunk, wrong = TRUNKS[SHORT_RETRAINED], WRONG_TRUNKS[column]
    message = refused(shared, trunk, **{column: wrong})
    for follower in (SHORT_RETRAINED, TRUNKS[RETRAINED]):
        assert f"for {follower}, {wrong} for {trunk}" in message


def test_a_run_that_saw_more_in_its_trunk_than_the_trunk_did_is_named(shared: Study) -> None:
    message = refused(shared, RETRAINED, tokens_trunk=7168)
    assert f"tokens_trunk: 7168 for {RETRAINED}, 6144 for {TRUNKS[RETRAINED]}" in message


def test_a_run_without_a_trunk_saw_nothing_in_one(shared: Study) -> None:
    assert f"tokens_trunk: 1024 for {PARENT}, 0 for no trunk" in refused(shared, PARENT, tokens_trunk=1024)


def test_a_trunk_that_is_short_is_named(shared: Study) -> None:
    assert f"{TRUNKS[RETRAINED]} (trunk) saw 1 of 6144" in refused(shared, TRUNKS[RETRAINED], tokens_seen=1)


def test_manifests_from_before_there_were_trunks_count_as_without(study: Study) -> None:
    manifest = read_json(study.paths.manifest(SCRATCH))
    for column in ("tokens_trunk", "flops_trunk", "wall_seconds_trunk"):
        del manifest["facts"]["ledger"][column]
    write_json(study.paths.manifest(SCRATCH), manifest)
    verified_pairs(study, ledger_table(study))


# --- times ------------------------------------------------------------------------------------------------------


def test_times_are_those_of_the_manifests_in_the_order_of_the_pipeline(study: Study) -> None:
    paths = study.paths
    for run in study.runs:
        edit_manifest(study, run, {"seconds": 2.0, "peak_memory_bytes": 100})
    edit_manifest(study, FULL, {"seconds": 0.5, "peak_memory_bytes": 700})
    manifest = read_json(paths.manifest(RETRAINED))
    manifest["facts"]["ledger"] |= {"wall_seconds": 50.0, "wall_seconds_trunk": 10.0}
    write_json(paths.manifest(RETRAINED), manifest)
    write_json(paths.tokens / "train.manifest.json", {"schema": 1, "facts": {}, "seconds": 7.0, "peak_memory_bytes": 1})
    table = times_table(study).set_index("phase")
    assert list(table.index) == ["text", "pretrain", "prune", "retrain", "scratch"]
    assert table.loc["text", ["jobs", "seconds"]].tolist() == [1, 7.0]
    retrained = [run for run in study.runs.values() if run.role == "retrained"]
    assert table.loc["retrain", "jobs"] == len(retrained)
    assert table.loc["retrain", "longest_seconds"] == 40.0
    assert table.loc["retrain", "seconds"] == 40.0 + 2 * (len(retrained) - 1)
    assert table.loc["scratch", "peak_memory_bytes"] == 700


def test_a_phase_that_ran_in_two_environments_has_a_row_for_each(study: Study) -> None:
    old, new = ({"machine": "x86_64", "processor": "A CPU", "cores": 2, "threads": threads} for threads in (1, 2))
    ran = {"seconds": 2.0, "peak_memory_bytes": 100, "source_hash": "ab", "versions": {"python": "3.11", "torch": "2"}}
    for run in study.runs:
        edit_manifest(study, run, ran | {"hardware": old})
    edit_manifest(study, SCRATCH, {"hardware": new})
    edit_manifest(study, FULL, {"hardware": new | {"gpus": ["A GPU", "A GPU"]}, "versions": {"python": "3.12"}})
    table = provenance_table(study)
    assert list(table.columns) == [*COLUMNS, "python", "torch"]
    assert table["phase"].tolist() == ["pretrain", "prune", "retrain", "scratch", "scratch"]
    everywhere, alone = table.iloc[3], table.iloc[4]
    scratch = [run for run in study.runs.values() if run.role == "scratch"]
    assert everywhere[["jobs", "seconds"]].tolist() == [len(scratch) - 1, 2.0 * (len(scratch) - 1)]
    assert alone[["jobs", "gpus", "python"]].tolist() == [1, "2 x A GPU", "3.12"]
    assert pd.isna(alone["torch"])
    assert set(table["source_hash"]) == {"ab"}


def edit_manifest(study: Study, run: str, values: dict[str, Any]) -> None:
    """Change a manifest; its training took no longer than it says."""
    path = study.paths.manifest(run)
    manifest = read_json(path) | values
    manifest["facts"]["ledger"]["wall_seconds"] = 0.0
    write_json(path, manifest)
