"""Domains: named parts of a corpus, and batches that draw on them in changing proportions.

Dynamic batch loading of Sheared-LLaMA (Xia et al., 2310.06694, section 2.2): a domain whose loss has not fallen to its
reference gets more of the next batches, in proportion to weight * exp(loss - reference).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from pruning_vs_scratch.data.documents import Document
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.errors import UserError

Ranges = dict[str, tuple[int, int]]
"""By domain, the tokens [start, stop) of a store that belong to it."""
Weights = dict[str, float]
"""By domain, its share of a batch; they sum to 1."""


def domain_of(name: str, domains: Mapping[str, Iterable[str]]) -> str:
    """The first domain with a pattern that matches a document's name.

    Raises:
        UserError: none does.
    """
    for domain, patterns in domains.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            return domain
    raise UserError(f"corpus.domains: no domain takes the document {name}; add a pattern, or leave the document out")


class DomainStream:
    """Documents grouped by domain, so that each is one range of the tokens; ``ranges`` is complete once all are read.

    Without domains the documents pass in their original order, one at a time.
    """

    def __init__(self, documents: Iterable[Document], domains: Mapping[str, Iterable[str]]) -> None:
        self._documents = documents
        self._domains = domains
        self.ranges: Ranges = {}

    def tokenised(self, encode: Callable[[Iterable[str]], Iterator[list[int]]]) -> Iterator[list[int]]:
        """The tokens of each document."""
        if not self._domains:
            yield from encode(document.text for document in self._documents)
            return
        groups: dict[str, list[Document]] = {name: [] for name in self._domains}
        for document in self._documents:
            groups[domain_of(document.id, self._domains)].append(document)
        position = 0
        for name, documents in groups.items():
            start = position
            for tokens in encode(document.text for document in documents):
                position += len(tokens)
                yield tokens
            self.ranges[name] = (start, position)


def sequences_of_domain(windows: Windows, tokens: tuple[int, int], first: int) -> NDArray[np.int64]:
    """Sequences of a first pass from ``first`` on, in order, whose windows are entirely within a range of tokens."""
    sequences = np.arange(first, windows.count - windows.reading.parent_windows, dtype=np.int64)
    starts = windows.starts(sequences)
    return sequences[(starts >= tokens[0]) & (starts + windows.length + 1 <= tokens[1])]


def updated_weights(weights: Weights, losses: Mapping[str, float], references: Mapping[str, float]) -> Weights:
    """weight * exp(max(loss - reference, 0)) of each domain, normalised (algorithm 1)."""
    grown = {name: weight * math.exp(max(losses[name] - references[name], 0.0)) for name, weight in weights.items()}
    total = sum(grown.values())
    return {name: value / total for name, value in grown.items()}


class DomainLoader:
    """Batches of sequences by domain, from a first sequence on; no sequence is read twice.

    ``state`` is everything that a resumed run needs: the weights, and how many sequences of each domain are used up.
    """

    def __init__(
        self, windows: Windows, ranges: Ranges, proportions: Mapping[str, float], first: int, seed: int
    ) -> None:
        self.windows = windows
        self._seed = seed
        self._sequences = {name: sequences_of_domain(windows, ranges[name], first) for name in proportions}
        self.weights = dict(proportions)
        self.used = dict.fromkeys(proportions, 0)
        self.last_sequence = first - 1
        """Highest sequence read so far."""

    @property
    def state(self) -> dict[str, dict[str, float]]:
        """Plain values, for JSON."""
        return {"weights": self.weights, "used": dict(self.used), "last": {"sequence": self.last_sequence}}

    def restore(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Continue from a state."""
        # In the order of this loader: a file may have sorted the names, and batches are drawn in their order.
        self.weights = {name: state["weights"][name] for name in self.weights}
        self.used = {name: int(state["used"][name]) for name in self.used}
        self.last_sequence = int(state["last"]["sequence"])

    def next_batch(self, step: int, size: int) -> NDArray[np.int64]:
        """The sequences of a step; their number per domain is drawn by the weights, the same for a seed and step.

        Raises:
            UserError: a domain has no sequences left.
        """
        generator = np.random.default_rng([self._seed, step])
        counts = generator.multinomial(size, list(self.weights.values()))
        chosen = np.concatenate([self._take(name, n) for name, n in zip(self.weights, counts.tolist(), strict=True)])
        self.last_sequence = max(self.last_sequence, int(chosen.max()))
        return chosen

    def _take(self, name: str, count: int) -> NDArray[np.int64]:
        used, available = self.used[name], self._sequences[name]
        if used + count > len(available):
            raise UserError(
                f"the domain {name} has {len(available)} sequences of {self.windows.length} tokens to learn masks on, "
                f"and needs {used + count}; add text to it, or learn the masks on fewer tokens"
            )
        self.used[name] = used + count
        return available[used : used + count]
