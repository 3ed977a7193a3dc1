"""A model over several processes: FSDP2 (Zhao et al., "PyTorch FSDP", 2304.11277), each decoder block a unit.

A shard is a ``DTensor``, whose own part is ``local``. In fp32 the arithmetic is that of one process, except for the
order of sums. In bf16 all weights are gathered in bf16, including norms and embedding, and so are the states between
blocks; one process keeps both in fp32.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from pruning_vs_scratch.config.precision import Precision
from pruning_vs_scratch.models.decoder import empty_model
from pruning_vs_scratch.training.world import World


class Whole(nn.Module):
    """Runs functions of a model with the weights outside its blocks gathered: FSDP2 gathers around ``forward``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(model, *arguments)``."""
        return function(self.model, *arguments)


def distributed_model(model: Any, world: World, precision: Precision) -> Whole:
    """A model on the world's device, with the first process's weights; with several processes, each holds a shard."""
    whole = Whole(model)
    if world.size == 1:
        return whole.to(world.device)
    # Gathered weights are compute copies; the shards that the optimiser updates stay in fp32.
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if precision == "bf16" else None,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    for unit in _units(model):
        _take_first(unit, world)
        fully_shard(unit, mesh=world.mesh, mp_policy=policy)
    _take_first(whole, world)
    # The final norm and the output projection, which stay gathered from the forward to the backward pass.
    fully_shard(whole, mesh=world.mesh, mp_policy=policy)
    for module in whole.modules():
        if isinstance(module, FSDPModule):
            # Sums, not means: the loss is already divided by the tokens of the global batch.
            module.set_force_sum_reduction_for_comms(True)
            module.set_gradient_divide_factor(1.0)
    return whole


def same_model(load: Callable[[], Any], world: World) -> Any:
    """A model that the first process loads; the others get its shape now, and weights when it is sharded."""
    model = load() if world.is_first else None
    config = world.from_first(model.config if model is not None else None)
    return model if model is not None else empty_model(config)


def add_up_copies(whole: Whole, *, now: bool) -> None:
    """Whether the next backward pass sums the gradients over all copies of the model, or only within its own. Only the
    last micro-batch of a step needs to: the network between nodes is the slow one.
    """
    if isinstance(whole, FSDPModule):
        whole.set_requires_all_reduce(now)


def let_go(whole: Whole) -> None:
    """Return to shards after a forward pass without a backward pass, which would have done so."""
    if isinstance(whole, FSDPModule):
        whole.reshard()


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This process's part of a tensor, without a copy."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def own_rows(parameter: torch.Tensor) -> range:
    """Which rows of a parameter this process holds, on a mesh of any number of dimensions: FSDP2 cuts by rows."""
    rows = torch.arange(len(parameter))
    if isinstance(parameter, DTensor):
        mesh, placements = parameter.device_mesh, parameter.placements
        # Cut like the parameter, by torch itself; every process has all numbers, so nothing is sent.
        rows = distribute_tensor(rows.to(mesh.device_type), mesh, placements, src_data_rank=None).to_local()
    return range(int(rows[0]), int(rows[-1]) + 1) if len(rows) else range(0)


def whole_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and whole values of a model's parameters, one at a time; all processes iterate together."""
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        yield name, value.full_tensor() if isinstance(value, DTensor) else value


def _units(model: Any) -> list[nn.Module]:
    """Modules that are gathered one at a time; an embedding that is also the output projection stays with it."""
    embedding = [] if model.config.tie_word_embeddings else [model.model.embed_tokens]
    return [*embedding, *model.model.layers]


def _take_first(module: nn.Module, world: World) -> None:
    """Move what is not sharded yet to the device, with the first process's values."""
    held = [t for t in (*module.parameters(), *module.buffers()) if not isinstance(t, DTensor)]
    for tensor in held:
        tensor.data = tensor.data.to(world.device)
        distributed.broadcast(tensor.data, src=0)
