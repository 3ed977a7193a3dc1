"""Parts of a numbered source: the files of one job, and which of them runs need. No torch here."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pruning_vs_scratch.config.corpus import HubFilesSource, Splits
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study.names import token_label


@dataclass(frozen=True)
class Part:
    """Some files of a source, in its order."""

    name: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class PartedText:
    """The training text of some runs: a number of a source's first parts and of its last ones."""

    first: int
    last: int = 0

    @property
    def name(self) -> str:
        """'first-4', 'last-1', 'first-4-last-1'."""
        ends = {"first": self.first, "last": self.last}
        return "-".join(f"{end}-{count}" for end, count in ends.items() if count)


class PartedSource:
    """A numbered source in parts of ``files_per_part`` files, named by their places in it."""

    def __init__(self, source: HubFilesSource, splits: Splits) -> None:
        self._source = source
        self._size = source.files_per_part
        self.count = math.ceil(source.count / self._size)
        self.held_out: list[str] = list(map(_name, range(math.ceil(source.held_out_files / self._size))))
        """The parts whose documents the splits divide: the first ones."""
        rules = (splits.calibration, splits.validation, splits.test)
        self._training_share = 1 - sum(rule.fraction or 0 for rule in rules)

    def text(self, first: int, last: int = 0) -> PartedText:
        """The parts that hold this many tokens of training text at the source's beginning, and at its end.

        Raises:
            UserError: the source is too small.
        """
        source = self._source
        first_files, last_files = self._first_files(first), math.ceil(last / source.tokens_per_file)
        if first_files + last_files > source.count:
            raise UserError(
                f"{source.dataset}: the study needs {token_label(first + last)} tokens for training, which is "
                f"{first_files + last_files:,} files of {token_label(source.tokens_per_file)} each, but corpus.sources "
                f"names {source.count:,}; add files or lower the budgets"
            )
        # The last part may hold fewer files than the others.
        last_parts = self.count - (source.count - last_files) // self._size if last_files else 0
        return PartedText(math.ceil(first_files / self._size), last_parts)

    def names(self, text: PartedText) -> list[str]:
        """The parts of a text, in the order of the source."""
        return list(map(_name, self._numbers([text])))

    def tokens(self, text: PartedText) -> int:
        """Tokens of a text, estimated by ``tokens_per_file``."""
        numbers, each = self._numbers([text]), self._source.tokens_per_file
        files = {number: min(self._size, self._source.count - number * self._size) for number in numbers}
        divided = sum(count for number, count in files.items() if number < len(self.held_out))
        return int(each * (sum(files.values()) - divided * (1 - self._training_share)))

    def parts(self, texts: Iterable[PartedText]) -> dict[str, Part]:
        """The parts of all texts and those with held-out documents, by name and in the order of the source."""
        numbers = self._numbers([*texts, PartedText(len(self.held_out))])
        return {_name(number): Part(_name(number), self._files(number)) for number in numbers}

    def _numbers(self, texts: Iterable[PartedText]) -> list[int]:
        return sorted({n for text in texts for n in (*range(text.first), *range(self.count - text.last, self.count))})

    def _first_files(self, tokens: int) -> int:
        """Number of leading files that hold this many tokens of training text."""
        each, divided = self._source.tokens_per_file, min(len(self.held_out) * self._size, self._source.count)
        of_divided = divided * each * self._training_share
        if tokens <= of_divided:
            return math.ceil(tokens / (each * self._training_share))
        return divided + math.ceil((tokens - of_divided) / each)

    def _files(self, number: int) -> tuple[str, ...]:
        start = number * self._size
        return tuple(self._source.file(i) for i in range(start, min(start + self._size, self._source.count)))


def _name(number: int) -> str:
    return f"part-{number:05d}"
