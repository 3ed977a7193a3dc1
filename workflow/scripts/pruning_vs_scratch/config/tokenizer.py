"""The tokenizer of a study: trained on its text, or taken from a checkpoint."""

from typing import Annotated, Literal

from pydantic import Field

from pruning_vs_scratch.config.base import PositiveInt, Section
from pruning_vs_scratch.config.checkpoint import CheckpointSource


class BpeTokenizer(Section):
    """A byte-level BPE tokenizer, trained on the training split. If the text is in parts, that of the first part."""

    kind: Literal["bpe"]
    vocab_size: Annotated[int, Field(ge=257)]
    """Entries: 256 bytes, the document separator, and the merges."""
    shard_tokens: PositiveInt = 50_000_000
    """Tokens in one file of tokenised text."""


class CheckpointTokenizer(Section):
    """The tokenizer that comes with a checkpoint; its end-of-text token separates documents."""

    kind: Literal["checkpoint"]
    vocab_size: PositiveInt
    """Rows of the models' embeddings: those of the published parent, else the entries of the tokenizer."""
    source: CheckpointSource | None = None
    """The checkpoint, for a study that pretrains its parent; a published parent brings its own."""
    shard_tokens: PositiveInt = 50_000_000
    """Tokens in one file of tokenised text."""


TokenizerConfig = Annotated[BpeTokenizer | CheckpointTokenizer, Field(discriminator="kind")]
