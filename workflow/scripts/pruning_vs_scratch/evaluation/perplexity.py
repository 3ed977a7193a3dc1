"""Loss of a checkpoint on windows of held-out corpora, kept per window so that differences are paired."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import LlamaForCausalLM

from pruning_vs_scratch.data.tokens import TokenStore
from pruning_vs_scratch.data.windows import EVALUATION_SEED, Windows
from pruning_vs_scratch.training.loss import sequence_losses


def corpus_losses(
    model: LlamaForCausalLM, tokenizer: Path, corpora: dict[str, int], tokens: Path, *, length: int, batch_size: int
) -> pd.DataFrame:
    """Mean nats per token of each window: columns dataset, sequence, loss.

    ``corpora`` gives the number of windows of each corpus; they are spread over it by a fixed permutation, do not
    overlap, and carry no BOS of their own.

    Raises:
        UserError: a corpus is missing, too short, or tokenised with another tokenizer than the checkpoint's.
    """
    parts = []
    for dataset, count in corpora.items():
        store = TokenStore(tokens / dataset)
        store.check_tokenizer(tokenizer)
        windows = Windows(store, length, EVALUATION_SEED)
        windows.require(count, f"evaluation.perplexity.corpora.{dataset}")
        batch = torch.from_numpy(windows.read(np.arange(count)))
        losses = sequence_losses(model, batch, batch_size).numpy()
        parts.append(pd.DataFrame({"dataset": dataset, "sequence": np.arange(count), "loss": losses}))
    return pd.concat(parts, ignore_index=True)
