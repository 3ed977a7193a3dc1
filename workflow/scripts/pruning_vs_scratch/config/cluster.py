"""What a study's jobs request from a scheduler. None of it applies on a single machine."""

from typing import Annotated

from pydantic import Field

from pruning_vs_scratch.config.base import PositiveInt, Section

Teraflops = Annotated[float, Field(gt=0)]


class ThroughputConfig(Section):
    """Sustained throughput of one process (one GPU on a cluster with GPUs), in 10^12 operations per second."""

    train: Teraflops = 0.02
    """Throughput of training. metrics.jsonl records the measured value per step as tflops_per_second, summed over all
    processes."""
    prune: Teraflops = 0.02
    """Throughput of passes over calibration text and of mask learning."""


class ClusterConfig(Section):
    """Cluster geometry and speed, which set each job's resources. Account and partition are not part of a study."""

    nodes: PositiveInt = 1
    """Nodes that train a run together; each starts an equal share of its processes."""
    devices_per_node: PositiveInt | None = None
    """Devices per node. Each run uses the fewest nodes that hold its processes; omit nodes if this is set."""
    devices: PositiveInt | None = None
    """Devices that the study may use at once. `make plan` estimates how long the study takes on them."""
    device_gigabytes: Annotated[float, Field(gt=0)] = 80
    """Memory per device, in 10^9 bytes. `training.processes: auto` uses enough processes for a run to fit."""
    gpus: bool = False
    """Request one GPU per training process and one per job that scores, prunes or evaluates."""
    device: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = "cpu"
    """Device whose hours `make plan` counts: one of config/throughput.csv, such as h100, or cpu for CPU cores."""
    teraflops: ThroughputConfig = ThroughputConfig()
    evaluation_minutes: Annotated[float, Field(gt=0)] = 2
    """Minutes that the evaluation of one checkpoint takes."""

    def nodes_of(self, processes: int) -> int:
        """Nodes that train a run with this many processes."""
        return self.nodes if self.devices_per_node is None else -(-processes // self.devices_per_node)

    def can_share(self, processes: int) -> bool:
        """Whether the nodes can share the processes equally."""
        return processes % self.nodes_of(processes) == 0
