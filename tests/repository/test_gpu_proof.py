"""The proof of the GPU path keeps in step with the code: its cases run, tiny, on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pruning_vs_scratch.cli import REPOSITORY

SCRIPT = REPOSITORY / "tests" / "bench" / "gpu.py"
STAGES = ("environment", "attention", "training", "sharded", "sparse", "states", "perplexity")
"""Those of the commands are tested on their own."""


@pytest.mark.slow
def test_its_cases_run(tmp_path: Path) -> None:
    out = tmp_path / "proof.jsonl"
    command = [sys.executable, str(SCRIPT), "--tiny", "--out", str(out), "--stages", *STAGES]
    subprocess.run(command, check=True, capture_output=True)
    cases = [json.loads(line) for line in out.read_text().splitlines()]
    assert [case for case in cases if "failed" in case or "skipped" in case] == []
    assert {case["stage"] for case in cases} == set(STAGES)
    assert all(case["same"] for case in cases if case["stage"] == "states")
    losses = {case["loss"] for case in cases if case["stage"] == "training" and "fused" not in case["case"]}
    assert len(losses) == 1, "what changes memory changes the loss"
