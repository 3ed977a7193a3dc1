"""How much memory a pruning step needs, from shapes alone.

Estimates of what grows with the model and the text, not of the libraries, the CUDA context, or temporary buffers of
kernels. They follow the code: tests run it on tensors without values and compare what is alive at the peak.
docs/pruning.md shows them for an 8B model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pruning_vs_scratch.config.pruning import PruningSettings
from pruning_vs_scratch.models.weight_files import SHARD_BYTES
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.facts import FP32_BYTES, MethodFacts, Text, WeightBytes
from pruning_vs_scratch.pruning.placement import Buffers, side_by_side
from pruning_vs_scratch.study.shape import ModelShape

MASK_ENTRIES_PER_BYTE = 8
BF16_BYTES = 2
GIB = 1 << 30


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak."""

    device: int
    """Where blocks run; on a CPU it adds to ``host``."""
    host: int
    """Hidden states in a file not counted."""
    hidden_states: int
    """Of all windows: on the device, on the host, or in a file."""


@dataclass(frozen=True)
class Means:
    """The resources of a step."""

    weights: WeightBytes
    buffers: Buffers
    gpu: bool
    low_memory: bool = True


def means_of(settings: PruningSettings, *, gpu: bool) -> Means:
    """The resources of a study's pruning; weights are assumed to be stored in fp32, as in this project."""
    bf16 = settings.precision == "bf16" or (gpu and settings.precision == "auto")
    buffers = Buffers(round(settings.host_buffer_gib * GIB), round(settings.device_buffer_gib * GIB))
    return Means(WeightBytes(FP32_BYTES, BF16_BYTES if bf16 else FP32_BYTES), buffers, gpu, settings.low_memory)


@dataclass(frozen=True)
class _States:
    """Bytes of what passes through the blocks, and of blocks on the device."""

    on_device: int
    on_host: int
    blocks: int
    arriving: int
    """A batch's copy on the device."""


def pruning_memory(
    shape: ModelShape, method: str, text: Text, means: Means, goals: Sequence[ModelShape] = (), options: Any = None
) -> Memory:
    """Estimate for a parent's shape; ``goals`` and ``options`` determine how many candidates a method compares."""
    facts, weights = facts_of(method), means.weights
    if facts.reads == "nothing":
        text = replace(text, sequences=0)
    workspace = facts.workspace(shape, text, weights)
    states = _states(shape, facts, text, means, goals, options)
    inside = _batch_bytes(shape, text, weights.computed, workspace.seeing) + states.arriving
    device = states.blocks + states.on_device + workspace.held + max(inside, workspace.between)
    hidden = text.sequences * text.length * shape.hidden_size * weights.computed
    scoring = _scoring_bytes(shape, weights) + states.on_host
    writing = _writing_bytes(shape, weights, sparse=facts.granularity == "sparse")
    together = scoring + writing if facts.granularity == "sparse" else max(scoring, writing)
    host = shape.embedding_params * weights.stored + together
    if not means.low_memory:
        # All weights, and the written ones in fp32 while they are checked.
        host += shape.params_total * (weights.stored + FP32_BYTES)
    return Memory(device, host, hidden)


def _states(
    shape: ModelShape, facts: MethodFacts, text: Text, means: Means, goals: Sequence[ModelShape], options: Any
) -> _States:
    """Where hidden states and blocks are stored, as decided by pruning/calibration.py and pruning/depth_losses.py."""
    buffers = means.buffers if means.gpu else Buffers(means.buffers.host)
    window = text.length * shape.hidden_size * means.weights.computed
    batch, hidden = window * min(text.batch_size, text.sequences), window * text.sequences
    block = shape.block_params * means.weights.computed
    if hidden == 0:
        return _States(0, 0, block, 0)
    on_host = hidden if hidden <= buffers.host else 0
    if facts.candidates is None:
        if buffers.keep_on_device(hidden):
            return _States(hidden, 0, block, 0)
        return _States(0, on_host, block, batch if means.gpu else 0)
    sets = facts.candidates(shape, goals, options) + 1
    way = side_by_side(sets, batch, text.batch_size, shape.layers * block, buffers, blocks_at_hand=not means.low_memory)
    passing = sets * window * min(way.windows, text.sequences)
    blocks = shape.layers * block if way.blocks_on_device else block
    if way.states_on_device:
        return _States(passing, on_host, blocks, 0)
    return _States(0, on_host + passing, blocks, batch if means.gpu else 0)


def _batch_bytes(shape: ModelShape, text: Text, width: int, seeing: int) -> int:
    """Activations of a batch in a block.

    Two states of the residual stream (the sum, and what the layer reads), and the widest tensors inside: gate, up and
    their product; that product while a statistic processes it; or queries, keys, values and their results, with all
    scores, these in fp32 and their softmax, where scores are capped.
    """
    stream = 2 * shape.hidden_size * width
    attention = 2 * (shape.heads + 2 * shape.kv_heads) * shape.head_dim * width
    widest = shape.ffn_size * width
    tokens = text.batch_tokens
    scores = shape.held_scores(tokens // text.length, text.length) * (width + 2 * FP32_BYTES)
    return tokens * stream + max(tokens * attention + scores, tokens * 3 * widest, tokens * widest + seeing)


def _scoring_bytes(shape: ModelShape, weights: WeightBytes) -> int:
    """On the host, besides the parent's embeddings: those to compute with, and a block that is read and checked."""
    converted = 0 if weights.computed == weights.stored else weights.computed
    # Checking a weight takes its absolute values and three masks.
    looking = shape.hidden_size * shape.ffn_size * (weights.stored + 3)
    return shape.embedding_params * converted + shape.block_params * weights.stored + looking


def _writing_bytes(shape: ModelShape, weights: WeightBytes, *, sparse: bool) -> int:
    """On the host, besides the parent's embeddings: what the pruned blocks need, one at a time, until they are
    verified.

    The written checkpoint's embeddings, in fp32 too if they are not stored so; a file's worth of waiting tensors; a
    block as read and as written, and one in fp32; the masks of a block, and those of all blocks in bits.
    """
    probe = 0 if weights.stored == FP32_BYTES else FP32_BYTES
    waiting = min(SHARD_BYTES, shape.params_total * weights.stored)
    written = shape.embedding_params * (weights.stored + probe) + waiting
    block = shape.block_params * (2 * weights.stored + FP32_BYTES)
    masks = shape.block_linear_params * (MASK_ENTRIES_PER_BYTE + shape.layers) // MASK_ENTRIES_PER_BYTE if sparse else 0
    return written + block + masks
