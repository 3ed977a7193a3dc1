"""The study's tokenizer: a byte-level BPE trained on the training split, or that of a checkpoint."""

import os
import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import (
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    TOKENIZER_FILES,
    atomic_directory,
    read_json_object,
    sha256_of_file,
)
from pruning_vs_scratch.models.portable import make_portable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LFS_POINTER = b"version https://git-lfs"
"""Start of a Git LFS pointer, a placeholder for a file that was not fetched."""
SEPARATOR = "<|endoftext|>"
"""Precedes each document in the token stream; also BOS, EOS and padding."""
END_OF_TEXT = (SEPARATOR, "<|end_of_text|>")
"""Tokens that end a document, if a vocabulary has them: in a chat model, EOS ends a turn."""
LONGEST_REASON = 200
"""Characters of a library's message that are shown."""
TEXTS_AT_ONCE = 256
"""Texts that are tokenised together."""


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
        make_portable(temporary)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the fast tokenizer of a folder, without transformers; the separator's name in a text is plain text. Any
    truncation, padding or dropout of merges stored with it records how a model was once fed, and is ignored: documents
    would silently be truncated, or become different tokens each time.

    Raises:
        UserError: there is no tokenizer, or it cannot be read.
    """
    file = Path(folder) / TOKENIZER_FILE
    if not file.exists():
        raise UserError(f"no tokenizer in {folder} ({TOKENIZER_FILE} is missing)")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library has no specific class for it
        with file.open("rb") as stream:
            pointer = stream.read(len(LFS_POINTER)) == LFS_POINTER
        remedy = (
            "it is a Git LFS pointer: fetch the file itself, by git lfs pull"
            if pointer
            else "fetch it again, or save it with the installed version of tokenizers if a newer one wrote it"
        )
        raise UserError(f"the tokenizer {file} cannot be read ({error}): {remedy}") from error
    tokenizer.encode_special_tokens = True
    _read_plainly(tokenizer)
    return tokenizer


def load_transformers_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The same tokenizer wrapped by transformers, for uses that need more than the tokens of a text.

    Raises:
        UserError: there is no tokenizer, or it cannot be read.
    """
    from transformers import AutoTokenizer

    load_tokenizer(folder)  # says what is wrong
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the library has no specific class for it
        said = " ".join(str(error).split())[:LONGEST_REASON]
        raise UserError(
            f"transformers cannot read the tokenizer of {folder} ({type(error).__name__}: {said}): correct "
            f"{TOKENIZER_CONFIG_FILE}, or fetch it again; code that a checkpoint brings is never run"
        ) from error
    _read_plainly(tokenizer.backend_tokenizer)
    return tokenizer


def _read_plainly(tokenizer: Tokenizer) -> None:
    """Switch off stored settings of how a model was once fed, such as the random merges of BPE-dropout."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if getattr(tokenizer.model, "dropout", None) is not None:  # only BPE has it
        tokenizer.model.dropout = None


class Encoder:
    """The tokenizer of a folder and its document separator, with a number of threads.

    The number of threads applies to the whole process, from its first text on.

    Raises:
        UserError: there is no tokenizer, or it has no end-of-text token.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        os.environ |= {"TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": str(threads)}
        self._tokenizer = load_tokenizer(folder)
        self.sha256 = sha256_of_file(folder / TOKENIZER_FILE)
        separator = separator_of(folder)
        if separator is None:
            raise UserError(f"the tokenizer {folder} has no end-of-text token to stand between documents")
        self._separator = separator
        self.vocab_size = max(entries_within(self._tokenizer, 0), separator + 1)

    def encode(self, texts: Iterable[str]) -> Iterator[list[int]]:
        """The separator and the tokens of each text; some texts at a time are shared among the threads."""
        remaining = iter(texts)
        while some := list(islice(remaining, TEXTS_AT_ONCE)):
            for encoding in self._tokenizer.encode_batch_fast(some, add_special_tokens=False):
                yield [self._separator, *encoding.ids]


