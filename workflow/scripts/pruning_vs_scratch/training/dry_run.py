"""A training step that is not computed: how much memory it needs and how fast a GPU could be, without a GPU.

The model, its shards and every operation of forward and backward pass and optimiser are torch's own, on fake tensors
and with a fake process group (the first process's view of it). Memory is that of storages alive at the same time; times
follow the roofline model (Williams et al., 2009): each operation takes as long as its arithmetic at the GPU's peak or
its memory traffic at the bandwidth, whichever is longer. Compiled blocks move less memory. Exchanges between GPUs
overlap with the rest, and limit a step only if they take longer.
"""

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from pruning_vs_scratch.config.precision import Precision
from pruning_vs_scratch.config.training import sharing_problem
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.decoder import CausalLM, config_of, model_of
from pruning_vs_scratch.study.gpus import GPUS, Gpu
from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.study.training_memory import TrainingMemory, chosen_recomputing, memory_of_plan
from pruning_vs_scratch.training.loss import loss_sum
from pruning_vs_scratch.training.optimizer import build_optimizer, weight_groups
from pruning_vs_scratch.training.precision import as_multiplied, autocast
from pruning_vs_scratch.training.recomputing import told
from pruning_vs_scratch.training.request import TrainingRequest
from pruning_vs_scratch.training.sharding import Whole, add_up_copies, distributed_model
from pruning_vs_scratch.training.start import starting_shape
from pruning_vs_scratch.training.world import World

COUNTED = "counted"
PRODUCTS, TRAFFIC = "matrix products", "memory traffic"
IN_NODE, BETWEEN_NODES = "exchange in a node", "exchange between nodes"

Masking = Callable[[CausalLM], AbstractContextManager[object]]


@dataclass(frozen=True)
class DryRun:
    """Estimated memory and time of a step on each GPU."""

    expected: TrainingMemory
    """The estimate, by part."""
    peak_bytes: int
    """Peak bytes counted."""
    every: int | None
    """Interval of recomputed blocks."""
    micro_batches: int
    """Micro-batches per step of a process."""
    seconds: dict[str, float]
    """Seconds of a step at the roofline: operations by what limits them, and exchanges by where they are."""

    def told(self, gpu: Gpu, model_flops: int) -> str:
        """The run as text for people; ``model_flops`` are those of a step on one GPU (as counted by Throughput)."""
        seconds = ", ".join(f"{kind} {seconds:.3g} s" for kind, seconds in self.seconds.items())
        utilisation = model_flops / self.step_seconds / (1e12 * gpu.bf16_teraflops)
        return (
            f"{told(self.expected, self.every, gpu.bytes)}; {self.peak_bytes / 1e9:.1f} GB counted, without fragments\n"
            f"a step of {self.micro_batches} micro-batches takes at least {self.step_seconds:.3g} s, which is "
            f"{utilisation:.0%} of the peak ({seconds})\n"
        )

    @property
    def step_seconds(self) -> float:
        """The shortest possible time of a step."""
        computing = self.seconds[PRODUCTS] + self.seconds[TRAFFIC]
        return max(computing, self.seconds[IN_NODE], self.seconds[BETWEEN_NODES])


