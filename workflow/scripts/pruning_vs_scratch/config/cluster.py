"""What the jobs of a study ask of a scheduler. On one machine none of it counts."""

from typing import Annotated

from pydantic import Field

from pruning_vs_scratch.config.base import PositiveInt, Section

Teraflops = Annotated[float, Field(gt=0)]


class ThroughputConfig(Section):
    """Operations that one process (on a cluster with GPUs: one GPU) sustains, in 10^12 a second."""

    train: Teraflops = 0.02
    """In training; metrics.jsonl has the measured value of a step as tflops_per_second, over all processes."""
    prune: Teraflops = 0.02
    """In passes over calibration text, and while masks are learned."""


class ClusterConfig(Section):
    """Geometry and speed, from which the resources of each job follow. Account and partition are no part of a study."""

    nodes: PositiveInt = 1
    """Machines that train a run together; each starts an equal part of its processes."""
    devices_per_node: PositiveInt | None = None
    """Devices of a machine: a run is trained by as few machines as have its processes, and nodes is left out."""
    devices: PositiveInt | None = None
    """Devices that the study may fill at a time: `make plan` says how long it takes on them."""
    device_gigabytes: Annotated[float, Field(gt=0)] = 80
    """Memory of a device, 10^9 bytes: `training.processes: auto` takes no fewer processes than fit into it."""
    gpus: bool = False
    """Ask for a GPU for each training process, and for each job that scores, prunes or evaluates."""
    device: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = "cpu"
    """What `make plan` counts hours of: a device of config/throughput.csv, such as h100, or cpu for CPU cores."""
    teraflops: ThroughputConfig = ThroughputConfig()
    evaluation_minutes: Annotated[float, Field(gt=0)] = 2
    """Minutes that the evaluation of one checkpoint takes."""

    def nodes_of(self, processes: int) -> int:
        """Machines that train a run of so many processes."""
        return self.nodes if self.devices_per_node is None else -(-processes // self.devices_per_node)

    def can_share(self, processes: int) -> bool:
        """Whether each of these machines starts equally many."""
        return processes % self.nodes_of(processes) == 0
