"""Extracting all corpora of a study: reading sources, splitting, and keeping training text out of held-out text."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pruning_vs_scratch.config.corpus import CorpusConfig, DocumentSet, HubFilesSource, PathSource, PypiSource
from pruning_vs_scratch.data.documents import (
    Document,
    LeftOut,
    read_archive,
    read_documents,
    read_folder,
    write_documents,
)
from pruning_vs_scratch.data.folders import FILE_KINDS, is_selected, list_folder
from pruning_vs_scratch.data.hub import read_hub, verify_frozen
from pruning_vs_scratch.data.overlap import Hashes, OverlapReport, RunHasher, drop_shared, shared_runs
from pruning_vs_scratch.data.sources import verify
from pruning_vs_scratch.data.splits import HELD_OUT, TRAIN, Divider
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import atomic_file

log = logging.getLogger(__name__)

SHOWN = 10
"""Names shown in a warning; the manifest has all of them."""
CALIBRATION = "calibration"
Corpora = dict[str, list[Document]]
"""Documents by corpus."""


def extract_corpora(corpus: CorpusConfig, fetched: dict[str, Path], folder: Path) -> dict[str, dict[str, Any]]:
    """Write ``folder/{train, calibration, validation, test, <evaluation corpora>}.jsonl``; return facts of each. The
    calibration split is kept free of training text; the other held-out corpora of training and calibration text, except
    for those that are read as the authors do. Training documents are streamed to disk; held-out ones must fit in
    memory. ``fetched`` maps the names of package sources to downloaded files, and those of hub sources to frozen
    folders.

    Raises:
        UserError: an archive is not the pinned one, a pattern matches nothing, a split or corpus is empty, or a
            document is damaged.
    """
    sources = Sources(corpus, fetched)
    train_file = folder / f"{TRAIN}.jsonl"
    held_out: Corpora = {name: [] for name in HELD_OUT}
    train_facts: dict[str, Any] = {"documents": 0, "characters": 0}
    with atomic_file(train_file) as temporary:
        write_documents(temporary, _training_documents(corpus, sources, held_out, train_facts))
        held_out |= sources.evaluation_sets()
        hasher = RunHasher(corpus.overlap_words)
        shared = shared_runs(in_one(kept_apart(corpus, held_out)), read_documents(temporary), hasher)
        facts = write_held_out(corpus, held_out, shared, hasher, folder)
    return {TRAIN: train_facts | sources.left_out, **facts}


class Sources:
    """Reads document sets; ``fetched`` says where hub and package sources are."""

    def __init__(self, corpus: CorpusConfig, fetched: dict[str, Path]) -> None:
        self._corpus = corpus
        self._fetched = fetched
        self._left_out: list[LeftOut] = []
        self._files_left_out: dict[str, list[str]] = {}

    @property
    def left_out(self) -> dict[str, Any]:
        """What was left out so far, as facts: broken lines by file, and files by source; empty if there were none."""
        lines = {name: count for left_out in self._left_out for name, count in left_out.lines.items()}
        files = {name: found for name, found in self._files_left_out.items() if found}
        return ({"broken_lines": lines} if lines else {}) | ({"files_left_out": files} if files else {})

    def evaluation_sets(self) -> Corpora:
        """All evaluation corpora."""
        return {name: list(self.read(selected)) for name, selected in self._corpus.evaluation.items()}

    def training_sets(self) -> Iterator[Document]:
        """All documents that are divided among the splits."""
        return chain.from_iterable(map(self.read, self._corpus.train))

    def read(self, selected: DocumentSet) -> Iterator[Document]:
        """The selected documents of a source; an archive's hash is checked before it is opened.

        Raises:
            UserError: there is no such source, or it is damaged.
        """
        source = self._corpus.sources.get(selected.source)
        if source is None:
            known = ", ".join(self._corpus.sources)
            raise UserError(f"corpus.sources has no source {selected.source!r}; it has {known}")
        if isinstance(source, HubFilesSource):
            raise UserError(f"the source {selected.source} is read in parts (tokenize_part.py)")
        if isinstance(source, PathSource):
            self._say_what_is_left_out(selected.source, Path(source.path))
            self._left_out.append(LeftOut(source.broken_lines))
            return read_folder(source, selected, self._left_out[-1])
        if selected.source not in self._fetched:
            raise UserError(f"nothing is given for the source {selected.source}: add --fetched {selected.source}=PATH")
        place = self._fetched[selected.source]
        if isinstance(source, PypiSource):
            verify(place, source)
            return read_archive(place, selected, source.text_key)
        verify_frozen(place)
        return (document for document in read_hub(source, place) if is_selected(document.id, selected))

    def _say_what_is_left_out(self, name: str, folder: Path) -> None:
        """Log once which files of a folder are not text."""
        if name in self._files_left_out:
            return
        found = self._files_left_out[name] = list_folder(folder).left_out
        if found:
            shown = ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
            known = ", ".join(FILE_KINDS)
            log.warning("the source %s leaves out links to folders and what is not %s: %s", name, known, shown)


def kept_apart(corpus: CorpusConfig, held_out: Corpora) -> Corpora:
    """The held-out corpora except those that are read as the authors do."""
    as_authors = {name for name, selected in corpus.evaluation.items() if selected.mode == "authors"}
    return {name: documents for name, documents in held_out.items() if name not in as_authors}


def in_one(corpora: Corpora) -> Iterator[Document]:
    """All documents of all corpora."""
    return chain.from_iterable(corpora.values())


def write_held_out(
    corpus: CorpusConfig, held_out: Corpora, shared_with_train: Hashes, hasher: RunHasher, folder: Path
) -> dict[str, dict[str, Any]]:
    """Drop what overlaps, and write ``folder/NAME.jsonl`` for each held-out corpus; return facts of each.

    Raises:
        UserError: nothing is left of a corpus.
    """
    apart = kept_apart(corpus, held_out)
    reports = _protect(apart, shared_with_train, hasher)
    corpora = held_out | apart
    facts = {name: _facts(name, documents, reports.get(name)) for name, documents in corpora.items()}
    for name, documents in corpora.items():
        with atomic_file(folder / f"{name}.jsonl") as other:
            write_documents(other, documents)
    return facts


def _training_documents(
    corpus: CorpusConfig, sources: Sources, held_out: Corpora, facts: dict[str, Any]
) -> Iterator[Document]:
    """Yield the training split and set the documents of the other splits aside."""
    divider = Divider(corpus.splits)
    for document in divider.training_split(sources.training_sets(), held_out):
        facts["documents"] += 1
        facts["characters"] += len(document.text)
        yield document
    divider.check_complete()


def _protect(held_out: Corpora, shared_with_train: Hashes, hasher: RunHasher) -> dict[str, OverlapReport]:
    """Drop overlapping paragraphs in place; calibration text first, since the others must not overlap it either."""
    reports = {}
    held_out[CALIBRATION], reports[CALIBRATION] = drop_shared(held_out[CALIBRATION], shared_with_train, hasher)
    others = {name: documents for name, documents in held_out.items() if name != CALIBRATION}
    shared_with_calibration = shared_runs(in_one(others), held_out[CALIBRATION], hasher)
    shared = np.union1d(shared_with_train, shared_with_calibration)
    for name in others:
        held_out[name], reports[name] = drop_shared(held_out[name], shared, hasher)
    return reports


def _facts(name: str, documents: Iterable[Document], report: OverlapReport | None) -> dict[str, Any]:
    characters = [len(document.text) for document in documents]
    if not characters:
        reason = "all of its text overlaps training or calibration text" if report else "its documents are empty"
        raise UserError(f"nothing is left of the corpus {name}: {reason}")
    facts = {"documents": len(characters), "characters": sum(characters)}
    return {**facts, **(asdict(report) if report else {})}
