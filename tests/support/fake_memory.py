"""Memory that code would need, counted without having it: fake tensors on any device, even on a GPU that does not
exist.

    with FakeMemory() as memory:
        weight = torch.empty(4096, 4096, device=GPU)
        ...
    assert memory.peak("cuda") < 75e9

Tensors made inside have shapes, dtypes and devices, but no values (torch's FakeTensorMode). What is counted is the
storages that are alive, by kind of device, as the caching allocator would hand them out: not its rounding and
fragments, not the CUDA context (about 0.5 GB), and not what a kernel takes and gives back inside (cuBLAS' workspace,
say). Where code asks for a value, a boolean is true and a number is 0: checks of finiteness pass, and rare branches
that some boolean opens are taken.

What takes gradients stands on ``GPU_OF_GRADIENTS`` instead: a build for CPUs ends the process when autograd meets a
tensor of CUDA. Attention on either is modelled by what each of torch's kernels for GPUs allocates (``_attention``).
"""

from collections import Counter
from contextlib import ExitStack
from typing import Any, Self
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("cuda", 0)
"""With an index: a build of torch for CPUs refuses to look up the current one."""
GPU_OF_GRADIENTS = torch.device("meta")
GPUS = (GPU.type, GPU_OF_GRADIENTS.type)
DISPATCHED = {
    torch.Tensor.contiguous: torch.ops.aten.contiguous,
    torch.Tensor.__invert__: torch.ops.aten.bitwise_not,
    torch.Tensor.__float__: torch.ops.aten._local_scalar_dense,
    torch.Tensor.__int__: torch.ops.aten._local_scalar_dense,
}
"""Methods that look up the device before they call an operation, which does not."""
FLASH_CHANNELS = 256
"""Channels of a head up to which torch has fused kernels in half precision."""


