"""Setting up a pruning step: device and threads, the checkpoint, the stream of calibration text."""

import argparse
from pathlib import Path

import numpy as np
import torch

from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.device import best_device
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.calibration_text import are_given_windows, calibration_windows, sequences_of
from pruning_vs_scratch.pruning.catalogue import facts_of

GIB = 1 << 30


def open_model(args: argparse.Namespace) -> BlockwiseModel:
    """The checkpoint of ``--model`` on the best device, with ``--threads`` CPU threads."""
    if args.threads:
        torch.set_num_threads(args.threads)
    # A model whose masks are learned is loaded for training besides; here only its shape is of use.
    low_memory = args.low_memory or facts_of(args.method).learns_masks
    return BlockwiseModel.open(args.model, best_device(), low_memory=low_memory, precision=args.precision)


def calibration_stream(args: argparse.Namespace, model: BlockwiseModel, folder: Path) -> CalibrationStream:
    """The stream of the text of ``--calibration``; hidden states that do not fit wait in a file in ``folder``."""
    windows = calibration_windows(args, model.shape, model.config.max_position_embeddings)
    tokens = torch.from_numpy(windows.read(np.arange(sequences_of(args, windows))))
    buffer_bytes, whole = round(args.host_buffer_gib * GIB), are_given_windows(args.calibration)
    return CalibrationStream(model, tokens, args.batch_size, buffer_bytes, folder, whole=whole)
