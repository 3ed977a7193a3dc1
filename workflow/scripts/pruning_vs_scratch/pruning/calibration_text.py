"""The text that a pruning step reads: token shards of a study, files of text or JSON lines, or an .npy of windows."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pruning_vs_scratch.data.documents import read_lines, read_plain_text
from pruning_vs_scratch.data.folders import LINE_KINDS
from pruning_vs_scratch.data.tokenizer import Encoder, load_tokenizer
from pruning_vs_scratch.data.tokens import INDEX, TokenArray, TokenStore
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.request import USUAL_LENGTH, USUAL_SEQUENCES, CalibratedRequest
from pruning_vs_scratch.study import ModelShape


def calibration_windows(request: CalibratedRequest, shape: ModelShape, positions: int) -> Windows:
    """The windows that the options select, in their seeded order.

    Raises:
        UserError: there is no text, too little of it, or it has tokens unknown to the checkpoint.
    """
    if not request.calibration:
        raise UserError(f"{request.method} reads calibration text: give --calibration")
    tokenizer = request.tokenizer_folder
    first = request.calibration[0]
    length = request.sequence_length or min(USUAL_LENGTH, positions)
    if are_given_windows(request.calibration):
        array = _read_array(request.calibration, request.sequence_length)
        return _cut(_known(array.reshape(-1), str(first), shape), array.shape[1] - 1, request)
    if (first / INDEX).exists():
        store = TokenStore(first)
        store.check_tokenizer(tokenizer / "tokenizer.json")
        store.check_vocabulary(shape.vocab_size, request.model)
        return _cut(store, length, request)
    names = ", ".join(map(str, request.calibration))
    return _cut(_known(_tokenised(request.calibration, tokenizer, request.threads), names, shape), length, request)


def are_given_windows(paths: Sequence[Path]) -> bool:
    """Whether text is given as windows of tokens, each of which is read whole."""
    return paths[0].suffix == ".npy"


def sequences_of(request: CalibratedRequest, windows: Windows) -> int:
    """How many windows are read."""
    return request.sequences or min(USUAL_SEQUENCES, windows.count)


def _cut(tokens: TokenStore | TokenArray, length: int, request: CalibratedRequest) -> Windows:
    windows = Windows(tokens, length, request.seed)
    windows.require(request.sequences or 1, "--calibration", "add text, or lower --sequences or --sequence-length")
    return windows


def _read_array(paths: Sequence[Path], length: int | None) -> np.ndarray:
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
    found: np.ndarray = array.astype(np.int64)
    return found


def _tokenised(files: Sequence[Path], tokenizer_folder: Path, threads: int | None) -> np.ndarray:
    """Files as one stream of tokens.

    A text file gets the special tokens that the tokenizer puts around a text; documents in JSON lines are read and
    separated as in a study.

    Raises:
        UserError: a file cannot be read as either.
    """
    tokenizer = load_tokenizer(tokenizer_folder)
    pieces = []
    for file in files:
        if file.name.endswith(LINE_KINDS):
            encoder = Encoder(tokenizer_folder, threads or os.cpu_count() or 1)
            texts = (document.text for document in read_lines(file))
            pieces += [np.asarray(ids, dtype=np.int64) for ids in encoder.encode(texts)]
            continue
        text = read_plain_text(file, "--calibration")
        pieces.append(np.asarray(tokenizer.encode(text).ids, dtype=np.int64))
    if not pieces:
        raise UserError(f"{', '.join(map(str, files))} hold no text")
    return np.concatenate(pieces)


def _known(tokens: np.ndarray, name: str, shape: ModelShape) -> TokenArray:
    """Tokens, which must be known to the checkpoint."""
    if len(tokens) and not 0 <= tokens.min() <= tokens.max() < shape.vocab_size:
        raise UserError(
            f"{name} holds tokens {tokens.min()} to {tokens.max()}, but the checkpoint knows 0 to "
            f"{shape.vocab_size - 1}"
        )
    return TokenArray(tokens, name)
