"""make bench: our training loop compared with the Hugging Face Trainer, and the loss in chunks with the whole.

Each measurement is a separate process; the sides take turns, and the medians count.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from pruning_vs_scratch.models.device import native_bf16

MEASURE = Path(__file__).with_name("measure_training.py")
STEADY_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
"""Freed memory goes back to the system at once, so that the peak repeats."""
SIDES = {
    "Trainer fp32 (its default)": ("trainer", "fp32"),
    "Trainer bf16": ("trainer", "bf16"),
    "ours fp32": ("ours", "fp32"),
    "ours bf16": ("ours", "bf16"),
    "ours, default precision": ("ours", "auto"),
    "ours, default, a long run": ("compiled", "auto"),
}
CHUNK = 256


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each side (default: 5)")
    args = parser.parse_args()
    tell(f"\nA model of 0.9M parameters, 16 x 128 tokens per step, {args.threads} threads; median of {args.repeats}")
    has_bf16 = native_bf16(torch.device("cpu"))
    tell(f"matmul peak: fp32 {peak(torch.float32, args.threads):.0f} GFLOP/s")
    if has_bf16:
        tell(f"matmul peak: bf16 {peak(torch.bfloat16, args.threads):.0f} GFLOP/s")
    else:
        tell("bf16 is left out: this processor has no instructions for it")
    sides = {name: side for name, side in SIDES.items() if has_bf16 or side[1] != "bf16"}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(args.repeats):
        for name, (side, precision) in sides.items():
            found[name].append(measured("speed", side, precision, str(args.threads)))
    seconds = {name: statistics.median(each["seconds"] for each in all_) for name, all_ in found.items()}
    for name, spent in seconds.items():
        precision = found[name][0]["precision"]
        default, same = (seconds[f"Trainer {other}"] / spent for other in ("fp32 (its default)", SAME[precision]))
        tell(
            f"{name:28} {precision}  {16 * 128 / spent:7.0f} tokens/s  {default:5.2f}x the Trainer's default  "
            f"{same:5.2f}x the Trainer in {precision}"
        )
    plain, chunked = (
        statistics.median(measured("memory", str(size), **STEADY_ALLOCATOR)["megabytes"] for _ in range(3))
        for size in (0, CHUNK)
    )
    tell(
        f"loss at a vocabulary of 131,072, 1,024 tokens: {plain:.0f} MB at once, {chunked:.0f} MB in chunks of {CHUNK} "
        f"({chunked / plain:.2f} of it)"
    )


SAME = {"fp32": "fp32 (its default)", "bf16": "bf16"}
"""The Trainer's side of a precision."""


def tell(line: str) -> None:
    """Print a line at once: what follows may take minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def measured(*arguments: str, **environment: str) -> dict[str, Any]:
    """What one process measures."""
    result = subprocess.run(
        [sys.executable, MEASURE, *arguments], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout.splitlines()[-1])


def peak(dtype: torch.dtype, threads: int) -> float:
    """GFLOP/s of a large matrix product, the best of some."""
    torch.set_num_threads(threads)
    matrix = torch.randn(2048, 2048).to(dtype)
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best / 1e9


if __name__ == "__main__":
    main()
