"""Setting up a pruning step: device and threads, the checkpoint, the stream of calibration text."""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch

from pruning_vs_scratch.files import sha256_of_value
from pruning_vs_scratch.manifest import source_hash
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.device import best_device
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.calibration_text import are_given_windows, calibration_windows, sequences_of
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.finished_losses import FinishedLosses

GIB = 1 << 30


def open_model(args: argparse.Namespace) -> BlockwiseModel:
    """The checkpoint of ``--model`` on the best device, with ``--threads`` CPU threads."""
    if args.threads:
        torch.set_num_threads(args.threads)
    # A model whose masks are learned is loaded for training besides; here only its shape is of use.
    low_memory = args.low_memory or facts_of(args.method).learns_masks
    return BlockwiseModel.open(args.model, best_device(), low_memory=low_memory, precision=args.precision)


def calibration_stream(
    args: argparse.Namespace, model: BlockwiseModel, folder: Path, model_sha256: str
) -> CalibrationStream:
    """The stream of the text of ``--calibration``; hidden states that do not fit wait in a file in ``folder``.

    Losses of candidates are kept beside ``--out`` until ``forget_losses``; ``model_sha256`` is the checkpoint's hash.
    """
    windows = calibration_windows(args, model.shape, model.config.max_position_embeddings)
    tokens = torch.from_numpy(windows.read(np.arange(sequences_of(args, windows))))
    whole, compared = are_given_windows(args.calibration), facts_of(args.method).candidates is not None
    finished = None
    if compared:
        read = {"model": model_sha256, "tokens": _hash(tokens), "whole": whole, "batch_size": args.batch_size}
        computed = [str(model.skeleton.dtype), model.device.type, torch.get_num_threads(), source_hash()]
        finished = FinishedLosses(_losses_file(args), sha256_of_value([read, computed]))
    return CalibrationStream(
        model,
        tokens,
        args.batch_size,
        round(args.host_buffer_gib * GIB),
        folder,
        device_buffer_bytes=round(args.device_buffer_gib * GIB),
        whole=whole,
        compared=compared,
        finished=finished,
    )


def forget_losses(args: argparse.Namespace) -> None:
    """Remove the losses of candidates, once what was made by them is written."""
    _losses_file(args).unlink(missing_ok=True)


def _losses_file(args: argparse.Namespace) -> Path:
    return args.out.with_name(f"{args.out.name}.losses.json")


def _hash(tokens: torch.Tensor) -> str:
    return hashlib.sha256(tokens.contiguous().numpy().tobytes()).hexdigest()
