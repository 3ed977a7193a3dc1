"""How long a job takes and how much memory it needs, estimated from its work, roughly and generously."""

import math

from pruning_vs_scratch.config.cluster import ClusterConfig
from pruning_vs_scratch.pruning.memory import Memory
from pruning_vs_scratch.study.shape import ModelShape

SPARE = 2.0
"""Factor on the estimate."""
START_MINUTES = 5.0
"""Python, its imports and the model, from a slow shared file system."""
START_MEGABYTES = 2_000
"""A process that has imported torch and transformers."""
WEIGHT_BYTES, STATE_BYTES = 4, 16
"""Bytes of a parameter in fp32; the same with its gradient and the two moments of AdamW."""
TOKENS_PER_SECOND = 200_000
"""Read, compared with other text and tokenised by one core; less than a third of the measured rate."""
PARAMETERS_PER_MINUTE = 1e9
"""Read and rewritten by one process."""


def training_minutes(flops: int, shape: ModelShape, processes: int, cluster: ClusterConfig) -> int:
    """Minutes to train with this many operations."""
    return _minutes(flops / processes, cluster.teraflops.train, shape)


def pruning_minutes(flops: int, shape: ModelShape, processes: int, cluster: ClusterConfig) -> int:
    """Minutes to prune or score a model of a shape with this many operations, on training or calibration text."""
    return _minutes(flops / processes, cluster.teraflops.prune, shape)


def evaluation_minutes(checkpoints: int, cluster: ClusterConfig) -> int:
    """Minutes to evaluate some checkpoints one by one."""
    return math.ceil(START_MINUTES + SPARE * cluster.evaluation_minutes * checkpoints)


def text_minutes(tokens: int) -> int:
    """Minutes to read a text and to tokenise it."""
    return math.ceil(START_MINUTES + SPARE * tokens / TOKENS_PER_SECOND / 60)


def calibration_megabytes(memory: Memory, *, gpu: bool) -> int:
    """Memory of a process that scores or prunes with calibration text; without a GPU, blocks run in host memory too."""
    return START_MEGABYTES + (memory.host + (0 if gpu else memory.device)) // 10**6


def busy_minutes(flops: float, teraflops: float, shape: ModelShape) -> float:
    """Minutes for one process to read a model, do this many operations, and write it, without a margin."""
    return shape.params_total / PARAMETERS_PER_MINUTE + flops / teraflops / 1e12 / 60


def _minutes(flops: float, teraflops: float, shape: ModelShape) -> int:
    return math.ceil(START_MINUTES + SPARE * busy_minutes(flops, teraflops, shape))
