"""Dividing the training corpus into train, calibration, validation and test, by document."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from pruning_vs_scratch.config.corpus import SplitRule, Splits
from pruning_vs_scratch.data.documents import Document
from pruning_vs_scratch.errors import UserError

HELD_OUT = ("calibration", "validation", "test")
TRAIN = "train"


class Divider:
    """Assigns documents to splits, one document at a time.

    A document that matches a split's glob pattern goes there. All others are placed in [0, 1) by a hash of their name;
    splits given as fractions take consecutive intervals of it, so they never overlap, and a document's split does not
    depend on the others.
    """

    def __init__(self, splits: Splits) -> None:
        self._rules: dict[str, SplitRule] = {name: getattr(splits, name) for name in HELD_OUT}
        self._intervals = _intervals(self._rules)
        self._unused = {pattern for rule in self._rules.values() for pattern in rule.include or ()}
        self._counts: Counter[str] = Counter()

    def split_of(self, document_id: str) -> str:
        """The split of a document: train, calibration, validation or test.

        Raises:
            UserError: the patterns of two splits match it.
        """
        named = [name for name in HELD_OUT if self._names(name, document_id)]
        if len(named) > 1:
            raise UserError(f"{document_id} is in two splits, {' and '.join(named)}: make their patterns disjoint")
        split = named[0] if named else self._split_by_hash(document_id)
        self._counts[split] += 1
        return split

    def training_split(self, documents: Iterable[Document], held_out: dict[str, list[Document]]) -> Iterator[Document]:
        """Yield the documents of the training split, and append the others to the splits of ``held_out``.

        Raises:
            UserError: the patterns of two splits match the same document.
        """
        for document in documents:
            split = self.split_of(document.id)
            if split == TRAIN:
                yield document
            else:
                held_out[split].append(document)

    def check_complete(self) -> None:
        """After the last document: every pattern must have matched one, and every split must have one.

        Raises:
            UserError: a pattern matched nothing, or a split is empty.
        """
        if self._unused:
            raise UserError(f"no training document matches the split pattern {min(self._unused)!r}: correct it")
        for split in (TRAIN, *HELD_OUT):
            if not self._counts[split]:
                total = self._counts.total()
                raise UserError(f"the {split} split is empty ({total} documents in all): change corpus.splits")

    def _names(self, split: str, document_id: str) -> bool:
        matched = [p for p in self._rules[split].include or () if fnmatchcase(document_id, p)]
        self._unused.difference_update(matched)
        return bool(matched)

    def _split_by_hash(self, document_id: str) -> str:
        position = hash_position(document_id)
        return next((name for name, (low, high) in self._intervals.items() if low <= position < high), TRAIN)


def hash_position(document_id: str) -> float:
    """A place in [0, 1) that depends on the document's name only."""
    digest = hashlib.sha256(f"split:{document_id}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def _intervals(rules: dict[str, SplitRule]) -> dict[str, tuple[float, float]]:
    intervals, start = {}, 0.0
    for name in HELD_OUT:
        fraction = rules[name].fraction
        if fraction is not None:
            intervals[name] = (start, start + fraction)
            start += fraction
    if start >= 1:
        raise UserError(f"the fractions under corpus.splits add up to {start:g}: nothing is left to train on")
    return intervals
