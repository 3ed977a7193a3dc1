"""Functions run by several processes that train together, each with its rank."""

import multiprocessing
import os
import socket
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from pruning_vs_scratch.training.world import World, joined_world

CONTEXT = multiprocessing.get_context("forkserver")
# Imported once: every process is a fork of the server.
CONTEXT.set_forkserver_preload(["training_world", "transformers.models.llama.modeling_llama"])
SECONDS = 100


def run_together(size: int, function: Callable[..., Any], *arguments: Any, in_node: int | None = None) -> list[Any]:
    """What ``function(world, *arguments)`` returns in each of ``size`` processes, in the order of ranks.

    ``in_node`` of them are a node, which holds a copy of the model.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    processes, receivers = [], []
    for rank in range(size):
        receiver, sender = CONTEXT.Pipe(duplex=False)
        environment = {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port, "LOCAL_WORLD_SIZE": str(in_node or size),
        }  # fmt: skip
        processes.append(CONTEXT.Process(target=_member, args=(environment, sender, function, arguments)))
        receivers.append(receiver)
        processes[-1].start()
        sender.close()
    try:
        assert all(receiver.poll(SECONDS) for receiver in receivers), "a process gave no answer"
        return [receiver.recv() for receiver in receivers]
    finally:
        for process in processes:
            process.join(timeout=10)
            process.kill()


def _member(
    environment: dict[str, str], sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    # FSDP2 warns where its hooks may get lost and gradients become wrong.
    warnings.filterwarnings("error", message="FSDP2")
    in_node = int(environment["LOCAL_WORLD_SIZE"])
    with joined_world(shard_in_node=in_node < int(environment["WORLD_SIZE"])) as world:
        _require_rank(world)
        sender.send(function(world, *arguments))


def _require_rank(world: World) -> None:
    assert (world.rank, world.size) == (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
