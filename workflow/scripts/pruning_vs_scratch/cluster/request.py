"""The request of one job to a scheduler."""

from dataclasses import dataclass
from typing import Any

from pruning_vs_scratch.cluster.site import Queue


@dataclass(frozen=True)
class JobRequest:
    """What a job requests at its first attempt."""

    kind: str
    """In one word, for messages."""
    minutes: int
    megabytes: int
    """Of each node."""
    queue: Queue
    cpus: int = 1
    """Of each node."""
    nodes: int = 1
    gpus: int = 0
    """Of each node."""

    def minutes_of(self, attempt: int) -> int:
        """The time to request: training that needs more than the longest job continues in another one."""
        longest = self.queue.max_hours
        return self.minutes * attempt if longest is None else min(self.minutes * attempt, int(60 * longest))

    @property
    def options(self) -> list[str]:
        """The request as options of sbatch."""
        geometry = [f"--nodes={self.nodes}", f"--ntasks={self.nodes}", f"--cpus-per-task={self.cpus}"]
        gres = [f"--gres={self.gres(self.gpus)}"] if self.gpus else []
        return [
            *geometry,
            f"--time={self.minutes_of(attempt=1)}",
            f"--mem={self.megabytes}",
            *gres,
            *self.queue.options,
        ]

    @property
    def geometry(self) -> dict[str, Any]:
        """The request, except for time and memory, as resources of Snakemake's executor."""
        resources: dict[str, Any] = dict(self.queue.resources)
        if self.gpus:
            # Without the latter, the executor requests as many tasks as GPUs.
            resources |= {"gres": self.gres(self.gpus), "tasks_per_gpu": 0}
        if self.nodes > 1:
            # The key "mpi" makes the executor leave the steps of a job to its command.
            resources |= {"mpi": "srun", "tasks": self.nodes, "cpus_per_task": self.cpus}
        return resources

    def gres(self, gpus: int) -> str:
        """This many GPUs of the site's model."""
        return ":".join(["gpu", *([self.queue.gpu_model] if self.queue.gpu_model else []), str(gpus)])

    def __str__(self) -> str:
        return f"{self.kind} jobs ask for up to {' '.join(self.options)}"
