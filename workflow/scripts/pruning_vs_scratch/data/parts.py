"""The corpora of a numbered source, part by part: what one process does in corpora.py, shared among many.

Each part is divided and tokenised; what is held out of all parts is gathered; each part is searched for what it shares
with that; and this is dropped. No step holds more than one part, or what is held out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pruning_vs_scratch.config.corpus import CorpusConfig
from pruning_vs_scratch.data.corpora import Corpora, Sources, in_one, kept_apart, write_held_out
from pruning_vs_scratch.data.documents import Document, LeftOut, read_documents, read_part, write_documents
from pruning_vs_scratch.data.hub import verify_frozen
from pruning_vs_scratch.data.overlap import RunHasher, shared_runs
from pruning_vs_scratch.data.splits import HELD_OUT, TRAIN, Divider
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import atomic_directory, atomic_file


@dataclass
class PartReader:
    """Reads a part once: yields its training documents, and puts the others aside.

    Raises:
        UserError: a file is not what its manifest says, or holds more broken lines than the source allows.
    """

    corpus: CorpusConfig
    folder: Path
    files: Sequence[str]
    held_out: Corpora = field(default_factory=lambda: {name: [] for name in HELD_OUT})
    documents: int = 0
    """Training documents so far."""
    characters: int = 0
    """Of these."""

    def __post_init__(self) -> None:
        verify_frozen(self.folder)
        source = self.corpus.numbered_source
        if source is None:
            raise UserError(f"the source {self.corpus.train[0].source} has no parts: use extract_documents.py")
        self._source, self._left_out = source, LeftOut(source.broken_lines)

    @property
    def facts(self) -> dict[str, Any]:
        """What was read so far: documents of each split, and lines that were left out, by file."""
        documents = {TRAIN: self.documents} | {name: len(found) for name, found in self.held_out.items()}
        return {"documents": documents, "characters": self.characters, "broken_lines": self._left_out.lines}

    def __iter__(self) -> Iterator[Document]:
        read = read_part(self._source, self.folder, self.files, self._left_out)
        for document in Divider(self.corpus.splits).training_split(read, self.held_out):
            self.documents += 1
            self.characters += len(document.text)
            yield document


def write_corpora(folder: Path, corpora: Corpora) -> None:
    """Write ``folder/NAME.jsonl`` of each corpus, as it is."""
    with atomic_directory(folder) as temporary:
        for name, documents in corpora.items():
            write_documents(temporary / f"{name}.jsonl", documents)


def read_corpora(folder: Path) -> Corpora:
    """The inverse of ``write_corpora``."""
    return {file.stem: list(read_documents(file)) for file in sorted(folder.glob("*.jsonl"))}


def gather_held_out(
    corpus: CorpusConfig, fetched: dict[str, Path], parts: Sequence[Path], folder: Path
) -> dict[str, Any]:
    """Write what is held out of all parts, folders of ``write_corpora``, and the evaluation corpora, as they are.

    Raises:
        UserError: a split is empty, or a source is damaged.
    """
    held_out: Corpora = {name: [] for name in HELD_OUT}
    for part in parts:
        for name, documents in read_corpora(part).items():
            held_out[name] += documents
    for name, documents in held_out.items():
        if not documents:
            raise UserError(f"the {name} split is empty: give it a larger fraction under corpus.splits")
    sources = Sources(corpus, fetched)
    corpora = held_out | sources.evaluation_sets()
    write_corpora(folder, corpora)
    return {"documents": {name: len(documents) for name, documents in corpora.items()}} | sources.left_out


def find_overlap(corpus: CorpusConfig, training: PartReader, gathered: Path, out: Path) -> int:
    """Write the hashes of the held-out runs of words that stand in a part's training text; returns their number."""
    apart = kept_apart(corpus, read_corpora(gathered))
    shared = shared_runs(in_one(apart), training, RunHasher(corpus.overlap_words))
    with atomic_file(out) as temporary, temporary.open("wb") as stream:
        np.save(stream, shared, allow_pickle=False)
    return len(shared)


def drop_overlap(
    corpus: CorpusConfig, gathered: Path, overlaps: Sequence[Path], folder: Path
) -> dict[str, dict[str, Any]]:
    """Write the held-out corpora without what any part shares with them; returns facts of each.

    Raises:
        UserError: nothing is left of one.
    """
    shared = np.unique(np.concatenate([np.load(overlap, allow_pickle=False) for overlap in overlaps]))
    order = (*HELD_OUT, *corpus.evaluation)
    found = read_corpora(gathered)
    held_out = {name: found[name] for name in order}
    return write_held_out(corpus, held_out, shared, RunHasher(corpus.overlap_words), folder)
