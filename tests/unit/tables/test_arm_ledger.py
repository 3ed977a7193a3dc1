"""Arms are matched in the ledger: each difference that a pair should not have is named, and costs are those counted."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from finished_studies import MASKED_WEIGHTS, finished
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import ArmPair, Study
from pruning_vs_scratch.tables.arm_ledger import verified_arms
from pruning_vs_scratch.tables.ledger import ledger_table
from pruning_vs_scratch.tables.runs import run_table

Values = dict[str, Any]
STEP = 1024
BUDGET = 8 * STEP
ARMS = {
    "distilled": {"tokens": [BUDGET], "flops": [BUDGET]},
    "gradual": [{"ratios": [0.25, 0.5], "retrain": [BUDGET]}],
    "joint": [BUDGET],
    "early": [{"shares": [0.5], "retrain": [BUDGET]}],
}


@pytest.fixture
def study(smoke: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A finished study of one method with every arm."""
    monkeypatch.chdir(tmp_path)
    smoke["targets"]["depth"].insert(0, {"ratio": 0.25, "layers": 3})
    smoke["matrix"] = [{"methods": ["wanda"], "ratios": [0.5], "retrain": [BUDGET], "full": [BUDGET]} | ARMS]
    return finished(smoke)


def pair_of(study: Study, arm: str, match: str = "tokens") -> ArmPair:
    return next(pair for pair in study.arms if (pair.arm, pair.match) == (arm, match))


def problems(study: Study, ledger: pd.DataFrame) -> str:
    with pytest.raises(UserError, match="the ledger shows arms that are not matched") as error:
        verified_arms(study, ledger, run_table(study))
    return str(error.value)


def disturbed(study: Study, run: str, **changes: Any) -> pd.DataFrame:
    """The ledger with other values for one run; a number in brackets is added to what is there."""
    ledger = ledger_table(study)
    for column, change in changes.items():
        place = ledger["run"] == run
        ledger.loc[place, column] = ledger.loc[place, column] + change[0] if isinstance(change, list) else change
    return ledger


def test_costs_are_those_of_the_ledger(study: Study) -> None:
    ledger, runs = ledger_table(study), run_table(study)
    found = verified_arms(study, ledger, runs).set_index(["arm", "match"])
    rows, params = ledger.set_index("run"), runs.set_index("run")["params_nonzero"]
    distilled = found.loc[("distilled", "tokens")]
    pair = pair_of(study, "distilled")
    for side, name in (("run", pair.run), ("baseline", pair.baseline)):
        assert distilled[f"tokens_{side}"] == BUDGET
        assert distilled[f"flops_{side}"] == rows.loc[name, "flops"] + rows.loc[name, "flops_teacher"]
    by_flops = found.loc[("distilled", "flops")]
    assert by_flops["flops_run"] == by_flops["flops_baseline"] <= by_flops["flops_usual"]
    for arm in ("gradual", "joint", "early"):
        row, pair = found.loc[(arm, "tokens")], pair_of(study, arm)
        assert row["tokens_run"] == row["tokens_baseline"] == 16 * STEP + BUDGET
        for side, name in (("run", pair.run), ("baseline", pair.baseline)):
            trained = [run for run in study.way(name) if study.run(run).plan]
            assert row[f"flops_{side}"] == rows.loc[trained, "flops"].sum()
            mean = sum(rows.loc[run, "tokens_seen"] * params[run] for run in trained) / (16 * STEP + BUDGET)
            assert row[f"params_mean_{side}"] == pytest.approx(mean)
    joint, early, gradual = (found.loc[(arm, "tokens")] for arm in ("joint", "early", "gradual"))
    assert joint["flops_run"] == joint["flops_baseline"]
    assert gradual["tokens_prune_run"] == 2 * gradual["tokens_prune_baseline"]
    assert early["tokens_prune_run"] == early["tokens_prune_baseline"]


