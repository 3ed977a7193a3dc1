"""Resume state: weights, optimiser moments and counters of a run, in a folder that is complete or absent.

The folder is named by the step and lives under work/, keyed by the hash of everything that the run depends on, so a
changed plan never continues from another plan's state. The state of a shared trunk is an output of its own, from which
other runs go on.
"""

import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import STATE_FILE, atomic_directory, read_json, write_json
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
    tokens_trunk: int = 0
    """How many of the tokens were seen in shared trunks, before this run went on from there."""
    seconds_trunk: float = 0.0
    """How much of the wall time was spent there."""
    loader: dict[str, Any] = field(default_factory=dict)
    """State of a loader whose batches are no pure function of the step."""


def save_state(folder: Path, state: TrainState, model: nn.Module, optimizer: torch.optim.AdamW, keep: int = 1) -> None:
    """Write the state of a step, then drop all but the latest ``keep`` ones."""
    write_state(folder / f"step-{state.step:08d}", state, model, optimizer)
    for older in _complete(folder)[:-keep]:
        shutil.rmtree(older)


def load_state(folder: Path, model: nn.Module, optimizer: torch.optim.AdamW, trunk: Path | None = None) -> TrainState:
    """Restore the latest complete state; with none, the state of a shared trunk; with no trunk, a fresh one."""
    found = _complete(folder)
    if found:
        return read_state(found[-1], model, optimizer)
    if trunk is None:
        return TrainState()
    state = read_state(trunk, model, optimizer)
    return replace(state, tokens_trunk=state.tokens_seen, seconds_trunk=state.seconds)


def write_state(folder: Path, state: TrainState, model: nn.Module, optimizer: torch.optim.AdamW) -> None:
    """Write one state, in a folder of its own."""
    with atomic_directory(folder) as temporary:
        save_tensors(_weights(model), temporary / "weights.safetensors")
        save_tensors(_moments(model, optimizer), temporary / "optimizer.safetensors")
        write_json(temporary / STATE_FILE, asdict(state))


def read_state(folder: Path, model: nn.Module, optimizer: torch.optim.AdamW) -> TrainState:
    """Restore one state.

    Raises:
        UserError: a file is missing or damaged, or the state is that of a model of another shape.
    """
    weights = load_tensors(folder / "weights.safetensors")
    moments = load_tensors(folder / "optimizer.safetensors")
    state = TrainState(**read_json(folder / STATE_FILE))
    if {name: tensor.shape for name, tensor in weights.items()} != {n: p.shape for n, p in model.named_parameters()}:
        raise UserError(f"{folder} holds the state of a model of another shape; give the state of this model")
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
