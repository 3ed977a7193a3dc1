"""Memory that a training process takes on its device, by part. Arithmetic only: no torch.

It counts what eager operations hold. Compiled blocks keep less; an allocator's fragments and the libraries' own
buffers, together a few gigabytes, come on top.
"""

from dataclasses import dataclass

from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.study.shape import ModelShape

HALF, FULL = 2, 4
"""Bytes of a number in bf16 and in fp32."""
STATE_BYTES = 16
"""Per parameter: its weight, gradient and two moments of AdamW, in fp32."""

FREE = 0.1
"""Reserved share of a device's memory: fragments, the libraries' buffers, the CUDA context."""
RECOMPUTING = (None, 8, 4, 3, 2, 1)
"""Which blocks may be recomputed, from none to all, if the choice depends on memory."""


@dataclass(frozen=True)
class MicroBatch:
    """How a process runs its sequences through the model."""

    tokens: int
    """Tokens processed together."""
    length: int
    """Tokens per sequence."""
    logits: int
    """Tokens whose logits are held at once."""
    recomputed_every: int | None
    """Every n-th block is recomputed in the backward pass; None for none."""
    masked: bool = False
    """Whether masks of channels, neurons and heads are learned along the way."""


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes on one device at the worst moment of a step."""

    state: int
    """This process's shard of weights, gradients and moments."""
    weights: int
    """Copies of weights in the precision of products, and weights gathered from the other processes."""
    activations: int
    """What the blocks keep for the backward pass."""
    working: int
    """Temporary memory: logits, gradients being accumulated, a recomputed block."""

    @property
    def total(self) -> int:
        """All parts."""
        return self.state + self.weights + self.activations + self.working


def chosen_recomputing(
    shape: ModelShape,
    plan: TrainingPlan,
    *,
    shards: int,
    in_bf16: bool,
    device_bytes: int | None,
    masked: bool = False,
) -> int | None:
    """Interval of recomputed blocks: as set in the plan, or as large as a device's memory allows.

    None: no block is recomputed. On a CPU, whose memory is None, auto recomputes none.
    """
    wanted = plan.activation_checkpointing
    if wanted != "auto":
        return 1 if wanted is True else wanted or None
    if device_bytes is None:
        return None
    for every in RECOMPUTING:
        expected = memory_of_plan(shape, plan, every, shards=shards, in_bf16=in_bf16, masked=masked)
        if expected.total <= (1 - FREE) * device_bytes:
            return every
    return 1


def memory_of_plan(
    shape: ModelShape, plan: TrainingPlan, every: int | None, *, shards: int, in_bf16: bool, masked: bool = False
) -> TrainingMemory:
    """Memory of a step of a plan, if every ``every``-th block is recomputed."""
    tokens = plan.micro_batch_size * plan.sequence_length
    batch = MicroBatch(tokens, plan.sequence_length, min(tokens, plan.loss_chunk_tokens or tokens), every, masked)
    return training_memory(shape, batch, shards=shards, in_bf16=in_bf16)


def training_memory(shape: ModelShape, batch: MicroBatch, *, shards: int, in_bf16: bool) -> TrainingMemory:
    """Memory of a training step of a model sharded over ``shards`` processes; a single process holds it whole."""
    head = shape.vocab_size * shape.hidden_size
    width = HALF if in_bf16 and shards > 1 else FULL
    if shards > 1:
        # The head stays gathered through both passes; a block is, while the next one is fetched.
        weights = width * (head + 2 * shape.block_params)
    else:
        # Autocast keeps its casts until the backward pass.
        weights = HALF * (shape.layers * shape.block_linear_params + head) if in_bf16 else 0
    again = -(-shape.layers // batch.recomputed_every) if batch.recomputed_every else 0
    block = batch.tokens * kept_bytes(shape, batch.length, shards=shards, in_bf16=in_bf16, masked=batch.masked)
    kept = (shape.layers - again) * block + again * batch.tokens * width * shape.hidden_size
    # Gradients as they are made and, of several processes, once more as they are added up, in fp32.
    gradient = width + FULL if shards > 1 else width
    at_last_block = 2 * width * head + gradient * shape.block_params + (block if again else 0)
    at_embedding = width * head + (width + gradient) * head
    at_loss = _loss_bytes(head, batch.logits * shape.vocab_size, in_bf16=in_bf16)
    moments = [(kept, at_loss), (kept, at_last_block), (0, at_embedding)]
    activations, working = max(moments, key=sum)
    return TrainingMemory(STATE_BYTES * shape.params_total // shards, weights, activations, working)


def kept_bytes(shape: ModelShape, length: int, *, shards: int, in_bf16: bool, masked: bool = False) -> int:
    """What a block keeps of a token, in a sequence of some length, for its backward pass.

    The inputs of norms in fp32, and these divided by their root mean square; the inputs of seven linear layers;
    queries, keys, values and the output of attention, which keeps no scores unless it caps them; three factors of the
    gated product. With masks also what each of them scales: what enters and leaves the norms and the sublayers.
    """
    if masked:
        scaled = 6 * shape.hidden_size + shape.ffn_size + shape.heads * shape.head_dim
        width = HALF if in_bf16 else FULL
        return width * scaled + kept_bytes(shape, length, shards=shards, in_bf16=in_bf16)
    hidden, attention = shape.hidden_size, shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
    normed = len(shape.facts.block_norms) * hidden
    if shape.facts.head_norms != "none":
        normed += shape.head_dim * (shape.heads + shape.kv_heads)
    scores = shape.held_scores(1, length) // length * _score_bytes(in_bf16)
    if not in_bf16:
        return scores + FULL * (2 * normed + 2 * hidden + attention + 4 * shape.ffn_size)
    products = scores + HALF * (attention + 4 * shape.ffn_size)
    if shards > 1:
        return products + (FULL + HALF + HALF) * normed
    # What flows from block to block is in fp32, and five linear layers keep casts of their own of what they read.
    return products + (FULL + FULL) * normed + 5 * HALF * hidden


def _score_bytes(in_bf16: bool) -> int:
    """Of a score: its hyperbolic tangent, the softmax in fp32, and that in the precision of products."""
    return HALF + FULL + HALF if in_bf16 else FULL + FULL


def _loss_bytes(head: int, logits: int, *, in_bf16: bool) -> int:
    """Of a chunk of logits, and of the head's gradient, which is added up in fp32 (training/loss.py)."""
    product = HALF if in_bf16 else FULL
    return FULL * head + max((2 * FULL + product) * logits, product * (logits + head))