def test_the_average_parameters_of_a_parent_pruned_halfway(study: Study) -> None:
    """Of 24 steps, the parent reads 8 whole; the rest is read without the masked weights."""
    row = verified_arms(study, ledger_table(study), run_table(study)).set_index("arm").loc["early"]
    whole = study.run("P16.4k-seed0").target.shape.params_total
    assert row["params_mean_run"] == pytest.approx(whole - MASKED_WEIGHTS * 16 / 24)
    assert row["params_mean_baseline"] == pytest.approx(whole - MASKED_WEIGHTS * 8 / 24)


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("tokens_seen", [STEP]), ("window_start", [1]), ("window_end", [1]), ("steps", [1]), ("peak_lr", 0.5),
        ("schedule", "another"), ("objective", "ce"), ("precision", "bf16"), ("flops", [1]), ("flops_teacher", [1]),
        ("sequence_length", 64), ("global_batch_size", 4), ("seed", 9),
    ],
)  # fmt: skip
@pytest.mark.parametrize("match", ["tokens", "flops"])
def test_a_difference_of_distilled_sides_is_named(study: Study, match: str, column: str, change: Any) -> None:
    pair = pair_of(study, "distilled", match)
    told = problems(study, disturbed(study, pair.run, **{column: change}))
    assert f"{column}: " in told
    assert f"for {pair.run}" in told


@pytest.mark.parametrize("steps", [-1, 1])
def test_flops_that_differ_by_a_step_are_named(study: Study, steps: int) -> None:
    """One step less would leave room for another; one more exceeds what language modelling spent."""
    pair = pair_of(study, "distilled", "flops")
    ledger = ledger_table(study).set_index("run")
    for name in (pair.run, pair.baseline):
        for column in ("flops", "flops_teacher"):
            step = ledger.loc[name, column] // ledger.loc[name, "steps"]
            ledger.loc[name, column] += steps * step
        ledger.loc[name, "steps"] += steps
    told = problems(study, ledger.reset_index())
    assert "one more step of" in told
    assert pair.usual in told


@pytest.mark.parametrize("arm", ["gradual", "joint", "early"])
@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("tokens_seen", [STEP]), ("window_start", [1]), ("window_end", [1]), ("objective", "kd"), ("precision", "bf16"),
        ("sequence_length", 64), ("global_batch_size", 4), ("seed", 9), ("peak_lr", 0.5),
    ],
)  # fmt: skip
def test_a_difference_of_whole_ways_is_named(study: Study, arm: str, column: str, change: Any) -> None:
    pair = pair_of(study, arm)
    told = problems(study, disturbed(study, pair.run, **{column: change}))
    assert f"{column.replace('tokens_seen', 'tokens')}: " in told
    assert pair.run in told


@pytest.mark.parametrize("arm", ["gradual", "early"])
def test_another_schedule_at_the_end_of_a_way_is_named(study: Study, arm: str) -> None:
    pair = pair_of(study, arm)
    assert f"schedule: another for {pair.run}" in problems(study, disturbed(study, pair.run, schedule="another"))


def test_flops_of_a_joint_schedule_are_those_of_two(study: Study) -> None:
    pair = pair_of(study, "joint")
    assert "FLOPs: " in problems(study, disturbed(study, pair.run, flops=[1]))


@pytest.mark.parametrize("arm", ["joint", "early"])
def test_pruning_that_reads_more_is_named(study: Study, arm: str) -> None:
    pair = pair_of(study, arm)
    (pruned,) = study.pruning_steps(pair.run)
    told = problems(study, disturbed(study, pruned, tokens_seen=[128]))
    assert f"tokens of pruning: 1152 for {pair.run}, 1024 for {pair.baseline}" in told


def test_a_gap_between_two_steps_is_named(study: Study) -> None:
    """Both steps moved apart by a window: the ends are right, and what lies between was never read."""
    pair = pair_of(study, "gradual")
    first = next(name for name in study.way(pair.run) if study.run(name).role == "gradual" and study.run(name).plan)
    told = problems(study, disturbed(study, first, window_end=[-1]))
    assert f"window_start: 160 for {pair.run}, 159 is where {first} ends" in told
