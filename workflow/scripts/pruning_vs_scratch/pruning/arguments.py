"""The options that scoring and pruning share on the command line."""

import argparse
from pathlib import Path

from pruning_vs_scratch.cli import positive_integer
from pruning_vs_scratch.config.pruning import USUAL_DEVICE_BUFFER_GIB, USUAL_PRECISION
from pruning_vs_scratch.pruning.request import USUAL_LENGTH, USUAL_SEQUENCES


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say which text is read, and how."""
    parser.add_argument(
        "--calibration", type=Path, nargs="+", default=[], metavar="PATH",
        help="folder of token shards, or files of text or of JSON lines, or one .npy of token windows, shape "
        "(n, length)",
    )  # fmt: skip
    parser.add_argument("--sequences", type=positive_integer, help=f"windows to read (default: {USUAL_SEQUENCES})")
    parser.add_argument(
        "--sequence-length",
        type=positive_integer,
        help=f"tokens per window (default: {USUAL_LENGTH})",
    )
    parser.add_argument("--batch-size", type=positive_integer, default=1, help="windows run together (default: 1)")
    parser.add_argument("--tokenizer", type=Path, help="folder of the tokenizer (default: the checkpoint's)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order of the windows (default: 0)")
    parser.add_argument("--threads", type=positive_integer, help="CPU threads (default: all cores)")
    parser.add_argument("--low-memory", action="store_true", help="read each block from disk when its turn comes")
    parser.add_argument(
        "--host-buffer-gib", type=float, default=16.0, help="hidden states in memory, beyond it in a file (default: 16)"
    )
    parser.add_argument(
        "--device-buffer-gib",
        type=float,
        default=USUAL_DEVICE_BUFFER_GIB,
        help="hidden states and weights that stay on a GPU (default: 16)",
    )
    parser.add_argument(
        "--precision",
        choices=["auto", "bf16", "fp32"],
        default=USUAL_PRECISION,
        help="arithmetic of the passes over the text (default: auto, bf16 on a GPU)",
    )
