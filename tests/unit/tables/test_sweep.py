"""The search for the peak learning rate: its trials, its choice, and who trains at it."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from finished_studies import finished
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.errors import Diverged, UserError
from pruning_vs_scratch.files import read_json, write_json
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.inputs import starting_point
from pruning_vs_scratch.tables.ledger import ledger_table, verified_pairs
from pruning_vs_scratch.tables.sweep import chosen_rates, sweep_table
from studies import plan
from training_plans import make_plan
from training_world import make_trainer, random_store

RATES = [0.001, 0.004]
SWEEP = {"peak_learning_rates": RATES, "on": ["minitron_depth@0.5", "wanda@2:4"], "tokens": 2048}
PRUNED, SCRATCH = "P16.4k-minitron_depth-0.5-R2.05k-lr{}-seed0", "S2.05k-depth-0.5-lr{}-seed0"


def swept(values: dict[str, Any], **more: Any) -> Study:
    """The smallest study with a sweep."""
    return Study(values | {"sweep": SWEEP | more})


def test_every_rate_is_tried_on_both_sides_of_every_model(smoke: dict[str, Any]) -> None:
    study = swept(smoke)
    assert len(study.trials) == 2 * 2 * len(RATES)
    assert {PRUNED.format(rate) for rate in RATES} | {SCRATCH.format(rate) for rate in RATES} < set(study.trials)
    for rate in RATES:
        pruned, scratch = (plan(study, name.format(rate)) for name in (PRUNED, SCRATCH))
        assert pruned.peak_learning_rate == scratch.peak_learning_rate == rate
        assert (pruned.tokens, pruned.window_start) == (scratch.tokens, scratch.window_start) == (2048, 128)
        assert pruned.phase == scratch.phase == "sweep"
        assert starting_point(study, PRUNED.format(rate))["model"].parent.name == "P16.4k-minitron_depth-0.5-seed0"
        assert "target" in starting_point(study, SCRATCH.format(rate))
        masked = starting_point(study, f"S2.05k-wanda-0.5-2of4-lr{rate}-seed0")
        assert masked["mask"].parent.name == "P16.4k-wanda-0.5-2of4-seed0"


def test_each_granularity_and_method_can_have_separate_rates(smoke: dict[str, Any]) -> None:
    smoke["matrix"] = [
        {"methods": ["minitron_depth", "shortgpt"], "ratios": [0.5], "retrain": [8192], "full": [8192]},
        {"methods": ["wanda", "magnitude"], "ratios": [0.5], "patterns": ["2:4"], "retrain": [8192]},
    ]
    tried = ["minitron_depth@0.5", "shortgpt@0.5", "wanda@2:4", "magnitude@2:4"]
    by_granularity, by_method = (swept(smoke, on=tried, use=use) for use in ("granularity", "method"))
    names = {
        "P16.4k-seed0": (None, None),
        "P16.4k-shortgpt-0.5-R8.19k-seed0": ("pruned:depth", "pruned:shortgpt"),
        "P16.4k-wanda-0.5-2of4-R8.19k-seed0": ("pruned:sparse", "pruned:wanda"),
        "S8.19k-depth-0.5-seed0": ("scratch:depth", "scratch:depth"),
        "S8.19k-wanda-0.5-2of4-seed0": ("scratch:sparse", "scratch:wanda"),
    }
    for name, expected in names.items():
        assert (by_granularity.rate_from_sweep(name), by_method.rate_from_sweep(name)) == expected
    tried_for_wanda = ["P16.4k-wanda-0.5-2of4-R2.05k-lr0.001-seed0", "P16.4k-wanda-0.5-2of4-R2.05k-lr0.004-seed0"]
    assert by_method.swept_rates["pruned:wanda"] == tried_for_wanda
    assert len(by_granularity.swept_rates["pruned:sparse"]) == len(by_granularity.swept_rates["pruned:depth"]) == 4
    assert by_granularity.swept_rates["scratch:depth"] == [SCRATCH.format(rate) for rate in RATES]
    assert set(by_method.swept_rates["shared"]) == set(by_method.trials)
    assert set(swept(smoke, on=tried, use="own").swept_rates) == {"pruned", "scratch", "shared"}
    assert Study(smoke).swept_rates == {}


def test_random_masks_of_baselines_have_a_rate_of_their_own(smoke: dict[str, Any]) -> None:
    smoke["matrix"] = [{"methods": ["wanda"], "ratios": [0.5], "patterns": ["2:4"], "retrain": [8192]}]
    study = swept(smoke | {"baselines": {"mask": "random"}}, on=["wanda@2:4"], use="method")
    assert study.rate_from_sweep("S8.19k-random-0.5-2of4-seed0") == "scratch:random"
    assert len(study.swept_rates["scratch:random"]) == len(RATES)


def test_a_run_that_no_trial_represents_is_refused_by_name(smoke: dict[str, Any]) -> None:
    message = r"sweep.use: granularity needs rates that no trial finds: pruned:width, scratch:width; add such models"
    with pytest.raises(UserError, match=message):
        swept(smoke, use="granularity")


def test_a_sweep_changes_no_run_unless_its_rates_are_used(smoke: dict[str, Any]) -> None:
    assert swept(smoke).runs == Study(smoke).runs
    assert not Study(smoke).trials
    for use, expected in {
        "none": {"parent": None, "retrained": None, "scratch": None},
        "shared": {"parent": None, "retrained": "shared", "scratch": "shared"},
        "own": {"parent": None, "retrained": "pruned", "scratch": "scratch"},
    }.items():
        study = swept(smoke, use=use)
        for run in filter(lambda run: run.plan, study.runs.values()):
            assert study.rate_from_sweep(run.name) == expected[run.role]
            assert ("learning-rates" in starting_point(study, run.name)) == (expected[run.role] is not None)
        assert not any(study.rate_from_sweep(trial) for trial in study.trials)


MISTAKES = {
    "not in the matrix": ({"on": ["shortgpt@0.5"]}, "sweep.on.0: shortgpt@0.5 is not in the matrix, which has: mini"),
    "no method": ({"on": ["wanda@2:4", "wonda@0.5"]}, "sweep.on.1: 'wonda@0.5': no method 'wonda'; did you mean"),
    "no multiple": ({"tokens": 1500}, "sweep.tokens: 1500 tokens is not a multiple of the global batch of 1024"),
    "twice": ({"peak_learning_rates": [0.1, 0.1]}, "sweep.peak_learning_rates: 0.1 is listed 2 times"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_the_sweep_is_named(smoke: dict[str, Any], case: str) -> None:
    change, message = MISTAKES[case]
    with pytest.raises(UserError) as found:
        swept(smoke, **change)
    assert message in str(found.value)


def table(rows: list[tuple[str, str, float, float]]) -> pd.DataFrame:
    """A sweep's table: side, model, rate, loss."""
    found = pd.DataFrame(rows, columns=["side", "on", "peak_lr", "validation_loss"])
    return found.assign(run=[f"trial-{i}" for i in found.index])


