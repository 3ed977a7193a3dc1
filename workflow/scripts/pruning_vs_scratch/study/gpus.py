"""GPUs by their names in config/throughput.csv, with values from the makers' data sheets. No torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """A GPU with its own memory."""

    bytes: int
    """Bytes of memory."""
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
"""SXM versions, in DGX-like systems."""
