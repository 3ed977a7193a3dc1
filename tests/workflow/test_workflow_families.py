"""Studies of other families' parents, pretrained by the study, through real Snakemake to their figures."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from transformers import AutoModelForCausalLM

from checkouts import checkout
from program import PVS, code_of
from pruning_vs_scratch.families.catalogue import family_facts

pytestmark = pytest.mark.workflow

GROUPS = {"ratio": 0.5, "hidden_size": 32, "heads": 2, "kv_heads": 1}
METHODS = ["minitron_depth", "sleb", "minitron_width", "flap", "sheared_llama", "sparsegpt"]
"""One of each way to prune: blocks, widths with and without learning, weights."""


def of_family(family: str, smoke: dict[str, Any]) -> dict[str, Any]:
    """One comparison of the smallest study, with a parent of a family; speed does not differ by family."""
    return smoke | {
        "study": family,
        "parent": smoke["parent"] | {"shape": smoke["parent"]["shape"] | {"family": family}},
        "matrix": [{"methods": ["minitron_width"], "ratios": [0.5], "retrain": [4096]}],
        "evaluation": smoke["evaluation"] | {"speed": None},
    }


def with_more_methods(values: dict[str, Any]) -> dict[str, Any]:
    """The same study with methods of every kind."""
    flap = GROUPS | {"ffn_size": 32, "methods": ["flap"]}
    learned = {"ratio": 0.5, "hidden_size": 24, "ffn_size": 40, "heads": 4, "methods": ["sheared_llama"]}
    targets = values["targets"]
    return values | {
        "targets": targets | {"width": [*targets["width"], flap, learned]},
        "matrix": [{"methods": METHODS, "ratios": [0.5], "retrain": [4096]}],
        "pruning": values["pruning"] | {"flap": {"biases": "authors"}},
    }


@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_a_study_of_another_family_runs_to_its_figures(family: str, tmp_path: Path) -> None:
    folder = checkout(tmp_path / "checkout")
    smoke = yaml.safe_load((folder / "config/smoke.yaml").read_text())
    values = of_family(family, smoke)
    values = with_more_methods(values) if family == "gemma3" else values
    (folder / f"config/{family}.yaml").write_text(yaml.safe_dump(values))
    words = [*PVS, "run", family, "--cores", "2"]
    environment = os.environ | code_of(folder)
    finished = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    results = folder / f"results/{family}"
    table = pd.read_csv(results / "results.csv")
    methods = {method for block in values["matrix"] for method in block["methods"]}
    assert set(table["method"].dropna()) == methods
    losses = table[(table["metric"] == "loss") & (table["dataset"] == "test")]
    assert losses["run"].nunique() == table["run"].nunique()
    # Guessing among 512 tokens costs 6.24 nats.
    assert losses["value"].between(3, 7).all()
    assert (folder / f"figures/{family}/answer.png").stat().st_size > 0
    facts = family_facts(family)
    models = sorted((results / "runs").glob("*/model/config.json"))
    assert len(models) == table["run"].nunique() - 1, "all but chance"
    assert {json.loads(model.read_text())["architectures"][0] for model in models} == {facts.architecture}
    pruned = next(run for run in table["run"] if "minitron_width-0.5-R" in run)
    loaded = AutoModelForCausalLM.from_pretrained(results / "runs" / pruned / "model", local_files_only=True)
    assert type(loaded).__name__ == facts.architecture
