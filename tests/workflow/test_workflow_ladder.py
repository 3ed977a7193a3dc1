"""A rung of the ladder through real Snakemake."""

from pathlib import Path

import pytest
import yaml

from checkouts import checkout, planned_jobs
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.ladder.machine import Machine
from pruning_vs_scratch.ladder.overlay import rung_overlay
from pruning_vs_scratch.ladder.proportions import Proportions
from pruning_vs_scratch.ladder.rungs import parents
from pruning_vs_scratch.planning.throughput import SHIPPED, ThroughputTable

pytestmark = pytest.mark.workflow


def test_snakemake_plans_the_jobs_of_a_rung(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "checkout")
    machine = Machine("cpu", 2, ThroughputTable.read([REPOSITORY / SHIPPED]))
    overlay = rung_overlay("small", parents(Proportions.read(REPOSITORY / "config"))[0], "core", machine)
    (folder / "config/small.yaml").write_text(yaml.safe_dump(overlay))
    for name, train in {"small": 22, "one-gpu": 22}.items():
        jobs = planned_jobs(folder, "--configfile", f"config/{name}.yaml")
        assert (jobs["train"], jobs["train_trial"], jobs["train_tokenizer"]) == (train, 30, 1)
