"""The duration of the step that times one model of each target, estimated from its work, roughly and generously."""

import math

from pruning_vs_scratch.cluster.demand import PARAMETERS_PER_MINUTE, SPARE, START_MINUTES, WEIGHT_BYTES
from pruning_vs_scratch.config.evaluation import SpeedConfig
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.study.study import Study

BLOCK_SECONDS = 1e-3
"""Per decoder block and generated token, because Python starts operations one by one. Assumed."""
GPU_BYTES_PER_SECOND, CPU_BYTES_PER_SECOND = 1e12, 1e10
"""For weights, all of which are read for each token: half of an A100's bandwidth, and a CPU's. Assumed."""


def speed_minutes(study: Study) -> int:
    """Minutes to request."""
    return math.ceil(START_MINUTES + SPARE * speed_seconds(study) / 60)


def speed_seconds(study: Study) -> float:
    """Seconds to load and to time each model, without a margin; 0 if nothing is timed.

    The first one is measured twice, because the libraries are set up meanwhile; so are models on GPUs that may also be
    timed with kernels for their sparsity.
    """
    settings, cluster = study.config.evaluation.speed, study.config.cluster
    if settings is None:
        return 0.0
    times = []
    for run in map(study.run, study.measured_runs.values()):
        again = cluster.gpus and run.target.pattern == "2:4"
        seconds = _seconds(run.target.shape, settings, cluster.teraflops.prune, gpus=cluster.gpus)
        times.append((2 if again else 1) * seconds)
    return times[0] + sum(times)


def _seconds(shape: ModelShape, settings: SpeedConfig, teraflops: float, *, gpus: bool) -> float:
    loading = 60 * shape.params_total / PARAMETERS_PER_MINUTE
    prompt = shape.forward_flops(1, settings.prompt_tokens) / teraflops / 1e12
    reading = WEIGHT_BYTES * shape.params_total / (GPU_BYTES_PER_SECOND if gpus else CPU_BYTES_PER_SECOND)
    rounds = settings.warmup + settings.repeats
    return loading + rounds * (prompt + settings.new_tokens * (BLOCK_SECONDS * shape.layers + reading))
