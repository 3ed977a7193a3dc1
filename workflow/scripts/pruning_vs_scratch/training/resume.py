"""Resume state: weights, optimiser moments and counters of a run, in a folder that is complete or absent.

Written by torch.distributed.checkpoint as safetensors, each process its own shards: any number of processes can resume
from it. The folder is named by the step and lives under work/, keyed by the hash of everything that the run depends on,
so a changed plan never continues from another plan's state. The state of a shared trunk is a separate output from which
other runs continue. A state is read only if its files still have the hashes recorded when they were written.
"""

import math
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint import CheckpointException, HuggingFaceStorageReader, HuggingFaceStorageWriter

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import ITSELF, FileFacts, damaged_file, file_facts
from pruning_vs_scratch.models.tensors import SHARD_BYTES, Tensors, sort_metadata, writing_tensors
from pruning_vs_scratch.training.state_file import (
    Damage,
    StateFile,
    TrainState,
    read_state_file,
    write_state_file,
)
from pruning_vs_scratch.training.world import World

MOMENTS = ("exp_avg", "exp_avg_sq")


def save_state(
    folder: Path,
    state: TrainState,
    tensors: Tensors,
    world: World,
    *,
    spec: str,
    keep: int = 1,
) -> None:
    """Write the state of a step, then delete all except the latest ``keep`` ones. ``spec`` is the hash of the plan."""
    write_state(folder / f"step-{state.step:08d}", state, tensors, world, spec=spec)
    if world.is_first:
        for older in states(folder)[:-keep]:
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
        UserError: it belongs to another plan, or is damaged.
    """
    kept = world.from_first(states(folder) if world.is_first else [])
    begins = "training begins again" + (f" from {trunk}" if trunk else "")
    if kept:
        then = f"training resumes from {kept[-2]}" if len(kept) > 1 else begins
        return read_state(kept[-1], model, optimizer, world, spec=spec, then=then)
    if trunk is None:
        return TrainState()
    state = read_state(trunk, model, optimizer, world, spec=None, then="the trunk is trained again")
    return replace(state, tokens_trunk=state.tokens_seen, seconds_trunk=state.seconds, metrics=None)


def states(folder: Path) -> list[Path]:
    """The complete states of a run by step; a state that is still being written has a different name."""
    return sorted(folder.glob("step-*"))


def write_state(folder: Path, state: TrainState, tensors: Tensors, world: World, *, spec: str) -> None:
    """Write one state, replacing what was there; ``tensors`` are those of ``state_tensors``, or copies."""
    with world.atomic_directory(folder) as temporary:
        with writing_tensors(temporary), _plainly():
            checkpoint.save(tensors, storage_writer=_writer(temporary, tensors, world), process_group=world.group)
        files = _hashed_files(temporary, world)
        if world.is_first:
            write_state_file(temporary, spec, state, files)


def read_state(
    folder: Path, model: nn.Module, optimizer: torch.optim.AdamW, world: World, *, spec: str | None, then: str
) -> TrainState:
    """Bring one state into a model and its optimiser; ``spec`` is None for a trunk, which has a separate plan. ``then``
    says what happens once the folder is deleted.

    Raises:
        UserError: it belongs to another plan or to a model of another shape, or is damaged.
    """
    found = _undamaged(folder, world, then)
    if spec is not None and found.spec != spec:
        raise UserError(f"{folder} is the state of another plan; delete that folder and run again: {then}")
    state = found.state
    try:
        _require_whole(folder, model)
    except Damage as damage:
        raise _refusal(folder, damage, then) from damage
    for parameter in model.parameters():
        optimizer.state[parameter] = {
            "step": torch.tensor(float(state.step), device=parameter.device),
            **{moment: torch.zeros_like(parameter) for moment in MOMENTS},
        }
    with _plainly():
        checkpoint.load(state_tensors(model, optimizer), storage_reader=HuggingFaceStorageReader(str(folder)))
    return state


def _hashed_files(folder: Path, world: World) -> dict[str, FileFacts]:
    """Bring the tensor files into their final form and hash them; each process does a share of them."""
    names = world.from_first(sorted(file.name for file in folder.glob("*.safetensors")))
    mine: dict[str, FileFacts] = {}
    for file in (folder / name for name in names[world.rank :: world.size]):
        sort_metadata(file)
        mine |= {file.name: file_facts(file)[ITSELF]}
    return {name: facts for share in world.values(mine) for name, facts in share.items()}


def _undamaged(folder: Path, world: World, then: str) -> StateFile:
    """The content of a state's file, if all files are unchanged; each process checks a share of them.

    Raises:
        UserError: in every process, if one of them found damage.
    """
    found, damage = None, None
    try:
        found = read_state_file(folder)
        mine = sorted(found.files)[world.rank :: world.size]
        if file := damaged_file(folder, {name: found.files[name] for name in mine}):
            damage = Damage(f"{file.name} is missing or has changed since it was written")
    except Damage as error:
        damage = error
    damages = [seen for seen in world.values(damage) if seen is not None]
    if found is None or damages:
        raise _refusal(folder, damages[0], then)
    return found


def _refusal(folder: Path, damage: Damage, then: str) -> UserError:
    return UserError(f"the training state {folder} is damaged: {damage}; delete that folder and run again: {then}")


def _require_whole(folder: Path, model: nn.Module) -> None:
    """Check that the files can be read and hold every tensor, before torch fails with a less clear error.

    Raises:
        Damage: names the file or the tensor.
        UserError: the model has another shape.
    """
    found: dict[str, int] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as stream:
                for name in stream.keys():  # noqa: SIM118 (the stream itself cannot be walked)
                    found[name] = found.get(name, 0) + math.prod(stream.get_slice(name).get_shape())
        except SafetensorError as error:
            raise Damage(f"{file.name} cannot be read ({error})") from error
    kinds = ("weight", *MOMENTS)
    wanted = {f"{kind}.{name}": parameter.numel() for name, parameter in model.named_parameters() for kind in kinds}
    if missing := sorted(wanted.keys() - found.keys()):
        raise Damage(f"it lacks {len(missing)} tensors, first {missing[0]}")
    if wanted != found:
        raise UserError(f"{folder} holds the state of a model of another shape; give the state of this model")


def state_tensors(model: nn.Module, optimizer: torch.optim.AdamW) -> Tensors:
    """Weights and moments by name, sharing memory with the model and the optimiser."""
    named = dict(model.named_parameters())
    moments = {
        f"{moment}.{name}": optimizer.state[parameter][moment]
        for name, parameter in named.items()
        for moment in MOMENTS
    }
    return {f"weight.{name}": parameter.detach() for name, parameter in named.items()} | moments


def _writer(folder: Path, tensors: Tensors, world: World) -> HuggingFaceStorageWriter:
    """A writer of files of limited size, because each is assembled in memory."""
    files, filled = {}, 0
    for name, tensor in tensors.items():
        filled += tensor.numel() * tensor.element_size() // world.size
        files[name] = 1 + filled // SHARD_BYTES
    return HuggingFaceStorageWriter(str(folder), fqn_to_index_mapping=files, save_distributed=True)


@contextmanager
def _plainly() -> Iterator[None]:
    """Raise the original error, not torch's wrapper, and keep torch from warning that a process is alone."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
        try:
            yield
        except CheckpointException as wrapping:
            raise next(error for error, _ in wrapping.failures.values()) from None
