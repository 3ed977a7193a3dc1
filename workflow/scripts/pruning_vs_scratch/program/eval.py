"""Score checkpoints of your own: loss on your text, accuracy on lm-eval tasks whose data sets were saved locally.

Checkpoints of one call share a tokenizer. A row per checkpoint is printed; OUT holds the loss of each window and the
score of each item.
"""

import argparse
import sys
from pathlib import Path

from pruning_vs_scratch.cli import add_quiet, named_path, positive_integer, request_of

EXAMPLES = """  pvs eval DENSE PRUNED --text held-out.txt --out scores
  pvs eval DIR --task piqa=data/piqa --out scores      data/piqa from workflow/scripts/freeze_dataset.py
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="DIR", help="checkpoint (safetensors)")
    parser.add_argument(
        "--text", type=Path, nargs="+", default=[], metavar="FILE", help="files of text or JSON lines, all scored"
    )
    parser.add_argument(
        "--task", type=named_path, dest="tasks", action="append", default=[], metavar="NAME=DIR",
        help="task of lm-eval and the folder of its frozen data set; repeat it for each",
    )  # fmt: skip
    parser.add_argument(
        "--task-definitions", type=Path, default=Path("config/tasks"), help="folder of definitions of tasks"
    )
    parser.add_argument(
        "--sequence-length", type=positive_integer, default=2048, help="tokens of a window of text (default: 2048)"
    )
    parser.add_argument(
        "--batch-size", type=positive_integer, default=8, help="windows or requests run together (default: 8)"
    )
    parser.add_argument(
        "--precision", choices=["auto", "fp32", "bf16"], default="fp32", help="arithmetic (default: fp32)"
    )
    parser.add_argument("--threads", type=positive_integer, help="CPU threads (default: all cores)")
    add_quiet(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder to write: losses.parquet, items.parquet")


def main(args: argparse.Namespace) -> None:
    """Score, and print a row per checkpoint."""
    from pruning_vs_scratch.evaluation.by_hand import OwnEvaluation

    found = request_of(OwnEvaluation, args).run()
    sys.stdout.write(f"{found.to_string(float_format='{:.4f}'.format)}\nscores of windows and items: {args.out}\n")
