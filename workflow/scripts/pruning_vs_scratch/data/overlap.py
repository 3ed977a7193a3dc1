"""Keeping training text out of held-out text.

A paragraph of held-out text is dropped if it is part of a run of n words that is also in the training text. Words are
compared in lower case without punctuation. Rules:

- A paragraph ends at a blank line. Inside such a block an indented line also starts one: epics have books of thousands
of words without a blank line.
- Held-out runs are within one block; on the training side they may cross anything but the end of a document. So a
speaker's name before a speech never joins two speeches into a run.
- A block of fewer than n words has no run and is kept ("FIRST WITCH.", "Exeunt."): such lines are common to all plays
and are no sign of memorisation.
- Where a paragraph is dropped from inside a block, a blank line keeps its neighbours apart.

Runs are compared as 64-bit hashes. Memory grows with the held-out text only; training text is read as a stream.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pruning_vs_scratch.data.documents import Document

APOSTROPHES = re.compile("['’]")
WORD = re.compile(r"[^\W_]+")
BLANK_LINES = re.compile(r"(\n(?:[ \t]*\n)+)")
INDENTED_LINE = re.compile(r"\n(?=[ \t]+\S)")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

MOST_WORDS = 1 << 21
"""Distinct words whose hashes are kept: English has fewer, but the web has not."""

Hashes = NDArray[np.uint64]
Touched = Callable[[list[str]], NDArray[np.bool_]]
"""Which of a block's words are part of a shared run."""


@dataclass
class OverlapReport:
    """What was dropped from one corpus."""

    paragraphs: int = 0
    paragraphs_dropped: int = 0
    words: int = 0
    words_dropped: int = 0


class RunHasher:
    """Hashes every run of n words of a text; keeps a hash of each distinct word."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._word_hashes: dict[str, int] = {}

    def __call__(self, words: list[str]) -> Hashes:
        """Hashes of the runs that start at word 0, 1, ...: ``len(words) - n + 1`` of them, or none."""
        count = len(words) - self.n + 1
        if count <= 0:
            return np.empty(0, dtype=np.uint64)
        hashes = np.fromiter(map(self._hash, words), dtype=np.uint64, count=len(words))
        runs = np.zeros(count, dtype=np.uint64)
        for offset in range(self.n):
            runs = runs * MULTIPLIER + hashes[offset : offset + count]  # modulo 2**64
        return runs

    def _hash(self, word: str) -> int:
        found = self._word_hashes.get(word)
        if found is None:
            if len(self._word_hashes) >= MOST_WORDS:
                self._word_hashes.clear()
            found = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
            self._word_hashes[word] = found
        return found


def normalised_words(text: str) -> list[str]:
    """Words of a text in lower case; apostrophes vanish, other punctuation separates."""
    return WORD.findall(APOSTROPHES.sub("", text.casefold()))


def held_out_runs(documents: Iterable[Document], hasher: RunHasher) -> Hashes:
    """Sorted hashes of the runs of held-out documents, each of which is within one block."""
    runs = [hasher(normalised_words(block)) for d in documents for block in BLANK_LINES.split(d.text)]
    return np.unique(np.concatenate([np.empty(0, dtype=np.uint64), *runs]))


def shared_runs(held_out: Iterable[Document], reference: Iterable[Document], hasher: RunHasher) -> Hashes:
    """Sorted hashes of the held-out runs that are also in the reference documents."""
    known = held_out_runs(held_out, hasher)
    found = np.zeros(len(known), dtype=bool)
    for document in reference:
        runs = hasher(normalised_words(document.text))
        places = np.searchsorted(known, runs)
        places[places == len(known)] = 0
        if len(known):
            found[places[known[places] == runs]] = True
    return known[found]


def drop_shared(
    documents: Iterable[Document], shared: Hashes, hasher: RunHasher
) -> tuple[list[Document], OverlapReport]:
    """Drop every paragraph that is part of a shared run; a document with nothing left is dropped too."""
    report = OverlapReport()
    kept = []

    def touched_in(words: list[str]) -> NDArray[np.bool_]:
        return touched_words(np.isin(hasher(words), shared), len(words), hasher.n)

    for document in documents:
        text = without_touched(document.text, touched_in, report)
        if text:
            kept.append(Document(document.id, text))
    return kept, report


def without_touched(text: str, touched_in: Touched, report: OverlapReport) -> str:
    """A text without the paragraphs that contain a touched word. ``touched_in`` is called once per block, in order. The
    text is rebuilt from blocks and the blank lines between them.
    """
    parts = BLANK_LINES.split(text)
    separators = ["", *parts[1::2]]
    rebuilt = []
    for separator, block in zip(separators, parts[::2], strict=True):
        remaining = _block_without_touched(block, touched_in, report)
        if remaining:
            rebuilt += [separator, remaining]
    return "".join(rebuilt).strip()


def touched_words(hits: NDArray[np.bool_], words: int, n: int) -> NDArray[np.bool_]:
    """Which of some words are part of a run of n that is a hit; ``hits`` are the runs that start at word 0, 1, ..."""
    touched = np.zeros(words, dtype=bool)
    for offset in range(n if len(hits) else 0):
        touched[offset : offset + len(hits)] |= hits
    return touched


def _block_without_touched(block: str, touched_in: Touched, report: OverlapReport) -> str:
    paragraphs = INDENTED_LINE.split(block)
    words = [normalised_words(paragraph) for paragraph in paragraphs]
    ends = np.cumsum([len(w) for w in words])
    touched = touched_in([word for w in words for word in w])
    dropped = [bool(touched[end - len(w) : end].any()) for w, end in zip(words, ends, strict=True)]
    report.paragraphs += len(paragraphs)
    report.paragraphs_dropped += sum(dropped)
    report.words += int(ends[-1])
    report.words_dropped += sum(len(w) for w, gone in zip(words, dropped, strict=True) if gone)
    return _joined(paragraphs, dropped)


def _joined(paragraphs: list[str], dropped: list[bool]) -> str:
    """The kept paragraphs, with a blank line in place of dropped ones."""
    text = ""
    gap = False
    for paragraph, gone in zip(paragraphs, dropped, strict=True):
        if gone:
            gap = bool(text)
            continue
        separator = ("\n\n" if gap else "\n") if text else ""
        text, gap = text + separator + paragraph, False
    return text
