"""How much memory a pruning step needs, from shapes alone: one block, its statistics, a batch; the rest on the host.

Estimates of what grows with the model and the text, not of the libraries. docs/pruning.md shows them for an 8B model.
"""

from dataclasses import dataclass

from pruning_vs_scratch.models.tensors import SHARD_BYTES
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.facts import FP32_BYTES, Text
from pruning_vs_scratch.study.shape import ModelShape

MASK_ENTRIES_A_BYTE = 8


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak."""

    device: int
    """Where blocks run; on a CPU it adds to the host's."""
    host: int
    """In low-memory mode, hidden states in a file not counted."""
    hidden_states: int
    """Of all windows: on the host, or beyond the buffer in a file."""


def pruning_memory(shape: ModelShape, method: str, text: Text, *, weight_bytes: int, buffer_bytes: int) -> Memory:
    """Estimate for weights of ``weight_bytes`` each, stored and computed with."""
    facts = facts_of(method)
    workspace = facts.workspace(shape, text, weight_bytes)
    hidden_states = text.sequences * text.length * shape.hidden_size * weight_bytes
    block = shape.block_params * weight_bytes
    device = block + _batch_bytes(shape, text, weight_bytes) + workspace.device_bytes
    # The parent's embeddings, the written checkpoint's, and those of its probe.
    outside = shape.embedding_params * (2 * weight_bytes + FP32_BYTES)
    if facts.granularity == "sparse":
        outside += shape.layers * shape.block_linear_params // MASK_ENTRIES_A_BYTE
    waiting = min(SHARD_BYTES, shape.params_total * weight_bytes)
    # A block as it is read and as it is written, and one in fp32 for the probe of the written checkpoint.
    host = outside + waiting + 2 * block + shape.block_params * FP32_BYTES + min(hidden_states, buffer_bytes)
    host += min(workspace.copies_of_states * hidden_states, buffer_bytes)
    return Memory(device, host, hidden_states)


def _batch_bytes(shape: ModelShape, text: Text, weight_bytes: int) -> int:
    """Activations of a batch in a block: the residual stream, and the wider of attention and feed-forward layer."""
    attention = 2 * (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    inside = max(attention, 3 * shape.ffn_size) * weight_bytes + shape.ffn_size * FP32_BYTES
    stream = shape.hidden_size * (3 * weight_bytes + 2 * FP32_BYTES)
    return text.batch_size * text.length * (inside + stream)
