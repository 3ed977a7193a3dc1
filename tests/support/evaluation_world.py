"""A tiny checkpoint with a tokenizer, and corpora tokenised by it, for the tests of evaluation."""

from pathlib import Path
from typing import Any

import torch

from mini_benchmarks import WORDS, items_of
from models import randomised
from pruning_vs_scratch.data.tokenizer import SEPARATOR, load_tokenizer, save_tokenizer, train_bpe
from pruning_vs_scratch.data.tokens import write_tokens
from pruning_vs_scratch.files import sha256_of_file
from pruning_vs_scratch.models.checkpoint import save_model
from pruning_vs_scratch.models.decoder import random_model
from pruning_vs_scratch.study import ModelShape

VOCABULARY = 300
POSITIONS = 512
SHAPE = ModelShape(VOCABULARY, 2, 32, 48, 4, 2, 8, True, 1e4, 1e-5)


def write_checkpoint(folder: Path, seed: int = 0, shape: ModelShape = SHAPE) -> Path:
    """A random Llama with its tokenizer; returns its folder."""
    model = folder / f"model-{seed}"
    model.mkdir(parents=True)
    save_model(randomised(random_model(shape, POSITIONS, seed), seed), model, tokenizer_folder(folder))
    return model


def tokenizer_folder(folder: Path) -> Path:
    """A tokenizer of ``VOCABULARY`` entries, trained on what the miniature benchmarks say."""
    place = folder / "tokenizer"
    if not place.exists():
        texts = [" ".join(WORDS), *(str(item) for item in items_of("boolq", "train", 200))]
        save_tokenizer(train_bpe(texts, VOCABULARY), place)
    return place


def write_corpus(folder: Path, name: str, texts: list[str]) -> Path:
    """Texts as a tokenised corpus; returns the folder of all corpora."""
    place = tokenizer_folder(folder)
    tokenizer = load_tokenizer(place)
    separator = tokenizer.token_to_id(SEPARATOR)
    write_tokens(
        folder / "tokens" / name,
        [[separator, *tokenizer.encode(text).ids] for text in texts],
        vocab_size=VOCABULARY,
        shard_tokens=500,
        tokenizer_sha256=sha256_of_file(place / "tokenizer.json"),
    )
    return folder / "tokens"


def plain_loss(model: Any, tokens: list[int], scored: int) -> float:
    """Mean nats of the last ``scored`` tokens given all before them, by definition and in fp64."""
    with torch.no_grad():
        logits = model.double()(torch.tensor([tokens[:-1]])).logits[0]
    probabilities = torch.softmax(logits, dim=-1)
    losses = [-probabilities[i, token].log() for i, token in enumerate(tokens[1:])]
    return float(torch.stack(losses[-scored:]).mean())
