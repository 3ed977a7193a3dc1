"""The study's tokenizer: a byte-level BPE, trained on the training split."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import atomic_directory

SEPARATOR = "<|endoftext|>"
"""Stands before each document in the token stream; also BOS, EOS and padding."""


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train a byte-level BPE with exactly ``vocab_size`` entries (Sennrich et al., arXiv 1508.07909).

    Raises:
        UserError: the text is too small for that many merges.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[SEPARATOR],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    found = tokenizer.get_vocab_size()
    if found != vocab_size:
        raise UserError(
            f"tokenizer.vocab_size: the training text yields {found} entries, not {vocab_size}; "
            f"use at most {found} or more text"
        )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Save as a folder that ``AutoTokenizer.from_pretrained`` loads."""
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=SEPARATOR, eos_token=SEPARATOR, pad_token=SEPARATOR
    )
    with atomic_directory(folder) as temporary:
        wrapped.save_pretrained(temporary)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the fast tokenizer of a folder, without transformers; the separator's name in a text is plain text.

    Raises:
        UserError: there is no tokenizer.
    """
    file = Path(folder) / "tokenizer.json"
    if not file.exists():
        raise UserError(f"no tokenizer in {folder} (tokenizer.json is missing)")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.encode_special_tokens = True
    return tokenizer