def sides(found: pd.DataFrame) -> dict[str, list[str]]:
    """The trials of a table that either side and both are chosen by."""
    return {
        **{side: found.loc[found["side"] == side, "run"].tolist() for side in ("pruned", "scratch")},
        "shared": found["run"].tolist(),
    }


def test_the_rate_with_the_lowest_mean_loss_is_chosen_by_side_and_for_both() -> None:
    losses = {
        ("pruned", "a"): [3.0, 2.0, 2.5], ("pruned", "b"): [3.0, 2.9, 2.0],
        ("scratch", "a"): [9.0, 5.0, 4.0], ("scratch", "b"): [9.0, float("inf"), 4.5],
    }  # fmt: skip
    rows = [(*key, rate, loss) for key, found in losses.items() for rate, loss in zip((1, 2, 3), found, strict=True)]
    trials = table(rows)
    found = chosen_rates(trials, sides(trials))
    assert found["pruned"] == {"peak_learning_rate": 3, "validation_loss": 2.25, "at_an_end": True}
    assert found["scratch"] == {"peak_learning_rate": 3, "validation_loss": 4.25, "at_an_end": True}
    assert found["shared"]["peak_learning_rate"] == 3
    only_pruned_a = table([row for row in rows if row[0] == "scratch" or row[1] == "a"])
    assert chosen_rates(only_pruned_a, sides(only_pruned_a))["pruned"] == {
        "peak_learning_rate": 2, "validation_loss": 2.0, "at_an_end": False,
    }  # fmt: skip


def test_a_grid_on_which_everything_diverged_is_refused() -> None:
    rows = [(side, "a", rate, float("inf")) for side in ("pruned", "scratch") for rate in (1.0, 2.0)]
    with pytest.raises(UserError, match=r"every rate diverged.*smaller"):
        chosen_rates(table(rows), sides(table(rows)))


def test_a_step_that_is_not_finite_is_distinguished_from_other_mistakes(tmp_path: Path) -> None:
    trainer = make_trainer(random_store(tmp_path), tmp_path / "work")
    trainer.model.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(Diverged):
        trainer.train()


def test_trials_are_in_the_ledger_and_their_table(
    smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = finished(smoke | {"sweep": SWEEP | {"use": "own"}})
    diverged = study.paths.manifest(PRUNED.format(0.004))
    manifest = read_json(diverged)
    manifest["facts"]["validation_loss"] = None
    manifest["facts"]["ledger"] |= {"tokens_seen": 1024}
    write_json(diverged, manifest)
    ledger = ledger_table(study)
    trials = ledger[ledger["phase"] == "sweep"].set_index("run")
    assert set(trials.index) == set(study.trials)
    assert trials["tokens_seen"].sum() == 7 * 2048 + 1024
    found = sweep_table(study).set_index("run")
    assert found["validation_loss"][PRUNED.format(0.004)] == float("inf")
    assert found["flops"].to_dict() == trials["flops"][found.index].to_dict()

    ledger.loc[ledger["phase"] == "retrain", "peak_lr"] = 0.5
    verified_pairs(study, ledger)
    with pytest.raises(UserError, match=r"peak_lr: 0\.5 for"):
        verified_pairs(swept(smoke, use="shared"), ledger)


def test_a_rate_that_the_sweep_did_not_choose_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "sweep.json", {"pruned:wanda": {"peak_learning_rate": 0.1}})
    words = {
        name: str(tmp_path) for name in ("tokens", "validation", "tokenizer", "model", "work", "metrics", "manifest")
    }
    words |= {"plan": make_plan().model_dump_json(), "learning-rates": str(tmp_path / "sweep.json")}
    script = str(REPOSITORY / "workflow/scripts/train.py")
    options = [f"--{name}={value}" for name, value in words.items()]
    monkeypatch.setattr(sys, "argv", [script, *options, "--learning-rate-of=pruned:wand"])
    with pytest.raises(UserError, match=r"sweep\.json has no rate 'pruned:wand'; did you mean 'pruned:wanda'\?"):
        runpy.run_path(script)["main"]()


def test_a_study_without_a_sweep_says_what_is_missing(smoke: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="study smoke has no sweep: give it a section 'sweep'"):
        sweep_table(Study(smoke))
