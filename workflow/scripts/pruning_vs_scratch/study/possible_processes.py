"""Numbers of processes that can train a run: they share its batch, and its memory fits into their devices. No torch."""

from pruning_vs_scratch.config.cluster import ClusterConfig
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.config.training import sharing_problem
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.study.runs import Run
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.study.training_memory import FREE, chosen_recomputing, memory_of_plan

MASK_BYTES = 1
"""Bytes per weight for the mask of a sparse model, held while it trains."""


def possible_processes(config: StudyConfig, run: Run) -> list[int]:
    """Numbers of GPUs that can train a run, up to those that the study may fill; ascending.

    Raises:
        UserError: there is none; says how much memory the most of them need.
    """
    training, cluster = config.training, config.cluster
    assert cluster.devices is not None
    batches = training.global_batch_size // training.micro_batch_size
    numbers = [
        number
        for number in range(1, min(cluster.devices, batches) + 1)
        if sharing_problem(training, number) is None and cluster.can_share(number)
    ]
    fitting = [number for number in numbers if device_bytes(config, run, number) <= 1e9 * cluster.device_gigabytes]
    if not fitting:
        least = f"{device_bytes(config, run, numbers[-1]) / 1e9:.0f} GB per device" if numbers else "no number fits"
        raise UserError(
            f"training.processes: auto finds none for run {run.name} on {cluster.devices} devices of "
            f"{cluster.device_gigabytes:g} GB ({least}): raise cluster.devices, lower training.micro_batch_size, or "
            "set training.activation_checkpointing: auto"
        )
    return fitting


def device_bytes(config: StudyConfig, run: Run, processes: int) -> float:
    """Memory that a process of a run needs on its GPU, with the reserve."""
    assert run.plan is not None
    shape, shards = run.target.shape, _shards(config.cluster, run.plan, processes)
    masks = MASK_BYTES * shape.layers * shape.block_linear_params // shards if run.mask is not None else 0
    return training_bytes(config.cluster, shape, run.plan, processes) + masks / (1 - FREE)


def training_bytes(
    cluster: ClusterConfig, shape: ModelShape, plan: TrainingPlan, processes: int, *, masked: bool = False
) -> float:
    """Memory that a process of a plan needs on its GPU, with the reserve; ``masked`` learns masks."""
    shards, in_bf16, there_is = (
        _shards(cluster, plan, processes),
        plan.precision != "fp32",
        round(1e9 * cluster.device_gigabytes),
    )
    every = chosen_recomputing(shape, plan, shards=shards, in_bf16=in_bf16, device_bytes=there_is, masked=masked)
    memory = memory_of_plan(shape, plan, every, shards=shards, in_bf16=in_bf16, masked=masked)
    return memory.total / (1 - FREE)


def _shards(cluster: ClusterConfig, plan: TrainingPlan, processes: int) -> int:
    """Processes that a model is sharded over."""
    return processes if plan.sharding == "all" else processes // cluster.nodes_of(processes)
