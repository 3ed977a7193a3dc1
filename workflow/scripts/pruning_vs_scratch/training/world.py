"""The processes that train one model together: one alone, or those that torchrun or launch.py started."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import _set_pg_timeout

from pruning_vs_scratch.cluster import slurm
from pruning_vs_scratch.errors import PeerLost, UserError
from pruning_vs_scratch.files import atomic_directory
from pruning_vs_scratch.models.device import best_device

Value = TypeVar("Value")

SETTING_UP = timedelta(days=1)
"""How long processes wait for each other before the first step: one may wait for a lock, or compile."""
TRAINING = timedelta(minutes=30)
"""The same from then on: longer than any save, and short enough that a hanging peer does not waste a night."""


@dataclass(frozen=True)
class World:
    """What a process knows about its peers. Every method except ``is_first`` must be called by all of them."""

    device: torch.device
    rank: int = 0
    size: int = 1
    mesh: DeviceMesh | None = None
    """The processes as FSDP2 sees them, with two dimensions for copies and shards; None for one alone."""
    group: distributed.ProcessGroup | None = None
    """The group through which the processes communicate; None for the initial group of all."""
    stop_at: float | None = None
    """When a long step has to save and stop, in seconds since the epoch; only the first process knows."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    @property
    def copies(self) -> int:
        """How many copies of the model the processes hold together."""
        return self.mesh.size(0) if self.mesh is not None and self.mesh.ndim == 2 else 1

    def sums(self, *values: float) -> list[float]:
        """Sums of numbers over all processes, in fp64."""
        if self.size == 1:
            return list(values)
        totals = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(totals, group=self.group)
        return totals.tolist()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in some process."""
        return self.sums(float(flag))[0] > 0

    def add_up_(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace tensors that each process holds whole by their sums over all processes."""
        for tensor in tensors if self.size > 1 else ():
            distributed.all_reduce(tensor, group=self.group)

    def gathered(self, tensor: torch.Tensor) -> torch.Tensor:
        """Tensors of one shape on the CPU, one per process, in the order of ranks: shape (processes, ...)."""
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        if self.size == 1:
            return tensor[None]
        distributed.all_gather(parts, tensor.contiguous(), group=self.group)
        return torch.stack(parts)

    def values(self, value: Value) -> list[Value]:
        """The values of all processes, in the order of ranks."""
        found: list[Any] = [value]
        if self.size > 1:
            found = [None] * self.size
            distributed.all_gather_object(found, value, group=self.group)
        return found

    def from_first(self, value: Value) -> Value:
        """The first process's value; those of the others are ignored."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0, group=self.group)
        return values[0]

    @contextmanager
    def atomic_directory(self, path: Path) -> Iterator[Path]:
        """A folder that all processes fill: it gets its name once all of them are done."""
        if not self.is_first:
            yield self.from_first(path)
            self.wait()
            self.wait()
            return
        with atomic_directory(path) as temporary:
            yield self.from_first(temporary)
            self.wait()
        self.wait()

    def wait(self) -> None:
        """Wait for the other processes."""
        if self.size > 1:
            distributed.barrier(group=self.group)

    def apart(self) -> "World":
        """The same processes in a separate group, for a thread other than the one that trains."""
        return self if self.size == 1 else replace(self, group=distributed.new_group(backend="gloo", timeout=TRAINING))

    def wait_at_most(self, duration: timedelta) -> None:
        """From now on, fail if the others keep this process waiting for longer."""
        if self.mesh is None:
            return
        for group in (None, *self.mesh.get_all_groups()):
            _set_pg_timeout(duration, group)


@contextmanager
def joined_world(*, shard_in_node: bool = False) -> Iterator[World]:
    """This process among its peers, from the environment variables of torchrun; gloo between CPUs, nccl between GPUs.
    With ``shard_in_node`` a model is sharded among the processes of a node, and each node has a copy.

    Raises:
        UserError: there are more processes than GPUs on this machine.
        PeerLost: another process ended.
    """
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    if size == 1:
        yield World(best_device(), stop_at=slurm.stop_time())
        return
    device = _device_of(local)
    try:
        if device.type == "cpu":
            distributed.init_process_group("gloo")
        else:
            distributed.init_process_group("cpu:gloo,cuda:nccl", device_id=device)
        rank = distributed.get_rank()
        stop_at = slurm.stop_time() if rank == 0 else None
        world = World(device, rank, size, _mesh(device, size, shard_in_node), stop_at=stop_at)
        world.wait_at_most(SETTING_UP)
        yield world
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        raise PeerLost(f"process {os.environ['RANK']} stops, because another process of this run ended") from error
    finally:
        # Otherwise gloo's threads abort the process when Python exits.
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _mesh(device: torch.device, size: int, shard_in_node: bool) -> DeviceMesh:
    """All processes in a row; or a row per node, within which a model is sharded (HSDP, 2304.11277, section 3.2.2)."""
    in_node = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    if not shard_in_node or in_node in (1, size):
        return init_device_mesh(device.type, (size,))
    return init_device_mesh(device.type, (size // in_node, in_node), mesh_dim_names=("copies", "shards"))


def _device_of(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise UserError(
            f"process {local_rank} of this machine has no GPU: there are {torch.cuda.device_count()}; start one "
            "process a GPU (training.processes; of learned masks, pruning.processes)"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _is_lost_connection(error: RuntimeError) -> bool:
    """Whether a collective failed because a peer is gone; gloo has no separate error class."""
    return isinstance(error, distributed.DistError) or "gloo/transport" in str(error)