class _Meter(TorchDispatchMode):
    """Counts the memory in use and the work of operations."""

    def __init__(self, gpu: Gpu, copies: int, spans_nodes: bool) -> None:
        super().__init__()
        self._gpu, self._copies, self._spans_nodes = gpu, copies, spans_nodes
        self._live: dict[int, int] = {}
        self._now = 0
        self.peak = 0
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        results = func(*args, **kwargs)
        self._count_work(func, args, kwargs, results)
        for tensor in tree_leaves(results):
            self.hold(tensor)
        return results

    def hold(self, tensor: Any) -> None:
        """Count a tensor's storage while it is alive."""
        if not isinstance(tensor, torch.Tensor):
            return
        storage = (tensor.to_local() if isinstance(tensor, DTensor) else tensor).untyped_storage()
        if storage._cdata not in self._live:
            self._live[storage._cdata] = 0
            weakref.finalize(storage, self._forget, storage._cdata)
        self.resized(storage._cdata, storage.nbytes())

    def resized(self, key: int, size: int) -> None:
        """A live storage changes its size."""
        if key in self._live:
            self._now += size - self._live[key]
            self._live[key] = size
            self.peak = max(self.peak, self._now)

    def add(self, kind: str, seconds: float) -> None:
        """Count time."""
        self.seconds[kind] += seconds

    def products(self, flops: float) -> float:
        """Seconds for a number of operations of matrix products."""
        return flops / (1e12 * self._gpu.bf16_teraflops)

    def _forget(self, key: int) -> None:
        self._now -= self._live.pop(key)

    def _count_work(self, func: Any, args: Any, kwargs: Any, results: Any) -> None:
        read = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and not isinstance(t, DTensor)]
        written = [t for t in tree_leaves(results) if isinstance(t, torch.Tensor) and not isinstance(t, DTensor)]
        storages = {t.untyped_storage()._cdata for t in read}
        is_view = all(t.untyped_storage()._cdata in storages for t in written) and not func._schema.is_mutable
        if func.namespace == "c10d":
            self._count_exchange(func.__name__, max((t.nbytes for t in (*read, *written)), default=0))
            return
        if is_view:
            return
        moved = sum(t.nbytes for t in (*read, *written)) / (1e12 * self._gpu.terabytes_per_second)
        flops = flop_registry.get(func.overloadpacket)
        busy = 0.0 if flops is None else self.products(flops(*args, **kwargs, out_val=results))
        self.add(PRODUCTS if busy > moved else TRAFFIC, max(busy, moved))

    def _count_exchange(self, name: str, size: int) -> None:
        """Gathering and scattering are within a copy of the model; copies, one on each node, sum gradients."""
        adds_up = "allreduce" in name
        between_nodes = adds_up if self._copies > 1 else self._spans_nodes
        speed = self._gpu.network_gigabytes if between_nodes else self._gpu.link_gigabytes
        self.add(BETWEEN_NODES if between_nodes else IN_NODE, (1 + adds_up) * size / (1e9 * speed))


