"""A package of somebody else's that brings a pruning method by an entry point."""

import os
import subprocess
import sys
from pathlib import Path

from program import code_of

FACTS = '''
"""Facts of a method that drops every other block."""

from pruning_vs_scratch.pruning.facts import BlockScores, MethodFacts, NoOptions, always, no_workspace, one_pass

FACTS = MethodFacts(
    label="Every other",
    granularity="depth",
    reads="calibration",
    options=NoOptions,
    shrinks=always("layers"),
    scored_once=lambda options: True,
    needs_goals=True,
    score_numbers=lambda shape, goals, options: shape.layers + len(goals),
    calibration_flops=one_pass,
    workspace=no_workspace,
    importance=(BlockScores("size", "block_size", "size of the residual stream"),),
)
'''
METHOD = '''
"""Drops every other block, and looks at the size of the residual stream meanwhile."""

import torch

from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.method import StructuredMethod


def score(stream, goals, options):
    sizes = []
    for block in stream.model.blocks("every other"):
        stream.advance(block)
        sizes.append(stream.hidden.double().square().mean())
    return {"size": torch.stack(sizes), "goals": torch.tensor([goal.layers for goal in goals])}


def keep(scores, parent, spec):
    assert spec.target.shape.layers in scores["goals"]
    return Kept(blocks=list(range(0, parent.layers, parent.layers // spec.target.shape.layers)))


METHOD = StructuredMethod(score, keep)
'''


def write_package(folder: Path, *, name: str = "every_other", package: str = "somebodys_methods.every_other") -> Path:
    """Lay out an installed distribution, somebodys-methods 1.2, in a folder to put on the path."""
    module = folder / "somebodys_methods" / "every_other"
    module.mkdir(parents=True)
    (module.parent / "__init__.py").write_text("")
    (module / "__init__.py").write_text("")
    (module / "facts.py").write_text(FACTS)
    (module / "method.py").write_text(METHOD)
    installed = folder / "somebodys_methods-1.2.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-methods\nVersion: 1.2\n")
    (installed / "entry_points.txt").write_text(f"[pruning_vs_scratch.methods]\n{name} = {package}\n")
    return folder


def run(folder: Path, own: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command with a folder of installed packages on its path."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(own), code_of(folder)["PYTHONPATH"]])}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
