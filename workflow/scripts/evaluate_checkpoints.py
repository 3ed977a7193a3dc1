"""Evaluate checkpoints: loss on held-out corpora and lm-eval tasks, one import and one load a checkpoint.

Scores of a finished checkpoint are kept under --work, so that a killed evaluation goes on with the next one.
"""

import argparse
import functools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument, named_path
from pruning_vs_scratch.files import RECORDS, atomic_directory, sha256_of_value
from pruning_vs_scratch.locks import exclusive
from pruning_vs_scratch.manifest import ManifestWriter, source_hash

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("losses", "items")


def main() -> None:
    """Entry point."""
    args = _arguments()
    # Evaluation never needs the network, and the data set library must keep its cache in the study's own folder.
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_DATASETS_CACHE": str(args.work / "datasets")}
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "LMEVAL_LOG_LEVEL": "WARNING"}
    with exclusive(args.work / args.out.name):
        _evaluate_all(args)


def _evaluate_all(args: argparse.Namespace) -> None:
    options = {name: getattr(args, name) for name in ("corpora", "sequence_length", "batch_size", "threads")}
    manifest = ManifestWriter("evaluate", options)
    for name in args.corpora:
        manifest.add_input(f"tokens/{name}", args.tokens / name)
    for name, items in args.task:
        manifest.add_input(f"items/{name}", items)
        manifest.add_input(f"task/{name}", args.task_definitions / f"{name}.yaml")
    shared = {"options": options, "inputs": dict(manifest.inputs), "source": source_hash()}
    finished = []
    for run, folder in args.checkpoint:
        model = manifest.add_input(f"model/{run}", folder, ignore=RECORDS)
        finished.append(_evaluated(args, run, folder, sha256_of_value({**shared, "model": model})))
    with atomic_directory(args.out) as temporary:
        for table in TABLES:
            _combined(finished, table).to_parquet(temporary / f"{table}.parquet", index=False)
    manifest.write(args.manifest, {"scores": args.out}, {"checkpoints": [run for run, _ in args.checkpoint]})
    for folder in finished:
        shutil.rmtree(folder.parent, ignore_errors=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--checkpoint", type=named_path, action="append", required=True, metavar="NAME=DIR", help="checkpoint"
    )
    parser.add_argument("--tokens", type=Path, required=True, help="folder that holds one folder of shards a corpus")
    parser.add_argument("--corpora", type=json_argument, required=True, help="JSON: corpus to number of windows")
    parser.add_argument("--sequence-length", type=int, required=True, help="tokens a window")
    parser.add_argument("--batch-size", type=int, required=True, help="windows or requests run together")
    parser.add_argument("--task", type=named_path, action="append", default=[], metavar="NAME=ITEMS", help="task items")
    parser.add_argument("--task-definitions", type=Path, required=True, help="folder of task definitions (.yaml)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--work", type=Path, required=True, help="folder for finished checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="folder to write: losses.parquet, items.parquet")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    return parser.parse_args()


def _evaluated(args: argparse.Namespace, run: str, checkpoint: Path, spec_hash: str) -> Path:
    """Folder of a checkpoint's scores, evaluated now unless that was done before on the same inputs."""
    folder: Path = args.work / run / spec_hash[:16]
    if not folder.exists():
        scores = _scores(args, checkpoint)
        with atomic_directory(folder) as temporary:
            for table, frame in scores.items():
                frame.insert(0, "run", run)
                frame.to_parquet(temporary / f"{table}.parquet", index=False)
    return folder


def _scores(args: argparse.Namespace, checkpoint: Path) -> dict[str, "pd.DataFrame"]:
    import torch
    from transformers import AutoTokenizer

    from pruning_vs_scratch.evaluation.harness import require_fit, task_scores
    from pruning_vs_scratch.evaluation.perplexity import corpus_losses
    from pruning_vs_scratch.models.checkpoint import load_llama
    from pruning_vs_scratch.models.device import best_device

    torch.set_num_threads(args.threads)
    model = load_llama(checkpoint).eval().to(best_device())
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    definitions, tasks = _tasks(tuple(args.task), args.task_definitions)
    for definition in definitions:
        require_fit(definition, tokenizer, model.config.max_position_embeddings)
    losses = corpus_losses(
        model,
        checkpoint / "tokenizer.json",
        args.corpora,
        args.tokens,
        length=args.sequence_length,
        batch_size=args.batch_size,
    )
    return {"losses": losses, "items": task_scores(model, tokenizer, tasks, args.batch_size)}


@functools.cache
def _tasks(items: tuple[tuple[str, Path], ...], folder: Path) -> tuple[list[dict[str, Any]], Any]:
    """Task definitions and lm-eval's task objects, made once for all checkpoints."""
    from pruning_vs_scratch.evaluation.harness import load_tasks, local_task

    definitions = [local_task(folder / f"{name}.yaml", file) for name, file in items]
    return definitions, load_tasks(definitions)


def _combined(folders: list[Path], table: str) -> "pd.DataFrame":
    import pandas as pd

    return pd.concat([pd.read_parquet(folder / f"{table}.parquet") for folder in folders], ignore_index=True)


if __name__ == "__main__":
    cli.run(main)
