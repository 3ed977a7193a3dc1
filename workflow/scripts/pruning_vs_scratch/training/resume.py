"""Resume state: weights, optimiser moments and counters of a run, in a folder that is complete or absent.

Written by torch.distributed.checkpoint as safetensors, each process its own shards: any number of processes can go on
from it. The folder is named by the step and lives under work/, keyed by the hash of everything that the run depends
on, so a changed plan never continues from another plan's state. The state of a shared trunk is an output of its own,
from which other runs go on.
"""

import math
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint import CheckpointException, HuggingFaceStorageReader, HuggingFaceStorageWriter

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import STATE_FILE, read_json, write_json
from pruning_vs_scratch.models.tensors import SHARD_BYTES, Tensors, sort_metadata, writing_tensors
from pruning_vs_scratch.training.world import World

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class TrainState:
    """Counters of a run in progress."""

    step: int = 0
    """Optimiser steps done."""
    tokens_seen: int = 0
    """Tokens that went through the forward pass, over all processes."""
    seconds: float = 0.0
    """Wall time over all attempts."""
    tokens_trunk: int = 0
    """How many of the tokens were seen in shared trunks, before this run went on from there."""
    seconds_trunk: float = 0.0
    """How much of the wall time was spent there."""
    loader: dict[str, Any] = field(default_factory=dict)
    """State of a loader whose batches are no pure function of the step."""


def save_state(
    folder: Path,
    state: TrainState,
    model: nn.Module,
    optimizer: torch.optim.AdamW,
    world: World,
    *,
    spec: str,
    keep: int = 1,
) -> None:
    """Write the state of a step, then drop all but the latest ``keep`` ones. ``spec`` is the hash of the plan."""
    write_state(folder / f"step-{state.step:08d}", state, model, optimizer, world, spec=spec)
    if world.is_first:
        for older in _complete(folder)[:-keep]:
            shutil.rmtree(older)


def load_state(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.AdamW,
    world: World,
    *,
    spec: str,
    trunk: Path | None = None,
) -> TrainState:
    """Restore the latest complete state; with none, the state of a shared trunk; with no trunk, a fresh one.

    Raises:
        UserError: it is of another plan, or damaged.
    """
    latest = world.from_first(max(_complete(folder), default=None) if world.is_first else None)
    if latest is not None:
        return read_state(latest, model, optimizer, spec=spec)
    if trunk is None:
        return TrainState()
    state = read_state(trunk, model, optimizer, spec=None)
    return replace(state, tokens_trunk=state.tokens_seen, seconds_trunk=state.seconds)


def write_state(
    folder: Path, state: TrainState, model: nn.Module, optimizer: torch.optim.AdamW, world: World, *, spec: str
) -> None:
    """Write one state, in place of what was there."""
    tensors = _tensors(model, optimizer)
    with world.atomic_directory(folder) as temporary:
        with writing_tensors(temporary), _plainly():
            checkpoint.save(tensors, storage_writer=_writer(temporary, tensors, world))
        if world.is_first:
            for file in temporary.glob("*.safetensors"):
                sort_metadata(file)
            write_json(temporary / STATE_FILE, {"spec": spec, **asdict(state)})


def read_state(folder: Path, model: nn.Module, optimizer: torch.optim.AdamW, *, spec: str | None) -> TrainState:
    """Bring one state into a model and its optimiser; ``spec`` is None for a trunk, which has a plan of its own.

    Raises:
        UserError: it is of another plan, of a model of another shape, or damaged.
    """
    counters = read_json(folder / STATE_FILE)
    if counters.pop("spec") != spec and spec is not None:
        raise UserError(f"{folder} is the state of another plan; delete it, and the run begins anew")
    _require_whole(folder, model)
    for parameter in model.parameters():
        optimizer.state[parameter] = {
            "step": torch.tensor(float(counters["step"]), device=parameter.device),
            **{moment: torch.zeros_like(parameter) for moment in MOMENTS},
        }
    with _plainly():
        checkpoint.load(_tensors(model, optimizer), storage_reader=HuggingFaceStorageReader(str(folder)))
    return TrainState(**counters)


def _require_whole(folder: Path, model: nn.Module) -> None:
    """Check that the files can be read and hold every tensor, before torch meets the trouble in its own way.

    Raises:
        UserError: names the file or the tensor.
    """
    found: dict[str, int] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as stream:
                for name in stream.keys():  # noqa: SIM118 (the stream itself cannot be walked)
                    found[name] = found.get(name, 0) + math.prod(stream.get_slice(name).get_shape())
        except SafetensorError as error:
            raise UserError(f"cannot read {file}: {error}; delete {folder}, and the run goes back") from error
    kinds = ("weight", *MOMENTS)
    wanted = {f"{kind}.{name}": parameter.numel() for name, parameter in model.named_parameters() for kind in kinds}
    if missing := sorted(wanted.keys() - found.keys()):
        raise UserError(f"{folder} lacks {len(missing)} tensors, first {missing[0]}; delete it, and the run goes back")
    if wanted != found:
        raise UserError(f"{folder} holds the state of a model of another shape; give the state of this model")


def _complete(folder: Path) -> list[Path]:
    """States in the order of their steps; one that is being written has another name."""
    return sorted(folder.glob("step-*"))


def _tensors(model: nn.Module, optimizer: torch.optim.AdamW) -> Tensors:
    """Weights and moments by name; shared with the model and the optimiser."""
    named = dict(model.named_parameters())
    moments = {
        f"{moment}.{name}": optimizer.state[parameter][moment]
        for name, parameter in named.items()
        for moment in MOMENTS
    }
    return {f"weight.{name}": parameter.detach() for name, parameter in named.items()} | moments


def _writer(folder: Path, tensors: Tensors, world: World) -> HuggingFaceStorageWriter:
    """A writer of files of bounded size, because each is put together in memory."""
    files, filled = {}, 0
    for name, tensor in tensors.items():
        filled += tensor.numel() * tensor.element_size() // world.size
        files[name] = 1 + filled // SHARD_BYTES
    return HuggingFaceStorageWriter(str(folder), fqn_to_index_mapping=files, save_distributed=True)


@contextmanager
def _plainly() -> Iterator[None]:
    """Raise what really went wrong, not torch's wrapping of it, and keep torch from warning that a process is alone."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
        try:
            yield
        except CheckpointException as wrapping:
            raise next(error for error, _ in wrapping.failures.values()) from None
