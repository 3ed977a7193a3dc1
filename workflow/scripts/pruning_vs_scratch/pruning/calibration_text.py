"""The text that a pruning step reads: token shards of a study, files of text or JSON lines, or an .npy of windows."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pruning_vs_scratch.cli import positive_integer
from pruning_vs_scratch.config.pruning import USUAL_DEVICE_BUFFER_GIB, USUAL_PRECISION
from pruning_vs_scratch.data.documents import read_lines
from pruning_vs_scratch.data.folders import LINE_KINDS
from pruning_vs_scratch.data.tokenizer import Encoder, load_tokenizer
from pruning_vs_scratch.data.tokens import INDEX, TokenArray, TokenStore
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import ModelShape

USUAL_SEQUENCES = 128
NO_PLAIN_TEXT = (".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".gz", ".zst", ".xz", ".bz2", ".zip", ".tar")
"""Ends of names of files whose bytes are no prose; JSON, above all, would be read with its markup and no complaint."""
USUAL_LENGTH = 2048
"""Calibration of the sparse methods' papers: 128 sequences of 2,048 tokens."""


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say which text is read, and how."""
    parser.add_argument(
        "--calibration", type=Path, nargs="+", metavar="PATH",
        help="folder of token shards, or files of text or of JSON lines, or one .npy of token windows, shape "
        "(n, length)",
    )  # fmt: skip
    parser.add_argument("--sequences", type=positive_integer, help=f"windows to read (default: {USUAL_SEQUENCES})")
    parser.add_argument(
        "--sequence-length",
        type=positive_integer,
        help=f"tokens a window (default: {USUAL_LENGTH})",
    )
    parser.add_argument("--batch-size", type=positive_integer, default=1, help="windows run together (default: 1)")
    parser.add_argument("--tokenizer", type=Path, help="folder of the tokenizer (default: the checkpoint's)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order of the windows (default: 0)")
    parser.add_argument("--threads", type=positive_integer, help="CPU threads (default: all cores)")
    parser.add_argument("--low-memory", action="store_true", help="read each block from disk when its turn comes")
    parser.add_argument(
        "--host-buffer-gib", type=float, default=16.0, help="hidden states in memory, beyond it in a file (default: 16)"
    )
    parser.add_argument(
        "--device-buffer-gib",
        type=float,
        default=USUAL_DEVICE_BUFFER_GIB,
        help="hidden states and weights that stay on a GPU (default: 16)",
    )
    parser.add_argument(
        "--precision",
        choices=["auto", "bf16", "fp32"],
        default=USUAL_PRECISION,
        help="arithmetic of the passes over the text (default: auto, bf16 on a GPU)",
    )


def recorded_options(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Some options of a step as its manifest has them; the arithmetic only where it was chosen, as it is new."""
    chosen = ("precision",) if args.precision != USUAL_PRECISION else ()
    return {name: getattr(args, name) for name in (*names, *chosen)}


def require_paths(args: argparse.Namespace) -> None:
    """Refuse a command that names a checkpoint or text that is not there.

    Raises:
        UserError: names the option and the path.
    """
    for option, path in [("--model", args.model), *(("--calibration", path) for path in args.calibration or [])]:
        if not path.exists():
            raise UserError(f"{option} {path} does not exist")


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
    if are_given_windows(args.calibration):
        array = _read_array(args.calibration, args.sequence_length)
        return _cut(_known(array.reshape(-1), str(first), shape), array.shape[1] - 1, args)
    if (first / INDEX).exists():
        store = TokenStore(first)
        store.check_tokenizer(tokenizer / "tokenizer.json")
        store.check_vocabulary(shape.vocab_size, args.model)
        return _cut(store, length, args)
    names = ", ".join(map(str, args.calibration))
    return _cut(_known(_tokenised(args.calibration, tokenizer, args.threads), names, shape), length, args)


def are_given_windows(paths: Sequence[Path]) -> bool:
    """Whether text is given as windows of tokens, each of which is read whole."""
    return paths[0].suffix == ".npy"


def sequences_of(args: argparse.Namespace, windows: Windows) -> int:
    """How many windows are read."""
    return args.sequences or min(USUAL_SEQUENCES, windows.count)


def _cut(tokens: TokenStore | TokenArray, length: int, args: argparse.Namespace) -> Windows:
    windows = Windows(tokens, length, args.seed)
    windows.require(args.sequences or 1, "--calibration")
    return windows


def _read_array(paths: list[Path], length: int | None) -> np.ndarray:
    path = paths[0]
    if len(paths) > 1:
        raise UserError(f"--calibration takes one .npy and nothing else, not {len(paths)} paths")
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2 or not np.issubdtype(array.dtype, np.integer):
        raise UserError(
            f"{path} holds {array.dtype} of shape {array.shape}; token windows are integers of shape (n, length), "
            "length 2 or more"
        )
    if length not in (None, array.shape[1]):
        raise UserError(f"{path} holds windows of {array.shape[1]} tokens; leave --sequence-length out")
    return array.astype(np.int64)


def _tokenised(files: list[Path], tokenizer_folder: Path, threads: int | None) -> np.ndarray:
    """Files as one stream of tokens.

    A file of text has the special tokens that the tokenizer puts around a text; the documents of JSON lines are read
    and separated as in a study.

    Raises:
        UserError: a file cannot be read as one or the other.
    """
    tokenizer = load_tokenizer(tokenizer_folder)
    pieces = []
    for file in files:
        if file.name.endswith(LINE_KINDS):
            encoder = Encoder(tokenizer_folder, threads or os.cpu_count() or 1)
            texts = (document.text for document in read_lines(file))
            pieces += [np.asarray(ids, dtype=np.int64) for ids in encoder.encode(texts)]
            continue
        if file.name.lower().endswith(NO_PLAIN_TEXT):
            raise UserError(
                f"--calibration {file} is no plain text: give text, or a document a line under the key text "
                f"({', '.join(LINE_KINDS)})"
            )
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {file} as text: {error}") from error
        pieces.append(np.asarray(tokenizer.encode(text).ids, dtype=np.int64))
    if not pieces:
        raise UserError(f"{', '.join(map(str, files))} hold no text")
    return np.concatenate(pieces)


def _known(tokens: np.ndarray, name: str, shape: ModelShape) -> TokenArray:
    """Tokens, which must be among those that the checkpoint knows."""
    if len(tokens) and not 0 <= tokens.min() <= tokens.max() < shape.vocab_size:
        raise UserError(
            f"{name} holds tokens {tokens.min()} to {tokens.max()}, but the checkpoint knows 0 to "
            f"{shape.vocab_size - 1}"
        )
    return TokenArray(tokens, name)
