"""The machine that runs a rung, and how its runs are distributed over the devices."""

import math
from dataclasses import dataclass

from pruning_vs_scratch.config.precision import Precision
from pruning_vs_scratch.config.training import TrainingConfig
from pruning_vs_scratch.planning.throughput import PROCESSOR, Rate, ThroughputTable, Work

THREAD_TOKENS = 4096
"""Fewest tokens of a step for a CPU thread."""
MOST_THREADS = 8
LEAST_TOKENS = 65_536
"""Fewest tokens of a step for a GPU: eight of the paper's windows, as when 64 GPUs share the paper's step."""
GPUS_PER_NODE = 8
CORES_PER_GPU = 8
"""Assumed, for jobs on text."""


@dataclass(frozen=True)
class Machine:
    """A number of devices of a kind: GPUs, or CPU cores.

    Raises:
        UserError: the throughput table has no such devices.
    """

    device: str
    count: int
    throughput: ThroughputTable

    def __post_init__(self) -> None:
        self.throughput.require_device(self.device)

    @property
    def has_gpus(self) -> bool:
        """Whether the devices are GPUs."""
        return self.device != PROCESSOR

    @property
    def precision(self) -> Precision:
        """Arithmetic: the paper's on GPUs, the demo's on a CPU."""
        return "bf16" if self.has_gpus else "fp32"

    @property
    def cores(self) -> int:
        """CPU cores for jobs on text."""
        return CORES_PER_GPU * self.count if self.has_gpus else self.count

    def processes(self, batch_tokens: int) -> int:
        """Processes that train a run: a power of two, each with enough tokens per step."""
        return _power_of_two_in(min(self.count, batch_tokens // LEAST_TOKENS)) if self.has_gpus else 1

    def threads(self, batch_tokens: int, paper: TrainingConfig) -> int:
        """Threads of a process."""
        if self.has_gpus:
            return paper.threads
        return _power_of_two_in(min(self.count, MOST_THREADS, batch_tokens // THREAD_TOKENS))

    def nodes(self, processes: int) -> int:
        """Machines needed for this many processes."""
        return math.ceil(processes / GPUS_PER_NODE)

    def rate(self, work: Work, params: int) -> Rate:
        """How fast one device is.

        Raises:
            UserError: the throughput table has no such rate.
        """
        return self.throughput.find(self.device, self.precision, work, params)


def _power_of_two_in(number: int) -> int:
    """The largest power of two that is no larger; at least 1."""
    return int(2 ** (max(1, number).bit_length() - 1))
