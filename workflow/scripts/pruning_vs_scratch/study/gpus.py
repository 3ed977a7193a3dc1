"""GPUs by the names that config/throughput.csv gives them: what their makers' data sheets say. No torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """A GPU with its own memory."""

    bytes: int
    """Of memory."""
    terabytes_per_second: float
    """Between memory and processor."""
    bf16_teraflops: float
    """Dense peak."""
    link_gigabytes: float
    """A second, to the other GPUs of its node (NVLink), each way."""
    network_gigabytes: float
    """A second, to other nodes, each way: of the maker's reference systems, one network card per GPU."""


GPUS = {
    "a100": Gpu(80 * 10**9, 2.039, 312.0, 300, 25),
    "h100": Gpu(80 * 10**9, 3.35, 989.5, 450, 50),
    "h200": Gpu(141 * 10**9, 4.8, 989.5, 450, 50),
    "b200": Gpu(180 * 10**9, 7.7, 2250.0, 900, 50),
}
"""SXM forms, in systems of the kind DGX."""
