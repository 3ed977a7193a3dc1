"""How much memory a pruning step needs, from shapes alone: one block, its statistics, a batch; the rest on the host.

Estimates of what grows with the model and the text, not of the libraries. docs/pruning.md shows them for an 8B model.
"""

from dataclasses import dataclass

from pruning_vs_scratch.config.pruning import GRANULARITY
from pruning_vs_scratch.models.tensors import SHARD_BYTES
from pruning_vs_scratch.pruning.calibration import LOSS_TOKENS
from pruning_vs_scratch.study.shape import ModelShape

FP32_BYTES = 4
MASK_ENTRIES_A_BYTE = 8


@dataclass(frozen=True)
class Calibration:
    """What passes through the model."""

    sequences: int
    length: int
    batch_size: int = 1


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak."""

    device: int
    """Where blocks run; on a CPU it adds to the host's."""
    host: int
    """In low-memory mode, hidden states in a file not counted."""
    hidden_states: int
    """Of all windows: on the host, or beyond the buffer in a file."""


def pruning_memory(
    shape: ModelShape, method: str, text: Calibration, *, weight_bytes: int, buffer_bytes: int
) -> Memory:
    """Estimate for weights of ``weight_bytes`` each, stored and computed with."""
    hidden_states = text.sequences * text.length * shape.hidden_size * weight_bytes
    block = shape.block_params * weight_bytes
    device = block + _batch_bytes(shape, text, weight_bytes) + _statistics_bytes(shape, method)
    if method == "minitron_depth":
        device += shape.vocab_size * shape.hidden_size * weight_bytes
        device += min(LOSS_TOKENS, text.batch_size * text.length) * shape.vocab_size * (weight_bytes + 2 * FP32_BYTES)
    # The parent's embeddings, the written checkpoint's, and those of its probe.
    outside = shape.embedding_params * (2 * weight_bytes + FP32_BYTES)
    if GRANULARITY[method] == "sparse":
        outside += shape.layers * shape.block_linear_params // MASK_ENTRIES_A_BYTE
    waiting = min(SHARD_BYTES, shape.params_total * weight_bytes)
    # A block as it is read and as it is written, and one in fp32 for the probe of the written checkpoint.
    host = outside + waiting + 2 * block + shape.block_params * FP32_BYTES + min(hidden_states, buffer_bytes)
    if method == "minitron_depth":
        # All candidates side by side, for as many windows as the buffer holds.
        host += min(shape.layers * hidden_states, buffer_bytes)
    return Memory(device, host, hidden_states)


def _batch_bytes(shape: ModelShape, text: Calibration, weight_bytes: int) -> int:
    """Activations of a batch in a block: the residual stream, and the wider of attention and feed-forward layer."""
    attention = 2 * (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    inside = max(attention, 3 * shape.ffn_size) * weight_bytes + shape.ffn_size * FP32_BYTES
    stream = shape.hidden_size * (3 * weight_bytes + 2 * FP32_BYTES)
    return text.batch_size * text.length * (inside + stream)


def _statistics_bytes(shape: ModelShape, method: str) -> int:
    """Statistics of a block's inputs and what pruning its largest linear layer takes on top."""
    if GRANULARITY[method] != "sparse":
        return 0
    inputs = (shape.hidden_size, shape.heads * shape.head_dim, shape.hidden_size, shape.ffn_size)
    largest = shape.hidden_size * shape.ffn_size
    if method != "sparsegpt":
        return 4 * largest * FP32_BYTES
    hessians = sum(size * size for size in inputs) * FP32_BYTES
    factorising = 2 * max(inputs) ** 2 * FP32_BYTES
    return hessians + max(factorising, max(inputs) ** 2 * FP32_BYTES + 3 * largest * FP32_BYTES)
