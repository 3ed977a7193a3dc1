"""Counted memory of fake tensors is that of real ones."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from fake_memory import GPU, GPU_OF_GRADIENTS, FakeMemory
from models import tiny_model

MIB = 1 << 20


def test_what_lives_at_a_time_counts_and_views_share() -> None:
    with FakeMemory() as memory:
        held = torch.empty(MIB, dtype=torch.bfloat16, device=GPU)
        view = held.view(1024, 1024)[:512].t()
        assert (memory.live("cuda"), memory.live("cpu")) == (2 * MIB, 0)
        product = view @ held.view(1024, 1024)[:512]
        assert memory.live("cuda") == 4 * MIB
        del product
        on_host = held.cpu()
        assert (memory.live("cuda"), memory.peak("cuda"), memory.live("cpu")) == (2 * MIB, 4 * MIB, 2 * MIB)
        memory.reset_peak()
        assert memory.peak("cuda") == 2 * MIB
        del held, view, on_host
        assert memory.live("cuda") == memory.live("cpu") == 0


def test_a_tebibyte_takes_no_memory() -> None:
    with FakeMemory() as memory:
        torch.empty(1 << 40, dtype=torch.uint8, device=GPU)
    assert memory.peak("cuda") == 1 << 40


def test_a_resized_storage_counts_by_its_new_size() -> None:
    with FakeMemory() as memory:
        tensor = torch.empty(MIB, device=GPU)
        tensor.untyped_storage().resize_(0)
        assert memory.live("cuda") == 0
        tensor.untyped_storage().resize_(8 * MIB)
        assert memory.live("cuda") == 8 * MIB


def test_gradients_and_what_is_kept_for_them_count() -> None:
    """A linear layer keeps its input, and gets a gradient of its weight's size; attention keeps what it has read."""
    with FakeMemory() as memory:
        linear = nn.Linear(1024, 1024, bias=False, device=GPU_OF_GRADIENTS)
        weight = memory.live("meta")
        assert weight == 4 * MIB
        heads = linear(torch.empty(1024, 1024, device=GPU_OF_GRADIENTS)).view(1, 8, 1024, 128)
        output = functional.scaled_dot_product_attention(heads, heads, heads, is_causal=True)
        # The input, the heads, the output, and the logarithms of 8 heads' sums.
        assert memory.live("meta") == weight + 3 * 4 * MIB + 8 * 1024 * 4
        output.sum().backward()
        del heads, output
        assert memory.live("meta") == 2 * weight


@pytest.mark.parametrize(
    ("index", "shape"),
    [
        (0, (4, 5)),
        (slice(1, 3), (2, 4, 5)),
        ((slice(None), None, 1), (3, 1, 5)),
        ((..., slice(0, 2)), (3, 4, 2)),
        ((slice(None), torch.tensor([0, 2, 3, 1, 1])), (3, 5, 5)),
    ],
)
def test_parts_of_a_tensor_of_a_gpu_have_the_shapes_of_real_ones(index: object, shape: tuple[int, ...]) -> None:
    assert torch.empty(3, 4, 5)[index].shape == shape
    with FakeMemory():
        tensor = torch.empty(3, 4, 5, device=GPU)
        part = tensor[index]
        assert (part.shape, part.device) == (shape, GPU)
        tensor[index] = 1.0


@pytest.mark.parametrize(
    ("dtype", "kv_heads", "grouped", "scores"),
    [(torch.bfloat16, 2, True, 0), (torch.float32, 8, False, 0), (torch.float32, 2, True, 2)],
)
def test_attention_takes_the_memory_of_the_kernel_that_a_gpu_would_use(
    dtype: torch.dtype, kv_heads: int, grouped: bool, scores: int
) -> None:
    """Scores of 8 heads at 1,024 tokens are 32 MiB in fp32; the math kernel holds two copies and more."""
    with FakeMemory() as memory:
        query = torch.empty(1, 8, 1024, 64, dtype=dtype, device=GPU)
        key = torch.empty(1, kv_heads, 1024, 64, dtype=dtype, device=GPU)
        memory.reset_peak()
        before = memory.live("cuda")
        output = functional.scaled_dot_product_attention(query, key, key, is_causal=True, enable_gqa=grouped)
        assert output.shape == query.shape
        taken = memory.peak("cuda") - before
    assert taken >= scores * 32 * MIB
    if not scores:
        assert taken == query.numel() * dtype.itemsize + 8 * 1024 * 4


def test_a_whole_llama_makes_no_mask_as_it_makes_none_of_real_tokens() -> None:
    """The mask of a window of 8,192 tokens would be 64 MiB."""
    with FakeMemory() as memory, torch.no_grad():
        model = tiny_model()
        model(input_ids=torch.zeros(1, 8192, dtype=torch.int64), use_cache=False, logits_to_keep=1)
    assert memory.peak("cpu") < 64 * MIB
