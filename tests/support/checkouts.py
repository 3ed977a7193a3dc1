"""Copies of the project in separate folders, and the commands that run a study there."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from program import PVS, code_of
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.load import load_config, study_files
from pruning_vs_scratch.figures.catalogue import figures_of
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.warm import start

SMOKE = ["--configfile", "config/smoke.yaml"]
SECRETS = {
    "HF_TOKEN": "hf_a-secret-of-the-test",
    "WANDB_API_KEY": "another-secret-of-the-test",
    "password": "a-password-of-the-test",
}


def checkout(folder: Path) -> Path:
    """The tracked parts of the project that a run needs, in an empty folder."""
    folder.mkdir(parents=True)
    shutil.copy(REPOSITORY / "Snakefile", folder)
    for name in ("workflow", "config", "envs", "slurm"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return folder


def study_command(*overlays: str) -> list[str]:
    """A call of pvs run on two cores, as make does it, for the smallest study and what goes over it."""
    return [*PVS, "run", "smoke", *overlays, "--cores", "2"]


def command(folder: Path, words: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder."""
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


def run_study(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the smallest study to its end, with secrets in its environment."""
    indexes = f"{os.environ.get('PIP_EXTRA_INDEX_URL', '')} http://user:{SECRETS['password']}@127.0.0.1:9/simple"
    variables = {**SECRETS, "PIP_EXTRA_INDEX_URL": indexes.strip()}
    words = study_command()
    environment = os.environ | code_of(folder) | variables
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call Snakemake itself."""
    return command(folder, [sys.executable, "-m", "snakemake", "--cores", "2", *arguments])


def snakemake_kept_warm(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same for many jobs: they start as those of pvs run do, without importing torch each."""
    script = folder / "workflow/scripts/warm_interpreter.py"
    # Names of sockets are short.
    with tempfile.TemporaryDirectory() as short, pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "SCRIPT", script)
        with start.warm_interpreter(Path(short) / "warm") as variables:
            for name, value in variables.items():
                patch.setenv(name, value)
            return snakemake(folder, *arguments)


def smoke_figures() -> set[str]:
    """The figures of the smallest study."""
    config = load_config(study_files(["smoke"], REPOSITORY / "config"))
    return set(figures_of(Study(config.model_dump(mode="json"))))


def results_of(folder: Path) -> str:
    """The text of results.csv."""
    return (folder / "results/smoke/results.csv").read_text()


def planned_jobs(folder: Path, *arguments: str) -> dict[str, int]:
    """Jobs by rule of a dry run."""
    result = snakemake(folder, *arguments, "-n", "--quiet", "rules")
    assert result.returncode == 0, result.stdout + result.stderr
    table = re.findall(r"^(\w+) +(\d+)$", result.stdout + result.stderr, re.MULTILINE)
    return {rule: int(count) for rule, count in table}
