"""Host memory that the processes of a job hold on one node, part by part. From shapes alone: no torch here.

A mapped file of weights is counted once: its pages are shared, and a scheduler's cgroup takes them back when memory is
short. With GPUs, weights, gradients, moments and activations are there; the host has the processes themselves, data in
transit, and copies that are being written.
"""

from dataclasses import dataclass

from pruning_vs_scratch.cluster.demand import START_MEGABYTES, STATE_BYTES, WEIGHT_BYTES
from pruning_vs_scratch.config.evaluation import EvaluationConfig
from pruning_vs_scratch.models.weight_files import SHARD_BYTES
from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.study.shape import ModelShape

GPU_MEGABYTES = 2_000
"""What the driver, CUDA's libraries and NCCL's buffers add to a process: assumed, never measured."""
SAVED_BYTES, MASK_BYTES = 12, 1
"""Per parameter: of its saved state (weight and moments, in fp32), and of its mask."""
ACTIVATION_BYTES = 80
"""Per block, token and channel of the residual stream, in fp32, kept for the backward pass."""
COPIES_OF_FILE = 2
"""A file that is being written is in memory as tensors and as bytes."""
CHECK_BYTES = 7
"""Of an entry, while a tensor on a CPU is checked for NaN: its absolute value, and three booleans."""
MASK_ENTRIES_PER_BYTE = 8


@dataclass(frozen=True)
class Start:
    """What the first process of a training run holds before the weights go to their devices."""

    params: int
    """Weights that it reads or draws."""
    masked: int = 0
    """Weights that have a mask."""


def training_megabytes(
    shape: ModelShape, plan: TrainingPlan, start: Start, processes: int, nodes: int, *, gpus: bool
) -> int:
    """Memory of a node that trains a model with others; the first node's, which holds most.

    - each process: itself, and on CPUs the activations of a micro-batch
    - each node, on CPUs: its share of weights, gradients, moments and masks
    - the first process, at first: all weights that the run starts from, the mapped file of its masks, and one of these
      unpacked
    - later, instead: the node's share of the state, if it is written during training, and one file of each process; at
    the end one file of the checkpoint, and a whole weight
    """
    in_node, saved = processes // nodes, SAVED_BYTES * shape.params_total
    cut_among = nodes if plan.sharding == "all" else 1
    activations = plan.micro_batch_size * plan.sequence_length * shape.layers * shape.hidden_size * ACTIVATION_BYTES
    held = 0 if gpus else (STATE_BYTES * shape.params_total + MASK_BYTES * start.masked) // cut_among
    at_first = WEIGHT_BYTES * start.params + start.masked // MASK_ENTRIES_PER_BYTE
    at_first += MASK_BYTES * largest_tensor(shape) if start.masked else 0
    beside = plan.async_saves is True or (plan.async_saves == "auto" and gpus)
    written = in_node * COPIES_OF_FILE * min(SHARD_BYTES, saved // processes)
    exported = COPIES_OF_FILE * min(SHARD_BYTES, WEIGHT_BYTES * shape.params_total)
    exported += WEIGHT_BYTES * largest_tensor(shape)
    later = (saved // cut_among if beside else 0) + max(written, exported)
    each = process_megabytes(gpus) + (0 if gpus else activations // 10**6)
    return in_node * each + (held + max(at_first, later)) // 10**6


def mask_learning_megabytes(shape: ModelShape, plan: TrainingPlan, processes: int, *, gpus: bool) -> int:
    """Memory to learn masks of a model on one node: that of training, and at its end the learned model.

    The first process gathers all weights with the masks folded in, and casts them to the dtype that they are stored in.
    """
    learned = 2 * WEIGHT_BYTES * shape.params_total // 10**6
    return learned + training_megabytes(shape, plan, Start(shape.params_total), processes, nodes=1, gpus=gpus)


def evaluation_megabytes(shape: ModelShape, evaluation: EvaluationConfig, processes: int, *, gpus: bool) -> int:
    """Memory to score a model by processes of one node.

    - once: the mapped file of the weights
    - each process: itself, and weights on their way to its GPU, four at a time and the largest of them
    - on CPUs instead: the weights, the largest of which is checked for NaN, and the logits of a batch, twice
    """
    mapped = WEIGHT_BYTES * shape.params_total
    on_its_way = WEIGHT_BYTES * (shape.embedding_params + 2 * shape.hidden_size * shape.ffn_size)
    logits = 2 * WEIGHT_BYTES * evaluation.perplexity.batch_size * evaluation.perplexity.sequence_length
    on_cpu = mapped + max(CHECK_BYTES * largest_tensor(shape), logits * shape.vocab_size)
    return mapped // 10**6 + processes * (process_megabytes(gpus) + (on_its_way if gpus else on_cpu) // 10**6)


def process_megabytes(gpus: bool) -> int:
    """A process that has set up its libraries, but has no model yet."""
    return START_MEGABYTES + GPU_MEGABYTES * gpus


def largest_tensor(shape: ModelShape) -> int:
    """Entries of the largest weight: the embedding, or a matrix of the feed-forward layer."""
    return shape.hidden_size * max(shape.vocab_size, shape.ffn_size)
