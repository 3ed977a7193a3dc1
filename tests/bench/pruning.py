"""make bench: our pruning methods compared with straightforward references, same checkpoint and calibration.

Each measurement is a separate process; the two sides of a method take turns, and the medians count.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from pruning_vs_scratch.models.decoder import random_model
from pruning_vs_scratch.study import ModelShape

SHAPE = ModelShape(
    vocab_size=4096, layers=30, hidden_size=576, ffn_size=1536, heads=9, kv_heads=3, head_dim=64,
    tie_embeddings=True, rope_theta=10_000.0, norm_eps=1e-5,
)  # fmt: skip
"""SmolLM2-135M, with a smaller vocabulary: 106M parameters in 30 blocks."""
RATIOS = {"wanda": 0.5, "sparsegpt": 0.5, "minitron_depth": 0.25, "minitron_width": 0.5}
MEASURE = Path(__file__).with_name("measure_pruning.py")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="checkpoint (default: a random one of 30 blocks)")
    parser.add_argument("--sequences", type=int, default=16, help="calibration windows (default: 16)")
    parser.add_argument("--sequence-length", type=int, default=128, help="tokens a window (default: 128)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each side (default: 3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--methods", nargs="+", choices=RATIOS, default=list(RATIOS), help="methods to measure")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = args.model or random_checkpoint(Path(folder) / "model")
        windows = Path(folder) / "windows.npy"
        vocabulary = json.loads((model / "config.json").read_text(encoding="utf-8"))["vocab_size"]
        tokens = np.random.default_rng(0).integers(0, vocabulary, (args.sequences, args.sequence_length + 1))
        np.save(windows, tokens)
        sys.stdout.write(f"{model.name}, {args.sequences} x {args.sequence_length} tokens, {args.threads} threads; "
                         f"median of {args.repeats}; memory above that of the imports\n")  # fmt: skip
        sys.stdout.write(f"{'method':16} {'ours':>17} {'reference':>18} {'faster':>8} {'memory':>8}\n")
        sys.stdout.flush()
        for method in args.methods:
            sys.stdout.write(row(method, model, windows, args.repeats, args.threads))
            sys.stdout.flush()


def random_checkpoint(folder: Path) -> Path:
    """A checkpoint of SHAPE with random weights."""
    random_model(SHAPE, positions=2048, seed=0).save_pretrained(folder)
    return folder


def row(method: str, model: Path, windows: Path, repeats: int, threads: int) -> str:
    """One line of the table."""
    sides: dict[str, list[dict[str, float]]] = {"ours": [], "reference": []}
    for _ in range(repeats):
        for side, found in sides.items():
            command = [sys.executable, MEASURE, side, method, model, windows, str(RATIOS[method]), str(threads)]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    (ours, ours_mb), (reference, reference_mb) = (
        [statistics.median(each[key] for each in found) for key in ("seconds", "megabytes")] for found in sides.values()
    )
    return (
        f"{method:16} {ours:7.1f} s {ours_mb:5.0f} MB {reference:8.1f} s {reference_mb:5.0f} MB "
        f"{reference / ours:7.2f}x {reference_mb / ours_mb:7.2f}x\n"
    )


if __name__ == "__main__":
    main()
