"""The estimate of memory grows as the memory that is measured grows: with text and statistics, not with blocks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import SHAPE
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.models.decoder import random_model
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.facts import Text, WeightBytes
from pruning_vs_scratch.pruning.memory import Means, Memory, pruning_memory
from pruning_vs_scratch.pruning.placement import Buffers
from pruning_vs_scratch.study import ModelShape
from steady_memory import printed_by

MEASURE = REPOSITORY / "tests" / "bench" / "measure_pruning.py"
WIDE = replace(SHAPE, vocab_size=128, layers=2, hidden_size=256, ffn_size=256, heads=4, kv_heads=2, head_dim=64)
LENGTH = 64
BUFFER_BYTES = 1 << 30


def measured_bytes(folder: Path, shape: ModelShape, method: str, sequences: int) -> float:
    """Peak memory of our side of the benchmark on a random checkpoint, in a separate process."""
    random_model(shape, positions=LENGTH, seed=0).save_pretrained(folder / "model")
    np.save(folder / "windows.npy", np.random.default_rng(0).integers(0, shape.vocab_size, (sequences, LENGTH + 1)))
    printed = printed_by(MEASURE, "ours", method, folder / "model", folder / "windows.npy", "0.5", "1")
    return printed["megabytes"] * 1e6


def estimated_bytes(shape: ModelShape, method: str, sequences: int) -> int:
    text = Text(sequences, LENGTH, batch_size=4)
    memory = pruning_memory(shape, method, text, Means(WeightBytes(4, 4), Buffers(BUFFER_BYTES), gpu=False))
    return memory.device + memory.host


GROWTH = {
    "text": ("minitron_width", WIDE, 32, WIDE, 1024),
    "the Hessian of wide layers": ("sparsegpt", WIDE, 16, replace(WIDE, layers=1, ffn_size=2048), 16),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", GROWTH)
def test_memory_grows_as_estimated(case: str, tmp_path: Path) -> None:
    method, small, few, large, many = GROWTH[case]
    measured = measured_bytes(tmp_path, large, method, many) - measured_bytes(tmp_path, small, method, few)
    estimated = estimated_bytes(large, method, many) - estimated_bytes(small, method, few)
    assert measured == pytest.approx(estimated, rel=0.35)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_blocks(tmp_path: Path) -> None:
    shallow, deep = (replace(WIDE, ffn_size=1024, layers=layers) for layers in (12, 24))
    more = measured_bytes(tmp_path, deep, "wanda", 16) - measured_bytes(tmp_path, shallow, "wanda", 16)
    added_blocks = 4 * deep.block_params * (deep.layers - shallow.layers)
    assert more < 0.25 * added_blocks


LLAMA_8B = ModelShape(
    vocab_size=128256, layers=32, hidden_size=4096, ffn_size=14336, heads=32, kv_heads=8, head_dim=128,
    tie_embeddings=False, rope_theta=500_000.0, norm_eps=1e-5,
)  # fmt: skip
DOCUMENTED = ("shortgpt", "minitron_depth", "minitron_width", "wanda", "sparsegpt")


def estimate_for_8b(method: str, text: Text) -> Memory:
    """Of a checkpoint in bf16 on a GPU, with the usual buffers; half of the blocks go."""
    means = Means(WeightBytes(2, 2), Buffers(16 << 30, 16 << 30), gpu=True)
    goal = replace(LLAMA_8B, layers=16)
    return pruning_memory(LLAMA_8B, method, text, means, [goal], facts_of(method).options())


def memory_table() -> str:
    """The table of docs/pruning.md."""
    lines = [
        "| calibration | method | GPU | host memory | hidden states |",
        "|---|---|---:|---:|---:|",
    ]
    for text in (Text(128, 2048), Text(1024, 8192)):
        for method in DOCUMENTED:
            found = estimate_for_8b(method, text)
            sizes = " | ".join(f"{size / 1e9:.1f} GB" for size in (found.device, found.host, found.hidden_states))
            lines.append(f"| {text.sequences} x {text.length} | `{method}` | {sizes} |")
    return "\n".join(lines)


def test_the_documented_estimates_for_8b_are_those_of_the_code() -> None:
    assert memory_table() in (REPOSITORY / "docs" / "pruning.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("method", DOCUMENTED)
def test_an_8b_model_fits_a_gpu_of_24_gb_with_the_largest_calibration(method: str) -> None:
    assert estimate_for_8b(method, Text(1024, 8192)).device < 24e9
