"""Loss of a checkpoint on windows of held-out corpora, kept per window so that differences are paired."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from transformers import LlamaForCausalLM

from pruning_vs_scratch.data.tokens import TokenArray, TokenStore
from pruning_vs_scratch.data.windows import EVALUATION_SEED, permuted
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study.evaluation import CorpusRequest
from pruning_vs_scratch.training.loss import sequence_losses
from pruning_vs_scratch.training.world import World

TOKENS_AT_ONCE = 4096
"""Tokens whose logits are held at once: 2 GB at a vocabulary of 128k."""


@dataclass(frozen=True)
class Reading:
    """How a corpus is cut into windows.

    A model reads ``length`` tokens at a time and predicts the one after each. Windows begin ``stride`` tokens apart
    and score their last ``stride`` predictions; without a stride they do not overlap and score all. With ``bos``, the
    separator of documents stands before each window and the first token is predicted too.
    """

    length: int
    stride: int | None = None
    bos: bool = False

    @property
    def width(self) -> int:
        """Tokens of the corpus in a window."""
        return self.length if self.bos else self.length + 1

    def windows_in(self, tokens: int) -> int:
        """How many windows a corpus holds."""
        return max(0, (tokens - self.width) // (self.stride or self.width) + 1)

    def tokens_for(self, windows: int) -> int:
        """How many tokens so many windows take."""
        return (windows - 1) * (self.stride or self.width) + self.width


def read_windows(
    store: TokenStore | TokenArray, reading: Reading, request: CorpusRequest, bos_token: int | None
) -> NDArray[np.int64]:
    """Windows of a corpus, shape (windows, length + 1): spread over it by a fixed permutation, or its leading ones.

    Raises:
        UserError: the corpus is too short.
    """
    count = reading.windows_in(len(store))
    if request.windows > count:
        raise UserError(
            f"{store.name} holds {len(store):,} tokens and so {count} windows of {reading.length}, not "
            f"{request.windows}; add text or lower evaluation.perplexity.corpora"
        )
    numbers = np.arange(request.windows)
    if request.mode == "heldout":
        numbers = permuted(numbers, count, EVALUATION_SEED)
    starts = (numbers * (reading.stride or reading.width)).tolist()
    windows = np.stack([store.read(start, start + reading.width) for start in starts])
    if not reading.bos:
        return windows
    if bos_token is None:
        raise UserError("evaluation.perplexity.bos: the tokenizer has no separator of documents to begin windows with")
    return np.insert(windows, 0, bos_token, axis=1)


def corpus_losses(
    model: LlamaForCausalLM,
    store: TokenStore | TokenArray,
    request: CorpusRequest,
    reading: Reading,
    *,
    bos_token: int | None,
    batch_size: int,
    world: World,
) -> pd.DataFrame:
    """Mean nats per scored token of each window: columns sequence, loss, mode; the processes share the windows.

    Raises:
        UserError: the corpus is too short, or windows are longer than the model's positions.
    """
    limit = model.config.max_position_embeddings
    if reading.length > limit:
        raise UserError(
            f"evaluation.perplexity.sequence_length: {reading.length} tokens are beyond the {limit} positions of the "
            f"checkpoint; at most {limit}"
        )
    windows = torch.from_numpy(read_windows(store, reading, request, bos_token))
    share = windows[world.rank :: world.size]
    found = sequence_losses(model, share, batch_size, TOKENS_AT_ONCE, scored=reading.stride) if len(share) else share
    losses = np.empty(len(windows))
    for rank, part in enumerate(world.values(found.tolist())):
        losses[rank :: world.size] = part
    return pd.DataFrame({"sequence": np.arange(len(windows)), "loss": losses, "mode": request.mode})


def checked_store(folder: Path, tokenizer: Path) -> TokenStore:
    """A tokenised corpus.

    Raises:
        UserError: it is missing or damaged, or was tokenised with another tokenizer than the checkpoint's.
    """
    store = TokenStore(folder)
    store.check_tokenizer(tokenizer)
    return store
