"""Calls of train.py on a text of random tokens."""

import subprocess
import sys
import time
from pathlib import Path

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.study import TrainingPlan

SCRIPTS = REPOSITORY / "workflow" / "scripts"


def train_command(prepared: Path, out: Path, plan: TrainingPlan, **more: Path) -> list[str]:
    """A call of train.py."""
    options = {
        "plan": plan.model_dump_json(),
        "tokens": prepared / "train",
        "validation": prepared / "validation",
        "tokenizer": prepared / "tokenizer",
        "target": prepared / "target.json",
        "work": out / "work",
        "out": out / "model",
        "metrics": out / "metrics.jsonl",
        "manifest": out / "manifest.json",
        **more,
    }
    return [sys.executable, str(SCRIPTS / "train.py"), *(f"--{key}={value}" for key, value in options.items())]


def wait_for_state(work: Path, process: subprocess.Popen) -> None:
    """Wait until the first resume state exists."""
    deadline = time.monotonic() + 60
    while not list(work.glob("*/*/step-*")):
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline, "no resume state appeared"
        time.sleep(0.005)