def separator_of(folder: Path) -> int | None:
    """The token before each document; None if the tokenizer has none.

    It is the one that the tokenizer itself puts before a text: models trained that way, such as Gemma, read badly
    without it. Of a tokenizer that puts none there, it is the end-of-text token.

    Raises:
        UserError: there is no tokenizer.
    """
    tokenizer = load_tokenizer(folder)
    if (beginning := _beginning(tokenizer)) is not None:
        return beginning
    settings = Path(folder) / TOKENIZER_CONFIG_FILE
    eos = read_json_object(settings).get("eos_token") if settings.exists() else None
    names: tuple[Any, ...] = (*END_OF_TEXT, eos.get("content") if isinstance(eos, dict) else eos)
    tokens = (tokenizer.token_to_id(name) for name in names if isinstance(name, str))
    return next((token for token in tokens if token is not None), None)


def _beginning(tokenizer: Tokenizer) -> int | None:
    """The token that a tokenizer puts before every text, or None."""
    plain, whole = (tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
    return whole[0] if whole[1 : 1 + len(plain)] == plain and whole[: len(plain)] != plain else None


def entries_within(tokenizer: Tokenizer, vocab_size: int) -> int:
    """The entries of a tokenizer, without special tokens beyond a vocabulary, which no text becomes.

    Gemma 3 has one for images, in a vocabulary that ends before it.
    """
    special = {index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    return 1 + max(i for i in tokenizer.get_vocab().values() if i < vocab_size or i not in special)


def require_evaluable(tokenizer: "PreTrainedTokenizerBase", vocab_size: int, name: str) -> None:
    """Refuse a tokenizer that lm-eval cannot use: it begins a text without context with BOS or EOS.

    Raises:
        UserError: the tokenizer defines neither, or has more entries than the vocabulary.
    """
    if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None:
        known = tokenizer.get_vocab()
        end = next((token for token in END_OF_TEXT if token in known), "its end-of-text token")
        raise UserError(
            f"{TOKENIZER_CONFIG_FILE} of the tokenizer of {name} names no bos_token and no eos_token of its "
            f'vocabulary, which evaluation begins texts with: add "eos_token": "{end}" to it'
        )
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id)
    entries = entries_within(tokenizer.backend_tokenizer, vocab_size)
    if max(entries, *(1 + token for token in special if token is not None)) > vocab_size:
        raise UserError(
            f"the tokenizer of {name} knows {len(tokenizer)} entries, but there is a vocabulary of {vocab_size}; put "
            "the checkpoint's own tokenizer next to it"
        )


def take_tokenizer(checkpoint: Path, vocab_size: int, out: Path, *, exactly: bool) -> dict[str, Any]:
    """Copy the tokenizer of a checkpoint to a separate folder; returns its entries and separator.

    Raises:
        UserError: it has more entries than ``vocab_size`` (with ``exactly``: another number), no end-of-text token, or
            lacks what evaluation needs.
    """
    entries = entries_within(load_tokenizer(checkpoint), vocab_size)
    if entries > vocab_size or (exactly and entries != vocab_size):
        raise UserError(
            f"tokenizer.vocab_size: the tokenizer of {checkpoint.name} has {entries} entries, not {vocab_size}"
        )
    separator = separator_of(checkpoint)
    if separator is None:
        raise UserError(
            f"the tokenizer of {checkpoint.name} has no end-of-text token ({', '.join(END_OF_TEXT)}, or the eos_token "
            "of tokenizer_config.json), which separates documents; use another checkpoint"
        )
    with atomic_directory(out) as temporary:
        copy_tokenizer(checkpoint, temporary)
        require_evaluable(load_transformers_tokenizer(temporary), vocab_size, checkpoint.name)
    return {"entries": entries, "separator": separator}


def copy_tokenizer(tokenizer: Path, folder: Path) -> None:
    """Copy a tokenizer's files to an existing folder, such as that of the weights."""
    for name in TOKENIZER_FILES:
        source = Path(tokenizer) / name
        if source.exists():
            shutil.copyfile(source, folder / name)
    make_portable(folder)
