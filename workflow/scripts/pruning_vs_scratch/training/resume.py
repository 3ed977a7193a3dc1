"""Resume state: weights, optimiser moments and counters of a run, in a folder that is complete or absent.

The folder is named by the step and lives under work/, keyed by the hash of everything that the run depends on, so a
changed plan never continues from another plan's state.
"""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pruning_vs_scratch.files import atomic_directory, read_json, write_json
from pruning_vs_scratch.models.tensors import load_tensors, save_tensors

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class TrainState:
    """Counters of a run in progress."""

    step: int = 0
    """Optimiser steps done."""
    tokens_seen: int = 0
    """Tokens that went through the forward pass."""
    seconds: float = 0.0
    """Wall time over all attempts."""
    loader: dict[str, Any] = field(default_factory=dict)
    """State of a loader whose batches are no pure function of the step."""


def save_state(folder: Path, state: TrainState, model: nn.Module, optimizer: torch.optim.AdamW, keep: int = 1) -> None:
    """Write the state of a step, then drop all but the latest ``keep`` ones."""
    target = folder / f"step-{state.step:08d}"
    with atomic_directory(target) as temporary:
        save_tensors(_weights(model), temporary / "weights.safetensors")
        save_tensors(_moments(model, optimizer), temporary / "optimizer.safetensors")
        write_json(temporary / "state.json", asdict(state))
    for older in _complete(folder)[:-keep]:
        shutil.rmtree(older)


def load_state(folder: Path, model: nn.Module, optimizer: torch.optim.AdamW) -> TrainState:
    """Restore the latest complete state; with none, a fresh one."""
    found = _complete(folder)
    if not found:
        return TrainState()
    latest = found[-1]
    weights = load_tensors(latest / "weights.safetensors")
    moments = load_tensors(latest / "optimizer.safetensors")
    state = TrainState(**read_json(latest / "state.json"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
            optimizer.state[parameter] = {
                "step": torch.tensor(float(state.step), device=parameter.device),
                **{moment: moments[f"{name}.{moment}"].to(parameter.device) for moment in MOMENTS},
            }
    return state


def _complete(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def _moments(model: nn.Module, optimizer: torch.optim.AdamW) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{moment}": optimizer.state[parameter][moment]
        for name, parameter in model.named_parameters()
        for moment in MOMENTS
    }
