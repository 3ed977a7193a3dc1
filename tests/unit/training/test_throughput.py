"""Speed of a step: operations a second against a count by hand, and the share of a peak only where it is known."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from models import SHAPE
from pruning_vs_scratch.training import throughput
from pruning_vs_scratch.training.throughput import Throughput, peak_teraflops
from pruning_vs_scratch.training.world import World

CPU = World(torch.device("cpu"))
TINY = replace(SHAPE, vocab_size=10, layers=1, hidden_size=4, ffn_size=6, heads=2, kv_heads=1, head_dim=2)
LENGTH = 5
MATRICES = 4 * 4 + 2 * 4 * 2 + 4 * 4 + 3 * 4 * 6 + 4 * 10
"""Weights of q, k and v, o, the three of the FFN, and the output layer: each multiplies every token once."""


def test_operations_of_a_step_are_counted_as_by_hand() -> None:
    attention = 2 * LENGTH * LENGTH * 2 * 2 * 2
    by_hand = 3 * (2 * LENGTH * MATRICES + attention)
    assert TINY.training_flops(1, LENGTH) == by_hand
    speeds = Throughput(TINY, LENGTH, CPU, "bf16").measure(sequences=8, seconds=4.0)
    assert speeds["tokens_per_second"] == 8 * LENGTH / 4
    assert speeds["tflops_per_second"] == pytest.approx(8 * by_hand / 4 / 1e12)
    assert speeds["peak_memory_bytes"] > 1e6
    assert "mfu" not in speeds


@pytest.mark.parametrize(
    ("gpu", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H200", 989.5),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA A100 80GB PCIe", 312.0),
        ("NVIDIA L40S", 362.05),
        ("NVIDIA L4", 121.0),
        ("NVIDIA GeForce RTX 5090", None),
    ],
)
def test_the_peak_is_that_of_the_gpu_named(gpu: str, peak: float | None) -> None:
    assert peak_teraflops(gpu, "bf16") == peak
    assert peak_teraflops(gpu, "fp32") is None


def test_the_share_of_a_known_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = World(torch.device("cuda"), size=4)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100-SXM4-40GB")
    monkeypatch.setattr(throughput, "peak_device_memory_bytes", lambda device: 123)
    huge = SimpleNamespace(training_flops=lambda sequences, length: sequences * 100 * 10**12)
    found = Throughput(huge, LENGTH, gpus, "bf16").measure(sequences=2, seconds=4.0)  # type: ignore[arg-type]
    assert found["mfu"] == pytest.approx(50 / (4 * 312))
    assert found["peak_memory_bytes"] == 123
