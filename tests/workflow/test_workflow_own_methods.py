"""A method of another package through real Snakemake: from the configuration to the last figure without an edit."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from checkouts import checkout
from own_method import run, write_package

pytestmark = pytest.mark.workflow

OVERLAY = {
    "study": "own",
    "matrix": [{"methods": ["every_other"], "ratios": [0.5], "retrain": [8192], "full": [8192]}],
}


def test_a_method_of_another_package_goes_through_a_whole_study(tmp_path: Path) -> None:
    own, folder = write_package(tmp_path / "own"), checkout(tmp_path / "checkout")
    (folder / "config/own.yaml").write_text(
        yaml.safe_dump(yaml.safe_load((folder / "config/smoke.yaml").read_text()) | OVERLAY)
    )
    planned = run(folder, own, "-m", "pruning_vs_scratch", "plan", "own")
    assert planned.returncode == 0, planned.stderr
    finished = run(folder, own, "-m", "pruning_vs_scratch", "run", "own", "--cores", "2")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    results = folder / "results/own"
    assert "every_other" in set(pd.read_csv(results / "results.csv")["method"])
    # Plan and storage: its scores are a number a block and the goal.
    plan = pd.read_csv(results / "plan.csv").set_index(["part", "item", "quantity"])["value"]
    windows, runs, scores = 16 + 8 + 8 + 8, 5, 4 + 1
    assert int(plan["storage", "scores", "bytes"]) == 8 * (windows * runs + scores)
    # The figure of importance has its scores, by its label, and what it dropped.
    drawn = pd.read_csv(folder / "figures/own/importance.csv")
    assert set(drawn["panel"]) == {"Every other: block_size"}
    assert drawn["value"].notna().all() and drawn["removed"].tolist() == [0, 1, 0, 1]
    assert (folder / "figures/own/importance.png").stat().st_size > 0
    # The record names the package that the method came from.
    pruned = results / "runs/P16.4k-every_other-0.5-seed0"
    assert json.loads((pruned / "manifest.json").read_text())["versions"]["somebodys-methods"] == "1.2"
    versions = pd.read_csv(results / "printed/versions.csv").set_index("package")
    assert versions.loc["somebodys-methods", "version"] == "1.2"
