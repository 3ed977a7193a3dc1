"""Calls of the program ``pvs`` in a folder: with the code of a checkout, else with this one."""

import os
import subprocess
import sys
from pathlib import Path

from pruning_vs_scratch.cli import REPOSITORY

PVS = [sys.executable, "-m", "pruning_vs_scratch"]


def code_of(folder: Path) -> dict[str, str]:
    """Variables by which Python finds the package of a checkout."""
    scripts = folder / "workflow/scripts"
    own = scripts if scripts.is_dir() else REPOSITORY / "workflow/scripts"
    return {"PYTHONPATH": os.pathsep.join([str(own), *filter(None, [os.environ.get("PYTHONPATH")])])}


def pvs(folder: Path, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Call a verb."""
    environment = os.environ | code_of(folder) | variables
    return subprocess.run(
        [*PVS, *map(str, words)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
