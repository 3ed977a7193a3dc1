"""The text that a pruning step reads: token shards of a study, text files, or an .npy of token windows."""

import argparse
from pathlib import Path

import numpy as np

from pruning_vs_scratch.data.tokenizer import load_tokenizer
from pruning_vs_scratch.data.tokens import INDEX, TokenArray, TokenStore
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import ModelShape

USUAL_SEQUENCES = 128
USUAL_LENGTH = 2048
"""Calibration of the sparse methods' papers: 128 sequences of 2,048 tokens."""


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say which text is read, and how."""
    parser.add_argument(
        "--calibration", type=Path, nargs="+", metavar="PATH",
        help="folder of token shards, or text files, or one .npy of token windows, shape (n, length); "
        "the last token of a window is only predicted",
    )  # fmt: skip
    parser.add_argument("--sequences", type=int, help=f"windows to read (default: up to {USUAL_SEQUENCES})")
    parser.add_argument(
        "--sequence-length", type=int, help=f"tokens a window (default: {USUAL_LENGTH}, or what the model can)"
    )
    parser.add_argument("--batch-size", type=int, default=1, help="windows run together (default: 1)")
    parser.add_argument("--tokenizer", type=Path, help="folder of the tokenizer (default: the checkpoint's)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order of the windows (default: 0)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    parser.add_argument("--low-memory", action="store_true", help="read each block from disk when its turn comes")
    parser.add_argument(
        "--host-buffer-gib", type=float, default=16.0, help="hidden states in memory, beyond it in a file (default: 16)"
    )


def calibration_windows(args: argparse.Namespace, shape: ModelShape, positions: int) -> Windows:
    """The windows that the options name, in their seeded order.

    Raises:
        UserError: there is no text, too little of it, or it has tokens that the checkpoint does not know.
    """
    if not args.calibration:
        raise UserError(f"{args.method} reads calibration text: give --calibration")
    tokenizer = args.tokenizer or args.model
    first = args.calibration[0]
    length = args.sequence_length or min(USUAL_LENGTH, positions)
    if first.suffix == ".npy":
        array = _read_array(first)
        _require_known(int(array.min()), int(array.max()), shape.vocab_size, first)
        return _cut(TokenArray(array.reshape(-1), str(first)), array.shape[1] - 1, args)
    if (first / INDEX).exists():
        store = TokenStore(first)
        store.check_tokenizer(tokenizer / "tokenizer.json")
        store.check_vocabulary(shape.vocab_size, args.model)
        return _cut(store, length, args)
    return _cut(_tokenised(args.calibration, tokenizer), length, args)


def sequences_of(args: argparse.Namespace, windows: Windows) -> int:
    """How many windows are read."""
    return args.sequences or min(USUAL_SEQUENCES, windows.count)


def _cut(tokens: TokenStore | TokenArray, length: int, args: argparse.Namespace) -> Windows:
    windows = Windows(tokens, length, args.seed)
    windows.require(max(1, args.sequences or 1), "--calibration")
    return windows


def _read_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2 or not np.issubdtype(array.dtype, np.integer):
        raise UserError(
            f"{path} holds {array.dtype} of shape {array.shape}; token windows are integers of shape (n, length), "
            "length 2 or more"
        )
    return array.astype(np.int64)


def _tokenised(files: list[Path], tokenizer_folder: Path) -> TokenArray:
    """Text files as one stream of tokens, with the special tokens that the tokenizer puts around a text."""
    tokenizer = load_tokenizer(tokenizer_folder)
    pieces = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {file} as text: {error}") from error
        pieces.append(np.asarray(tokenizer.encode(text).ids, dtype=np.int64))
    return TokenArray(np.concatenate(pieces), ", ".join(map(str, files)))


def _require_known(lowest: int, highest: int, vocab_size: int, path: Path) -> None:
    if lowest < 0 or highest >= vocab_size:
        raise UserError(f"{path} holds tokens {lowest} to {highest}, but the checkpoint knows 0 to {vocab_size - 1}")
