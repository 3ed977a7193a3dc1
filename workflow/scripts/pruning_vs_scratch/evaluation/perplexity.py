"""Loss of a checkpoint on windows of corpora, kept per window so that differences are paired."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pruning_vs_scratch.data.permutation import permuted
from pruning_vs_scratch.data.tokens import TokenArray, TokenStore
from pruning_vs_scratch.data.windows import EVALUATION_SEED
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.decoder import CausalLM
from pruning_vs_scratch.study.evaluation import CorpusRequest
from pruning_vs_scratch.study.evaluation_memory import TOKENS_AT_ONCE
from pruning_vs_scratch.training.loss import sequence_losses
from pruning_vs_scratch.training.world import World


@dataclass(frozen=True)
class CorpusReading:
    """How a held-out corpus is cut into windows; of one in mode authors, only ``length`` counts (leading_windows).

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
        """Number of tokens that this many windows take."""
        return (windows - 1) * (self.stride or self.width) + self.width


def read_windows(
    store: TokenStore | TokenArray, reading: CorpusReading, request: CorpusRequest, bos_token: int | None
) -> NDArray[np.int64]:
    """Windows of a corpus, as its mode asks: shape (windows, length + 1), or (windows, length) in mode authors.

    Raises:
        UserError: the corpus is too short, or its documents' separator is needed and not known.
    """
    if request.mode == "authors":
        return leading_windows(store, reading.length, request.windows, bos_token)
    return spread_windows(store, reading, request.windows, bos_token)


def spread_windows(
    store: TokenStore | TokenArray, reading: CorpusReading, number: int, bos_token: int | None
) -> NDArray[np.int64]:
    """Windows of shape (number, length + 1), spread over a corpus by a fixed permutation.

    Raises:
        UserError: the corpus is too short, or the tokenizer has no separator to begin windows with.
    """
    count = reading.windows_in(len(store))
    if number > count:
        raise _too_short(store, f"{len(store):,} tokens", count, reading.length, number)
    numbers = permuted(np.arange(number), count, EVALUATION_SEED)
    starts = (numbers * (reading.stride or reading.width)).tolist()
    windows = np.stack([store.read(start, start + reading.width) for start in starts])
    if not reading.bos:
        return windows
    if bos_token is None:
        raise UserError("evaluation.perplexity.bos: the tokenizer has no separator of documents to begin windows with")
    return np.insert(windows, 0, bos_token, axis=1)


def leading_windows(
    store: TokenStore | TokenArray, length: int, number: int, separator: int | None
) -> NDArray[np.int64]:
    """Windows of shape (number, length) as the paper's released code cuts them: row k is [k length, (k + 1) length).

    These are the text's own tokens, without the separators that stand before its documents here. Each window predicts
    all its tokens but the first (``get_ppl`` of lm_eval's test_orbax_eval.py in zlab-princeton/llm-pruning-collection,
    called with add_special_tokens=False).

    Raises:
        UserError: windows are of one token, the corpus is too short, or the separator is not known.
    """
    if length < 2:
        raise UserError(
            "evaluation.perplexity.sequence_length: 1 token leaves nothing to predict in mode authors; at least 2"
        )
    if separator is None:
        raise UserError(
            f"the tokenizer has no separator of documents, and mode authors leaves it out of {store.name}; put the "
            "checkpoint's own tokenizer_config.json next to it"
        )
    tokens = _own_tokens(store, number * length, separator)
    if len(tokens) < number * length:
        raise _too_short(store, f"{len(tokens):,} tokens of text", len(tokens) // length, length, number)
    return tokens.reshape(number, length)


def _own_tokens(store: TokenStore | TokenArray, wanted: int, separator: int) -> NDArray[np.int64]:
    """The first tokens that are not separators, up to the wanted number; no more is read than necessary."""
    own, start = np.empty(0, dtype=np.int64), 0
    while len(own) < wanted and start < len(store):
        tokens = store.read(start, min(start + wanted - len(own), len(store)))
        own = np.concatenate([own, tokens[tokens != separator]])
        start += len(tokens)
    return own


def _too_short(store: TokenStore | TokenArray, held: str, windows: int, length: int, wanted: int) -> UserError:
    return UserError(
        f"{store.name} holds {held} and so {windows} windows of {length}, not {wanted}; add text or lower "
        "evaluation.perplexity.corpora"
    )


def corpus_losses(
    model: CausalLM,
    store: TokenStore | TokenArray,
    request: CorpusRequest,
    reading: CorpusReading,
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
    scored = reading.stride if request.mode == "heldout" else None
    found = sequence_losses(model, share, batch_size, TOKENS_AT_ONCE, scored=scored) if len(share) else share
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