class FakeMemory:
    """While open, tensors are fake, and their memory is counted."""

    def __init__(self) -> None:
        self._storages: dict[int, tuple[StorageWeakRef, str, int]] = {}
        self._peak: Counter[str] = Counter()
        self._modes = ExitStack()

    def __enter__(self) -> Self:
        for mode in (FakeTensorMode(allow_non_fake_inputs=True), _Counted(self), _WithoutDriver()):
            self._modes.enter_context(mode)
        # Else transformers would make masks of fake tokens that it makes of no real ones, of which it asks the values.
        self._modes.enter_context(patch("transformers.masking_utils.is_tracing", lambda *_: False))
        self._modes.enter_context(patch.object(torch.UntypedStorage, "resize_", self._resizing()))
        return self

    def __exit__(self, *error: object) -> None:
        self._modes.close()

    def live(self, kind: str) -> int:
        """Bytes that are held now on a kind of device, such as ``cuda``."""
        return self._bytes()[kind]

    def peak(self, kind: str) -> int:
        """Most bytes that were held at a time since the beginning, or the last ``reset_peak``."""
        return self._peak[kind]

    def reset_peak(self) -> None:
        """Forget the peak; what is alive counts from now on."""
        self._peak = self._bytes()

    def see(self, results: Any) -> None:
        """Count the storages of some tensors, in any nest of containers."""
        known = len(self._storages)
        for tensor in tree_leaves(results):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage(), tensor.device.type)
        if len(self._storages) > known:
            self._peak |= self._bytes()

    def _add(self, storage: torch.UntypedStorage, kind: str) -> None:
        # By a reference that does not let another storage take its place, which a dead one's address would.
        if storage._cdata not in self._storages:
            self._storages[storage._cdata] = (StorageWeakRef(storage), kind, storage.nbytes())

    def _bytes(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for key, (reference, kind, size) in list(self._storages.items()):
            if reference.expired():
                del self._storages[key]
            else:
                total[kind] += size
        return total

    def _resizing(self) -> Any:
        """Storages change their size where sharded parameters are gathered and freed."""
        usual = torch.UntypedStorage.resize_

        def resize(storage: torch.UntypedStorage, size: int) -> Any:
            result = usual(storage, size)
            if found := self._storages.pop(storage._cdata, None):
                self._add(storage, found[1])
                self._peak |= self._bytes()
            return result

        return resize


class _Counted(TorchDispatchMode):
    """Shows what every operation returns to a counter, and answers where a value is asked for."""

    def __init__(self, memory: FakeMemory) -> None:
        super().__init__()
        self._memory = memory

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            dtype = args[0].dtype
            return True if dtype == torch.bool else 0.0 if dtype.is_floating_point else 0
        results = func(*args, **(kwargs or {}))
        self._memory.see(results)
        return results


class _WithoutDriver(TorchFunctionMode):
    """What a build of torch for CPUs cannot do with tensors of a GPU, though they be fake."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        on_gpu = bool(args) and isinstance(args[0], torch.Tensor) and args[0].device.type in GPUS
        if func is functional.scaled_dot_product_attention and on_gpu:
            return _attention(*args, **kwargs)
        if func is torch.Tensor.__getitem__ and on_gpu:
            view, indices = _viewed(*args)
            return view if indices is None else torch.ops.aten.index(view, indices)
        if func is torch.Tensor.__setitem__ and (on_gpu or not isinstance(args[2], torch.Tensor)):
            tensor, index, values = args
            view, indices = _viewed(tensor, index)
            if not isinstance(values, torch.Tensor):
                # Of a number torch makes a constant, and what fake tensors do with those corrupts its heap (2.13).
                values = torch.empty((), dtype=view.dtype, device=view.device)
            if indices is None:
                return _copied(view, values)
            return torch.ops.aten.index_put_(view, indices, values.to(view.dtype))
        if func is torch.Tensor.copy_ and on_gpu:
            return _copied(args[0], args[1])
        if func in DISPATCHED and on_gpu:
            return DISPATCHED[func](*args, **kwargs)
        if func is torch.Tensor.pin_memory:
            return args[0]
        if kwargs.get("pin_memory"):
            kwargs = kwargs | {"pin_memory": False}
        return func(*args, **kwargs)


def _copied(target: torch.Tensor, values: Any) -> torch.Tensor:
    """A tensor of a GPU that values were written to; those of another device change their dtype before they move."""
    if isinstance(values, torch.Tensor):
        assert torch.broadcast_shapes(values.shape, target.shape) == target.shape, f"{values.shape}, {target.shape}"
        if values.device != target.device:
            values.to(target.dtype)
    return target


def _viewed(tensor: torch.Tensor, index: Any) -> tuple[torch.Tensor, list[torch.Tensor | None] | None]:
    """A view by the numbers, slices and None of an index, and its tensors by dimension; None if there are none."""
    parts = list(index) if isinstance(index, tuple) else [index]
    taken = sum(1 for part in parts if part is not None and part is not Ellipsis)
    if any(part is Ellipsis for part in parts):
        place = next(i for i, part in enumerate(parts) if part is Ellipsis)
        parts[place : place + 1] = [slice(None)] * (tensor.ndim - taken)
    indices: list[torch.Tensor | None] = []
    for part in parts:
        dimension = len(indices)
        match part:
            case None:
                tensor = tensor.unsqueeze(dimension)
                indices.append(None)
            case int():
                tensor = tensor.select(dimension, part)
            case slice():
                tensor = torch.ops.aten.slice(tensor, dimension, part.start, part.stop, part.step or 1)
                indices.append(None)
            case torch.Tensor():
                indices.append(part)
            case _:
                raise TypeError(f"an index of kind {type(part)} is not modelled here")
    return tensor, indices if any(part is not None for part in indices) else None


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """What torch's attention on a GPU allocates for a query of shape (batch, heads, length, channels).

    In half precision without a mask flash attention (or cuDNN's) takes grouped heads too: output and log-sum-exp. The
    memory-efficient kernel takes any precision, but as many key-value heads as heads. Else the scores are matrices
    (torch's ``sdp_utils.cpp``: ``check_tensor_dtype``, ``check_batch_size_and_num_heads_dense``).
    """
    half = query.dtype in (torch.bfloat16, torch.float16) and query.shape[-1] <= FLASH_CHANNELS
    flash = half and attn_mask is None
    efficient = key.shape[1] == query.shape[1]
    if not (flash or efficient):
        return torch.ops.aten._scaled_dot_product_attention_math(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )[0]
    return _Fused.apply(query, key, value)


class _Fused(torch.autograd.Function):
    """The memory of a fused attention: nothing of the size of the scores, forward or backward."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        # The kernel's output is laid out as (batch, length, heads, channels).
        batch, heads, length, _ = query.shape
        output = query.new_empty(batch, length, heads, value.shape[-1]).transpose(1, 2)
        log_sums = torch.empty(batch, heads, length, dtype=torch.float32, device=query.device)
        ctx.save_for_backward(query, key, value, output, log_sums)
        return output

    @staticmethod
    def backward(ctx: Any, _upstream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        query, key, value, output, log_sums = ctx.saved_tensors
        # Flash accumulates the query's gradient in fp32, along with the row sums of output times its gradient.
        accumulator = torch.empty(query.shape, dtype=torch.float32, device=query.device)
        row_sums = torch.empty_like(log_sums)
        del accumulator, row_sums, output
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
