"""The corpora of a numbered source, part by part: the work of one process in corpora.py, shared among many.

Held-out text is taken only from the first parts and gathered; then each part is tokenised without what it shares with
that. So neither the held-out text nor the tokens of a part depend on how many parts a study reads. No step holds more
than the held-out text in memory.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pruning_vs_scratch.config.corpus import CorpusConfig, Splits
from pruning_vs_scratch.data.corpora import Corpora, Sources, in_one, kept_apart, write_held_out
from pruning_vs_scratch.data.documents import Document, LeftOut, read_documents, read_part, write_documents
from pruning_vs_scratch.data.held_out_runs import Dropped, HeldOutRuns, without_held_out
from pruning_vs_scratch.data.hub import verify_frozen
from pruning_vs_scratch.data.overlap import RunHasher, held_out_runs
from pruning_vs_scratch.data.splits import HELD_OUT, TRAIN, Divider
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import atomic_directory


@dataclass
class PartReader:
    """The documents of a part; ``left_out`` counts broken lines while they pass.

    Raises:
        UserError: a file does not match its manifest, or has more broken lines than allowed.
    """

    folder: Path
    files: Sequence[str]
    text_key: str
    left_out: LeftOut

    def __post_init__(self) -> None:
        verify_frozen(self.folder)

    def __iter__(self) -> Iterator[Document]:
        return read_part(self.folder, self.files, self.text_key, self.left_out)


def divide_part(part: PartReader, splits: Splits, folder: Path) -> dict[str, Any]:
    """Write ``folder/NAME.jsonl`` for each held-out split, with a part's documents unchanged; returns facts."""
    held_out: Corpora = {name: [] for name in HELD_OUT}
    documents = sum(1 for _ in Divider(splits).training_split(part, held_out))
    with atomic_directory(folder) as temporary:
        for name, found in held_out.items():
            write_documents(temporary / f"{name}.jsonl", found)
    counts = {TRAIN: documents} | {name: len(found) for name, found in held_out.items()}
    return {"documents": counts, "broken_lines": part.left_out.lines}


def gather_held_out(
    corpus: CorpusConfig, fetched: dict[str, Path], parts: Sequence[Path], folder: Path, runs: Path
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Write the held-out text of some parts, which are folders of ``divide_part``, and the evaluation corpora.

    Calibration text is dropped from the others, as in one process. ``runs`` is the file for the word sequences of
    everything that is kept apart. Returns facts of each corpus, and what sources left out.

    Raises:
        UserError: a split is empty, nothing is left of a corpus, or a source is damaged.
    """
    held_out = {name: [d for part in parts for d in read_documents(part / f"{name}.jsonl")] for name in HELD_OUT}
    for name, documents in held_out.items():
        if not documents:
            raise UserError(
                f"the {name} split is empty: give it a larger fraction under corpus.splits, or its source more "
                "held_out_files"
            )
    sources, hasher = Sources(corpus, fetched), RunHasher(corpus.overlap_words)
    held_out |= sources.evaluation_sets()
    facts = write_held_out(corpus, held_out, np.empty(0, dtype=np.uint64), hasher, folder)
    written = {name: list(read_documents(folder / f"{name}.jsonl")) for name in held_out}
    HeldOutRuns(held_out_runs(in_one(kept_apart(corpus, written)), hasher), hasher.n).save(runs)
    return facts, sources.left_out


def training_documents(part: PartReader, splits: Splits) -> Iterator[Document]:
    """The documents of a part that no split holds out."""
    return Divider(splits).training_split(part, {name: [] for name in HELD_OUT})


@dataclass
class TrainingText:
    """The training text of a part, without what it shares with held-out text; counts it while it passes. ``splits`` are
    those that hold out documents of this part; None if all are for training.
    """

    part: PartReader
    splits: Splits | None
    held_out: HeldOutRuns
    dropped: Dropped = field(default_factory=Dropped)
    documents: int = 0
    characters: int = 0
    seconds: float = 0.0
    """Time spent on reading and comparing the text."""

    def __iter__(self) -> Iterator[Document]:
        start = time.perf_counter()
        for document in without_held_out(self._documents(), self.held_out, self.dropped):
            self.documents += 1
            self.characters += len(document.text)
            self.seconds += time.perf_counter() - start
            yield document
            start = time.perf_counter()
        self.seconds += time.perf_counter() - start

    def _documents(self) -> Iterator[Document]:
        if self.splits is None:
            return iter(self.part)
        return training_documents(self.part, self.splits)

    @property
    def facts(self) -> dict[str, Any]:
        """What passed so far, what was dropped from it, and lines that were left out, by file."""
        return {
            "documents": self.documents,
            "characters": self.characters,
            "dropped": asdict(self.dropped),
            "broken_lines": self.part.left_out.lines,
            "seconds_reading": round(self.seconds, 3),
        }
