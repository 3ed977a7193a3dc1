"""How well training uses the machine: tokens and operations per second, share of the peak, memory."""

import torch

from pruning_vs_scratch.config.precision import Precision
from pruning_vs_scratch.manifest import peak_memory_bytes
from pruning_vs_scratch.models.device import peak_device_memory_bytes
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.training.world import World

BF16_TERAFLOPS = {
    "B200": 2250.0,
    "GH200": 989.5,
    "H200": 989.5,
    "H100 NVL": 835.5,
    "H100 PCIe": 756.5,
    "H100": 989.5,
    "A100": 312.0,
    "A40": 149.7,
    "L40S": 362.05,
    "L40": 181.05,
    "L4": 121.0,
    "A10": 125.0,
}
"""Dense bf16 peaks from the makers' data sheets, by a part of the GPU's name; the first match counts."""

MEASURED = ("tokens_per_second", "tflops_per_second", "mfu", "peak_memory_bytes")
"""Fields of a step's record that differ between two runs of the same plan."""


def peak_teraflops(gpu: str, precision: Precision) -> float | None:
    """Peak of a GPU by its name; None where it is not tabulated, or for fp32, whose peak depends on TF32 settings."""
    if precision != "bf16":
        return None
    words = f" {gpu.replace('-', ' ')} "
    return next((peak for name, peak in BF16_TERAFLOPS.items() if f" {name} " in words), None)


class Throughput:
    """Turns the time of a step into speeds.

    FLOPs are those of the model, forward and backward, of a dense network of the shape; recomputed activations do
    not count (model FLOPs utilisation, Chowdhery et al., "PaLM", 2204.02311, appendix B).
    """

    def __init__(self, shape: ModelShape, length: int, world: World, precision: Precision) -> None:
        self._length = length
        self._sequence_teraflops = shape.training_flops(1, length) / 1e12
        self._world = world
        gpu = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else ""
        peak = peak_teraflops(gpu, precision)
        self._peak = None if peak is None else world.size * peak

    def measure(self, sequences: int, seconds: float) -> dict[str, float]:
        """Speeds of all processes in one step, and the peak memory of this one: the GPU's, or the process's."""
        speed = sequences * self._sequence_teraflops / seconds
        on_device = peak_device_memory_bytes(self._world.device)
        return {
            "tokens_per_second": sequences * self._length / seconds,
            "tflops_per_second": speed,
            **({} if self._peak is None else {"mfu": speed / self._peak}),
            "peak_memory_bytes": peak_memory_bytes() if on_device is None else on_device,
        }
