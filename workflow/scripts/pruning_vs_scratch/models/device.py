"""Where a model runs, and in which arithmetic."""

import ctypes
import sys

import torch

from pruning_vs_scratch.config.precision import WantedPrecision

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST_MMAP_THRESHOLD = 1 << 25
"""What glibc accepts on 64-bit machines."""


def best_device() -> torch.device:
    """The first GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def native_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bf16 in hardware; where it does not, bf16 is up to fifty times slower than fp32."""
    if device.type == "cuda":
        found: bool = torch.cuda.is_bf16_supported(including_emulation=False)
        return found
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def compute_dtype(stored: torch.dtype, device: torch.device, precision: WantedPrecision = "auto") -> torch.dtype:
    """The arithmetic of a forward pass over weights of a dtype.

    ``auto``: bf16 on a GPU that multiplies it in hardware, whatever the weights are stored in. Elsewhere their own
    dtype where the device is fast at it, else fp32.
    """
    if precision != "auto":
        return torch.bfloat16 if precision == "bf16" else torch.float32
    if device.type == "cuda" and native_bf16(device):
        return torch.bfloat16
    if stored == torch.bfloat16 and native_bf16(device):
        return stored
    if stored == torch.float16 and device.type == "cuda":
        return stored
    return torch.float32


def peak_device_memory_bytes(device: torch.device) -> int | None:
    """Most memory that tensors took on a GPU so far; None on a CPU, where the process's own peak counts."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def device_memory_bytes(device: torch.device) -> int | None:
    """Memory of a GPU; None for a CPU, whose memory others use too."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def forget_peak_memory(device: torch.device) -> None:
    """Measure the most memory that tensors take on a GPU from now on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors for the next ones, where it is the allocator.

    Else every large activation of a step is mapped again and its pages are cleared: a tenth of a step's time on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 1 << 26)