class _Flash(torch.autograd.Function):
    """The memory and work of flash attention (Dao, 2307.08691): nothing has the size of the scores."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, meter: _Meter) -> torch.Tensor:
        sequences, heads, length, channels = query.shape
        output = query.new_empty(sequences, length, heads, channels).transpose(1, 2)
        log_sums = torch.empty(sequences, heads, length, dtype=torch.float32, device=query.device)
        ctx.save_for_backward(query, key, value, output, log_sums)
        ctx.meter = meter
        # Two products over the scores of earlier tokens, half of all scores.
        ctx.seconds = meter.products(2 * sequences * heads * length**2 * channels)
        meter.add(PRODUCTS, ctx.seconds)
        return output

    @staticmethod
    def backward(ctx: Any, _upstream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        query, key, value, _, log_sums = ctx.saved_tensors
        # Five products; the query's gradient is summed in fp32, along with the row sums of output times its gradient.
        ctx.meter.add(PRODUCTS, 2.5 * ctx.seconds)
        held = torch.empty_like(query, dtype=torch.float32), torch.empty_like(log_sums)
        del held
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None


def dry_run_of(request: TrainingRequest, gpu: str, *, processes: int, in_node: int) -> str:
    """What a step of a run would need on GPUs of a kind, as text for people.

    Raises:
        UserError: the processes cannot share its batches.
    """
    plan = request.plan
    if problem := sharing_problem(plan, processes):
        raise UserError(f"run {plan.run}: {problem}")
    shape = starting_shape(request)
    found = dry_run(shape, plan, GPUS[gpu], processes=processes, in_node=in_node)
    flops = shape.training_flops(plan.global_batch_size, plan.sequence_length) // processes
    teacher = "; its teacher comes on top" if plan.distillation else ""
    return f"run {plan.run}{teacher}: {found.told(GPUS[gpu], flops)}"


def dry_run(
    shape: ModelShape,
    plan: TrainingPlan,
    gpu: Gpu,
    *,
    processes: int,
    in_node: int,
    masking: Masking | None = None,
) -> DryRun:
    """Two steps of a plan as the first of some processes would do them; the second is measured. ``masking`` opens what
    must be open during the forward and backward pass of a model whose masks are learned.
    """
    copies = processes // in_node if plan.sharding == "node" and 1 < in_node < processes else 1
    # On a GPU, auto is bf16.
    precision: Precision = "fp32" if plan.precision == "fp32" else "bf16"
    shards, in_bf16 = processes // copies, precision == "bf16"
    masked = masking is not None
    every = chosen_recomputing(shape, plan, shards=shards, in_bf16=in_bf16, device_bytes=gpu.bytes, masked=masked)
    micro_batches = plan.global_batch_size // processes // plan.micro_batch_size
    with _fake_world(processes, copies) as world, FakeTensorMode():
        meter = _Meter(gpu, copies, spans_nodes=processes > in_node)
        model = model_of(config_of(shape, plan.sequence_length)).train()
        if not shape.facts.caps_attention:
            _use_counted_flash(model, meter)
        if every is not None:
            model.activation_checkpointing_enable({"use_reentrant": False}, every_n_layers=every)
        whole = distributed_model(model, world, precision) if processes > 1 else Whole(model)
        for parameter in model.parameters():
            meter.hold(parameter)
        optimizer = build_optimizer(weight_groups(model, plan.optimizer, plan.peak_learning_rate), plan.optimizer)
        inputs, targets = torch.zeros(2, plan.micro_batch_size, plan.sequence_length, dtype=torch.long)
        with meter, _resizing_seen(meter):
            for _ in range(2):
                # All micro-batches except the last are alike, and in the second step moments and gradients exist.
                parts = []
                for is_last in (False, True)[micro_batches == 1 :]:
                    meter.seconds.clear()
                    add_up_copies(whole, now=is_last)
                    with nullcontext() if masking is None else masking(model):
                        with autocast(precision, world.device, keep_casts=processes == 1):
                            loss = whole(loss_sum, inputs, targets, plan.loss_chunk_tokens, None, plan.fused_loss)
                        loss.backward()
                        del loss
                    parts.append(meter.seconds.copy())
                meter.seconds.clear()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
    seconds = {
        kind: (micro_batches - 1) * parts[0][kind] + parts[-1][kind] + meter.seconds[kind]
        for kind in (PRODUCTS, TRAFFIC, IN_NODE, BETWEEN_NODES)
    }
    expected = memory_of_plan(shape, plan, every, shards=shards, in_bf16=in_bf16, masked=masked)
    return DryRun(expected, meter.peak, every, micro_batches, seconds)


@contextmanager
def _fake_world(processes: int, copies: int) -> Iterator[World]:
    """The first of some processes, with collectives that do nothing."""
    device = torch.device("cpu")
    if processes == 1:
        yield World(device)
        return
    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=processes)
    try:
        if copies == 1:
            mesh = init_device_mesh(device.type, (processes,))
        else:
            mesh = init_device_mesh(device.type, (copies, processes // copies), mesh_dim_names=("copies", "shards"))
        yield World(device, 0, processes, mesh)
    finally:
        distributed.destroy_process_group()


@contextmanager
def _resizing_seen(meter: _Meter) -> Iterator[None]:
    """While open, the meter sees storages change size: FSDP2 frees gathered weights so, without an operation."""
    resize = torch.UntypedStorage.resize_

    def seen(storage: torch.UntypedStorage, size: int) -> torch.UntypedStorage:
        meter.resized(storage._cdata, size)
        found: torch.UntypedStorage = resize(storage, size)
        return found

    torch.UntypedStorage.resize_ = seen  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        torch.UntypedStorage.resize_ = resize  # type: ignore[method-assign]


def _use_counted_flash(model: Any, meter: _Meter) -> None:
    """Count a model's attention like a GPU's, in bf16 under autocast; causal, so that it needs no mask."""

    def attend(
        _module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, None]:
        output = _Flash.apply(as_multiplied(query), as_multiplied(key), as_multiplied(value), meter)
        return output.transpose(1, 2).contiguous(), None

    AttentionInterface.register(COUNTED, attend)
    AttentionMaskInterface.register(COUNTED, lambda *_, **__: None)
    model.set_attn_implementation(COUNTED)
