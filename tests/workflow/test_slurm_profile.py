"""`snakemake --profile slurm`, as in the README, in the environment of `make demo`: nothing needs to be added."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from checkouts import SMOKE, checkout
from pruning_vs_scratch.cli import REPOSITORY


def test_the_plugin_is_part_of_the_base_environment() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any(name.startswith("snakemake-executor-plugin-slurm") for name in project["dependencies"])


@pytest.mark.workflow
def test_the_profile_is_understood_as_it_is_typed(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "checkout")
    command = [Path(sys.executable).with_name("snakemake"), "--profile", "slurm", "-n", *SMOKE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout + done.stderr
