"""One evaluation step of a study: checkpoints scored one after the other, put together in two tables.

Each corpus and task is kept as soon as it is scored, so that a killed evaluation resumes with the next.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pruning_vs_scratch.cli import relative_name
from pruning_vs_scratch.data.hub import link_home, verify_frozen
from pruning_vs_scratch.evaluation.finite import require_finite
from pruning_vs_scratch.evaluation.offline import refuse_network, work_offline
from pruning_vs_scratch.evaluation.request import TABLES, EvaluationRequest
from pruning_vs_scratch.files import atomic_directory, atomic_file, sha256_of_value
from pruning_vs_scratch.libraries import import_libraries
from pruning_vs_scratch.locks import exclusive
from pruning_vs_scratch.manifest import ManifestWriter, source_hash
from pruning_vs_scratch.plain_names import plainly_named
from pruning_vs_scratch.tables.load import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

    from pruning_vs_scratch.evaluation.checkpoint import Evaluation
    from pruning_vs_scratch.training.world import World

OPTIONS = ("sequence_length", "stride", "bos", "batch_size", "precision", "threads")
"""Fields of a request that the manifest records as they are."""


def evaluate(request: EvaluationRequest) -> None:
    """Score checkpoints as one of the processes of this command, without the network, and write the tables."""
    request.home.mkdir(parents=True, exist_ok=True)
    with plainly_named(request.home) as home:
        work_offline(home)
        refused = refuse_network()
        _evaluate_together(request, refused)


def _evaluate_together(request: EvaluationRequest, refused: list[str]) -> None:
    import_libraries()
    # lm-eval, datasets and torch read variables that work_offline sets as they are imported.
    from pruning_vs_scratch.training.world import joined_world

    with joined_world() as world:
        if not world.is_first:
            for _, folder in request.checkpoints:
                _score(request, folder, world.from_first(request.work), world)
            return
        with exclusive(request.work / request.out.name):
            _evaluate_all(request, world, refused)


def _evaluate_all(request: EvaluationRequest, world: "World", refused: list[str]) -> None:
    manifest = _recorded(request)
    link_home((task.path for task in request.tasks if task.data == "hub"), request.home)
    shared = {"options": manifest.options, "inputs": dict(manifest.inputs), "source": source_hash()}
    finished = []
    for run, folder in request.checkpoints:
        spec = sha256_of_value({**shared, "model": manifest.add_input(f"model/{run}", folder)})
        scores = world.from_first(request.work / run / spec[:16])
        _score(request, folder, scores, world)
        finished.append((run, scores))
    with atomic_directory(request.out) as temporary:
        for table in TABLES:
            _combined(request, finished, table).to_parquet(temporary / f"{table}.parquet", index=False)
    facts = {"checkpoints": [run for run, _ in finished], "network_refused": refused}
    manifest.write(request.manifest, {"scores": request.out}, facts)
    for _, folder in finished:
        shutil.rmtree(folder.parent, ignore_errors=True)
    shutil.rmtree(request.home, ignore_errors=True)


def _recorded(request: EvaluationRequest) -> ManifestWriter:
    """What every checkpoint is scored on, by hashes; frozen data is compared with its own manifest."""
    options = {
        "corpora": {name: vars(corpus) for name, corpus in request.corpora.items()},
        **{name: getattr(request, name) for name in OPTIONS},
        "tasks": [{**task.to_dict(), "path": relative_name(task.path)} for task in request.tasks],
    }
    manifest = ManifestWriter("evaluate", options)
    for name in request.corpora:
        assert request.tokens is not None
        manifest.add_input(f"tokens/{name}", request.tokens / name)
    for task in request.tasks:
        if task.data == "hub":
            verify_frozen(task.path)
        manifest.add_input(f"items/{task.name}", task.path)
        if task.definition is not None:
            manifest.add_input(f"definitions/{task.definition}", request.task_definitions / task.definition)
    return manifest


def _score(request: EvaluationRequest, checkpoint: Path, scores: Path, world: "World") -> None:
    """Score what is not there yet of a checkpoint, and write each part as it is done."""
    parts = [part for table in TABLES for part in request.parts(table)]
    missing = world.from_first([part for part in parts if not _file(scores, part).exists()])
    if not missing:
        return
    evaluation = _loaded(request, checkpoint, world)
    for part in missing:
        table, _, name = part.partition("-")
        frame = evaluation.losses(name) if table == "losses" else evaluation.items(name)
        require_finite(frame, f"{checkpoint} on {name}")
        if world.is_first:
            with atomic_file(_file(scores, part)) as temporary:
                frame.to_parquet(temporary, index=False)


def _loaded(request: EvaluationRequest, checkpoint: Path, world: "World") -> "Evaluation":
    import torch

    from pruning_vs_scratch.evaluation.checkpoint import Evaluation
    from pruning_vs_scratch.evaluation.perplexity import CorpusReading

    torch.set_num_threads(request.threads)
    return Evaluation(
        checkpoint,
        tokens=request.tokens or Path(),
        corpora=request.corpora,
        reading=CorpusReading(request.sequence_length, request.stride, request.bos),
        tasks={task.key: task for task in request.tasks},
        definitions=request.task_definitions,
        batch_size=request.batch_size,
        precision=request.precision,
        world=world,
    )


def _file(scores: Path, part: str) -> Path:
    return scores / f"{part}.parquet"


def _combined(request: EvaluationRequest, finished: Iterable[tuple[str, Path]], table: str) -> "pd.DataFrame":
    """A table of all checkpoints."""
    import pandas as pd

    frames = [
        pd.read_parquet(_file(folder, part)).assign(run=run)
        for run, folder in finished
        for part in request.parts(table)
    ]
    columns = list(COLUMNS[f"{table}.parquet"])
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)
